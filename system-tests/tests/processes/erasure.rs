//! `management erase user` and the retention of purchases.

use crate::kafka;
use crate::prelude::*;

const OF_ADA: &str = r#"{"username":"Ada Lovelace","userid":"1","price":5}"#;
const OF_EVA: &str = r#"{"username":"eva","userid":"2","price":7}"#;

/// The files of `folder` that contain `text`.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let has_text = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        let mut parts = bytes.windows(text.len());
        parts.any(|part| part == text.as_bytes())
    };
    let found = paths.filter(has_text);
    found.map(|path| path.display().to_string()).collect()
}

#[tokio::test]
async fn an_erased_user_is_in_no_file_and_not_restored() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[ALL_ROLES]).await;
    let folder = folder.path();
    for user in [
        r#"{"email":"ada@example.com","name":"Ada Lovelace"}"#,
        r#"{"email":"eva@example.com","name":"eva"}"#,
    ] {
        assert_eq!(post(&facing.path("/users"), user).await.0, 201);
    }
    for body in [OF_ADA, OF_ADA, OF_EVA, OF_ADA] {
        must_buy(&facing, body).await;
    }
    append(
        folder,
        r#"{"username":"Ada Lovelace","userid":"1","price":"much"}"#,
    )
    .await;
    until_stored(&facing, "1", 3).await;
    until("dead-letter it", async || dead_lettered(&facing).await == 1).await;
    until("publish the events", async || {
        let files = files_with(folder, "ada@example.com");
        files.iter().any(|path| path.contains("log-user_created"))
    })
    .await;

    let data = folder.to_str().unwrap();
    let mut terminal = Terminal::with(&[ALL_ROLES, ("SHOP_DATA_DIR", data)]);
    terminal.run("erase user 1 --dry-run").await;
    assert_eq!(stored(&facing, "1").await, 3);
    terminal.run("erase user 1 --confirm").await;
    assert_eq!(stored(&facing, "1").await, 0);
    assert_eq!(stored(&facing, "2").await, 1);
    assert_eq!(get(&facing.path("/users/1")).await.0, 404);
    assert_eq!(get(&facing.path("/users/2")).await.0, 200);
    terminal.run("erase user 1 --confirm --json").await;
    terminal.run("verify").await;
    facing.stop().await;
    assert_eq!(files_with(folder, "ada@example.com"), [""; 0]);
    assert_eq!(files_with(folder, "Ada Lovelace"), [""; 0]);

    // The whole log is consumed again.
    terminal
        .run("groups reset purchase-group --to-beginning")
        .await;
    terminal.assert_shown("erase");
    let facing = Process::start(Binary::Facing, folder, &[]).await;
    must_buy(&facing, OF_EVA).await;
    until_stored(&facing, "2", 2).await;
    assert_eq!(stored(&facing, "1").await, 0);
    assert_eq!(dead_lettered(&facing).await, 0);
    must_buy(&facing, OF_ADA).await;
    until_stored(&facing, "1", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_an_erased_user_on_kafka_are_reported_and_not_stored_again() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let management = kafka::start(Binary::Management, &servers, &[]).await;
    let facing = kafka::start(Binary::Facing, &servers, &[("SHOP_INGEST", "off")]).await;
    until("accept a purchase", async || {
        buy(&facing, OF_EVA).await.0 == 201
    })
    .await;
    for _ in 0..3 {
        must_buy(&facing, OF_ADA).await;
    }
    until_stored(&management, "1", 3).await;
    let settings = kafka::settings(&servers);
    let settings = borrow_settings(&settings);
    let words = ["erase", "user", "1", "--confirm", "--json"];
    let erased = Binary::Management.run(&words, &settings).await;
    let report: Value = serde_json::from_str(&text(&erased.stdout)).unwrap();
    assert_eq!(report["purchases"], 3, "{report}");
    assert_eq!(report["kept"][0]["records"], 3, "{report}");
    // The default retention is a week.
    assert!(report["kept"][0]["until"].is_string(), "{report}");
    management.stop().await;

    let group = servers.name("again");
    let again = [("KAFKA_GROUP_ID", &*group)];
    let again = kafka::start(Binary::Management, &servers, &again).await;
    until("consume all of them", async || {
        let ingest = again.ingest().await;
        ingest["lag"] == 0 && ingest["duplicates"].as_u64() >= Some(4)
    })
    .await;
    assert_eq!(stored(&again, "1").await, 0);
    assert_eq!(dead_lettered(&again).await, 0);
    let verified = Binary::Management.run(&["verify"], &settings).await;
    assert_ended(&verified, 0, "erased 3, older");
}

#[tokio::test]
async fn purchases_older_than_the_retention_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let keep = [("SHOP_PURCHASE_RETENTION", "1d")];
    // The first round finds nothing to delete, and trusts the clock. A new log has already stored the time.
    let facing = Process::start(Binary::Facing, folder, &keep).await;
    let store = open_file(folder);
    until("store the time", async || {
        let count = "SELECT count(*) FROM clock";
        let rows = store.query_row(count, [], |row| row.get::<_, i64>(0));
        rows == Ok(2)
    })
    .await;
    let old = r#"{"username":"ada","userid":"1","price":5,"timestamp":"2026-01-01T00:00:00Z"}"#;
    assert_eq!(buy(&facing, old).await.0, 400, "older than the retention");
    facing.stop().await;
    let facing = Process::start(Binary::Facing, folder, &[]).await;
    for body in [old, OF_ADA, old] {
        must_buy(&facing, body).await;
    }
    until_stored(&facing, "1", 3).await;
    facing.stop().await;
    // The first round begins with the service.
    let facing = Process::start(Binary::Facing, folder, &keep).await;
    until_stored(&facing, "1", 1).await;
    let metrics = facing.metrics().await;
    assert!(metrics.contains("\nshop_store_expired_purchases_total "));
    let output = manage(folder, &["verify", "--purchase-retention", "1d"]).await;
    assert_ended(&output, 0, "erased 0, older than the retention 2\n");
}
