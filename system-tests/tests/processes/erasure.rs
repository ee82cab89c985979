//! `management erase user` and the retention of purchases.

use shop_core::Timestamp;

use crate::kafka;
use crate::prelude::*;

const OF_ADA: &str = r#"{"username":"Ada Lovelace","userid":"1","price":5}"#;
const OF_EVA: &str = r#"{"username":"eva","userid":"2","price":7}"#;

/// The files of `folder` that contain `text`.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let has_text = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        String::from_utf8_lossy(&bytes).contains(text)
    };
    let found = paths.filter(has_text);
    found.map(|path| path.display().to_string()).collect()
}

#[tokio::test]
async fn an_erased_user_is_in_no_file_and_not_restored() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[ALL_ROLES]).await;
    let folder = folder.path();
    let user = r#"{"email":"ada@example.com","name":"Ada Lovelace"}"#;
    assert_eq!(post(&facing.path("/users"), user).await.0, 201);
    let invalid = r#"{"username":"Ada Lovelace","userid":"1","price":"much"}"#;
    append_all(folder, &[OF_ADA, OF_ADA, OF_EVA, OF_ADA, invalid]).await;
    until_stored(&facing, "1", 3).await;
    until("dead-letter it", async || dead_lettered(&facing).await == 1).await;
    until("publish the events", async || {
        let files = files_with(folder, "ada@example.com");
        files.iter().any(|path| path.contains("log-user_created"))
    })
    .await;

    let mut terminal = Terminal::on(folder, &[ALL_ROLES]);
    terminal.run("management erase user 1 --dry-run").await;
    assert_eq!(stored(&facing, "1").await, 3);
    terminal.run("management erase user 1 --confirm").await;
    assert_eq!(stored(&facing, "1").await, 0);
    assert_eq!(get(&facing.path("/users/1")).await.0, 404);
    terminal
        .run(
            "management erase user 1 --confirm --json
            management verify",
        )
        .await;
    facing.stop().await;
    assert_eq!(files_with(folder, "ada@example.com"), [""; 0]);
    assert_eq!(files_with(folder, "Ada Lovelace"), [""; 0]);

    // The whole log is consumed again.
    terminal
        .run("management groups reset purchase-group --to-beginning")
        .await;
    terminal.assert_shown("erase");
    let facing = Process::start(Binary::Facing, folder, &[]).await;
    must_buy(&facing, OF_EVA).await;
    until_stored(&facing, "2", 2).await;
    assert_eq!(stored(&facing, "1").await, 0);
    assert_eq!(dead_lettered(&facing).await, 0);
}

#[tokio::test]
async fn an_erasure_names_the_rows_that_it_leaves() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    for _ in 0..3 {
        must_buy(&facing, OF_ADA).await;
    }
    facing.stop().await;

    // The index of times has another price than a row, so that SQLite does not find the entry that
    // it must delete with the row.
    let file = open_file(folder.path());
    let sql = "SELECT sql, rootpage FROM sqlite_schema WHERE name = 'by_time'";
    let (definition, root): (String, i64) = file.query_row(sql, [], |row| row.try_into()).unwrap();
    let forget = "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'by_time'";
    file.execute_batch(forget).unwrap();
    drop(file);
    let file = open_file(folder.path());
    let damage = "UPDATE purchases SET price = '1' WHERE id = (SELECT min(id) FROM purchases);
                  PRAGMA writable_schema = ON";
    file.execute_batch(damage).unwrap();
    let restore = "INSERT INTO sqlite_schema VALUES ('index', 'by_time', 'purchases', ?1, ?2)";
    file.execute(restore, (root, definition)).unwrap();
    drop(file);

    let erase = ["erase", "user", "1", "--confirm"];
    let data_dir = ("SHOP_DATA_DIR", folder.path().to_str().unwrap());
    let output = Binary::Management.run(&erase, &[data_dir]).await;
    assert_ended(&output, 1, "1 damaged rows of the user were not erased");
    let report = text(&output.stdout);
    assert!(report.starts_with("purchases 2, "), "{report}");
    assert!(report.contains("\nleft: x'01"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_an_erased_user_on_kafka_are_reported_and_not_stored_again() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let management = kafka::start(Binary::Management, &servers, &[]).await;
    kafka::append_all(&servers, &[OF_EVA]).await;
    kafka::append_all(&servers, &[OF_ADA; 3]).await;
    until_stored(&management, "1", 3).await;
    let settings = kafka::settings(&servers);
    let nowhere = Path::new("/nonexistent/shop-data");
    let mut terminal = Terminal::on(nowhere, &borrow_settings(&settings));
    terminal
        .run("management erase user 1 --confirm --json")
        .await;
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
    terminal.run("management verify").await;
    terminal.assert_shown("erase-kafka");
}

/// Stores the time that retention has seen last.
fn set_last_seen(folder: &Path, time: Timestamp) {
    let sql = "INSERT OR REPLACE INTO clock (rowid, seen) VALUES (2, ?1)";
    open_file(folder).execute(sql, [time.as_millis()]).unwrap();
}

#[tokio::test]
async fn purchases_older_than_the_retention_are_deleted() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let old = r#"{"username":"ada","userid":"1","price":5,"timestamp":"2026-01-01T00:00:00Z"}"#;
    append_all(folder.path(), &[old, OF_ADA, old]).await;
    until_stored(&facing, "1", 3).await;
    facing.stop().await;

    // The first round begins with the service. It trusts a clock that was right.
    set_last_seen(folder.path(), SystemClock.now());
    let keep = [("SHOP_PURCHASE_RETENTION", "1d")];
    let facing = Process::start(Binary::Facing, folder.path(), &keep).await;
    until_stored(&facing, "1", 1).await;
    let bought = post(&facing.path("/buy"), old).await;
    assert_eq!(bought.0, 400, "older than the retention");
    let words = ["verify", "--purchase-retention", "1d"];
    let output = manage(folder.path(), &words).await;
    assert_ended(&output, 0, "erased 0, older than the retention 2\n");
}

#[tokio::test]
async fn a_purchase_is_not_older_than_what_retention_has_seen() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), ADA).await;
    // The machine has started with a clock that is behind.
    let seen = SystemClock
        .now()
        .saturating_add(Duration::from_secs(400 * 86_400));
    set_last_seen(folder.path(), seen);
    let settings = [("SHOP_PURCHASE_RETENTION", "365d")];
    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    let bought = facing.client().shop().buy(purchase_of("u1")).await.unwrap();
    assert_eq!(bought.purchase.timestamp, seen);
}
