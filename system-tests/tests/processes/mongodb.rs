//! The store in MongoDB, on a real server.

use std::path::Path;
use std::process::Stdio;

use bson::{Document, doc};
use shop_client::ShopClient;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::process::{ADA, Binary, PATIENCE, Process, get, must_buy, until, within};
use crate::servers::Servers;

async fn facing(folder: &Path, servers: &Servers) -> Process {
    let uri = servers.address("SHOP_TEST_MONGODB_URI");
    Process::start(
        Binary::Facing,
        folder,
        &[("MONGODB_URI", uri), ("MONGODB_DATABASE", "shop")],
    )
    .await
}

#[tokio::test]
async fn an_unavailable_name_server_does_not_end_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("MONGODB_URI", "mongodb+srv://shop.invalid/shop"),
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("PORT", "0"),
    ];
    let mut child = Binary::Facing
        .command(&settings)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let is_waiting = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("addresses are unknown, retrying") {
                return true;
            }
        }
        false
    };
    assert!(within(PATIENCE, "wait for the name", is_waiting).await);
    assert!(child.try_wait().unwrap().is_none());
    child.kill().await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_unavailable_at_the_start_is_waited_for() {
    let Some(servers) = Servers::start(&["mongo"]).await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // Unavailable at the start.
    servers.ctl("kill", "mongo").await;
    let facing = facing(folder.path(), &servers).await;
    must_buy(&facing, ADA).await;
    assert_eq!(get(&facing.path("/getAllUserBuys/u1")).await.0, 503);
    until("notice that the store is unavailable", async || {
        !facing.ingest().await["waiting_for"]["store"].is_null()
    })
    .await;
    servers.ctl("start", "mongo").await;
    until("catch up", async || {
        get(&facing.path("/v1/summary?userid=u1")).await.1["count"] == 1
    })
    .await;
    let ingest = facing.ingest().await;
    assert_eq!(
        (&ingest["dead_lettered"], &ingest["phase"]),
        (&0.into(), &"running".into()),
        "{ingest}"
    );
}

#[tokio::test]
async fn migrate_converts_documents_of_the_replaced_systems() {
    let Some(servers) = Servers::start(&["mongo"]).await else {
        return;
    };
    let uri = servers.address("SHOP_TEST_MONGODB_URI");
    let collection = mongodb::Client::with_uri_str(uri)
        .await
        .unwrap()
        .database("purchases")
        .collection("purchases");
    let old = doc! { "username": "ada", "userid": "u1", "price": "1195.30", "timestamp": "2026-03-01T09:00:00Z" };
    collection.insert_one(old).await.unwrap();
    let (_folder, facing) = Process::fresh(Binary::Facing, &[("MONGODB_URI", uri)]).await;
    // With retries: the indexes are being built, which can delay a listing beyond the limit for one attempt.
    let client = ShopClient::builder(facing.path("")).build().unwrap();
    let before = client.user("u1").page().await.unwrap();
    assert_eq!(before.items[0].price.to_string(), "1195.30");

    let settings = [("MONGODB_URI", uri), ("LOG_FORMAT", "text")];
    let output = Binary::Management.run(&["migrate"], &settings).await;
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && printed.contains("migrated") && printed.contains("migrated=1"),
        "{printed}"
    );
    let migrated: Document = collection.find_one(doc! {}).await.unwrap().unwrap();
    assert!(migrated.get_datetime("timestamp").is_ok(), "{migrated}");
    let after = client.user("u1").page().await.unwrap();
    assert_eq!(after, before, "listed as before");

    let output = Binary::Management
        .run(&["migrate", "--json"], &settings)
        .await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        report,
        serde_json::json!({ "scanned": 1, "migrated": 0, "skipped": 0 })
    );

    let output = Binary::Management.run(&["migrate"], &[]).await;
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(2) && printed.contains("MONGODB_URI"),
        "{printed}"
    );
}
