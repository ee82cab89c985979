//! The store in MongoDB, on a real server.

use bson::doc;

use crate::prelude::*;

#[tokio::test]
async fn an_unavailable_name_server_does_not_end_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("MONGODB_URI", "mongodb+srv://shop.invalid/shop"),
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("PORT", "0"),
    ];
    let retries = "MongoDB's addresses are unknown, retrying";
    let mut facing = start_and_log(Binary::Facing, &settings, retries).await;
    assert!(facing.try_wait().unwrap().is_none());
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
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::on(folder.path(), &settings);
    terminal
        .run(
            "management migrate
            management migrate --json",
        )
        .await;
    terminal.assert_shown("migrate");
}
