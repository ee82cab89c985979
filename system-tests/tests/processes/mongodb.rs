//! The store in MongoDB, on a real server.

use bson::{Document, doc};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::prelude::*;

#[tokio::test]
async fn an_unavailable_name_server_does_not_end_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("MONGODB_URI", "mongodb+srv://shop.invalid/shop"),
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("PORT", "0"),
    ];
    let mut command = Binary::Facing.command(&settings);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut line = String::new();
    while !line.contains("addresses are unknown, retrying") {
        line = soon("log", lines.next_line()).await.unwrap().unwrap();
    }
    assert!(child.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn migrate_converts_documents_of_the_replaced_systems() {
    let Some(servers) = Servers::shared(&["mongo"]).await else {
        return;
    };
    let uri = servers.address("SHOP_TEST_MONGODB_URI");
    let database = servers.name("purchases");
    let client = mongodb::Client::with_uri_str(uri).await.unwrap();
    let collection = client.database(&database).collection("purchases");
    let old = doc! { "username": "ada", "userid": "u1", "price": "1195.30", "timestamp": "2026-03-01T09:00:00Z" };
    collection.insert_one(old).await.unwrap();
    let settings = [("MONGODB_URI", uri), ("MONGODB_DATABASE", &*database)];
    let (_folder, facing) = Process::fresh(Binary::Facing, &settings).await;
    let list = async || get(&facing.path("/v1/purchases?userid=u1")).await.1;
    let before = list().await;
    assert_eq!(before["items"][0]["price"], 1195.3, "{before}");

    let mut terminal = Terminal::with(&settings);
    terminal.run("migrate").await;
    terminal.run("migrate --json").await;
    terminal.assert_shown("migrate");
    let migrated: Document = collection.find_one(doc! {}).await.unwrap().unwrap();
    assert!(migrated.get_datetime("timestamp").is_ok(), "{migrated}");
    assert_eq!(list().await, before);
}
