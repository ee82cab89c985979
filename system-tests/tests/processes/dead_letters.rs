//! Resolution of dead letters by `management dlq` and over HTTP.

use std::path::Path;

use shop_client::NewPurchase;
use shop_core::ports::PurchaseSink as _;
use shop_core::{Clock as _, SystemClock};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};

use crate::process::{ADA, Binary, Process, must_buy, open_file, until, until_stored};
use crate::verify::{append, dead_lettered, manage, text};

/// The output of `management dlq`, which must succeed.
async fn dlq(folder: &Path, words: &[&str]) -> String {
    let output = manage(folder, &[&["dlq"], words].concat()).await;
    let printed = text(&output.stdout);
    assert!(
        output.status.success(),
        "{words:?}: {printed}{}",
        text(&output.stderr)
    );
    printed
}

#[tokio::test]
async fn dlq_drop_selects_records() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let folder = folder.path();
    for value in ["poison", "\u{1b}[2J", r#"{"username":"ada","userid":"u1"}"#] {
        append(folder, value).await;
    }
    until("dead-letter them", async || {
        dead_lettered(&facing).await == 3
    })
    .await;
    let would = dlq(folder, &["drop", "--all", "--dry-run"]).await;
    assert!(
        would.ends_with("3 would be dropped\n") && would.lines().count() == 4,
        "{would}"
    );
    assert_eq!(dlq(folder, &["drop", "purchases-0-2"]).await, "1 dropped\n");
    assert_eq!(dlq(folder, &["ls"]).await.lines().count(), 2);
    assert_eq!(dlq(folder, &["drop", "--all"]).await, "2 dropped\n");
    assert_eq!(dlq(folder, &["ls"]).await, "");
    // A dropped record is not missing.
    let output = manage(folder, &["verify"]).await;
    let printed = text(&output.stdout);
    let is_complete = printed.contains("resolved dead letters 3\n");
    assert!(output.status.success() && is_complete, "{printed}");
    facing.stop().await;
    // Other files are closed cleanly.
    assert!(!folder.join("shop.db-wal").exists());
}

/// Waits until the store has failed over a record. One that it takes after that is evidence that the record is stuck.
pub(crate) async fn fail_over_the_first(process: &Process) {
    until("fail over a record", async || {
        process.ingest().await["waiting_for"]["store"].is_string()
    })
    .await;
}

#[tokio::test]
async fn a_record_that_the_store_rejects_is_parked_while_ingest_runs() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let folder = folder.path();
    must_buy(&facing, ADA).await;
    until_stored(&facing, "u1", 1).await;
    let store = open_file(folder);
    let rule = "CREATE TRIGGER rule BEFORE INSERT ON buyers WHEN NEW.username = 'eve'
                BEGIN SELECT RAISE(ABORT, 'not eve'); END";
    store.execute_batch(rule).unwrap();
    // Appended and not stored, as by a process without ingest.
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    for name in ["eve", "ada"] {
        let purchase = NewPurchase::for_user("u1")
            .with_user_name(name)
            .with_price("2")
            .unwrap();
        let purchase = purchase.into_purchase(SystemClock.now(), || SystemClock.fresh_id());
        log.sink().publish(&purchase).await.unwrap();
        fail_over_the_first(&facing).await;
    }
    drop(log);
    until("report it as stuck", async || {
        facing.ingest().await["stuck"]["offset"] == 2
    })
    .await;
    until_stored(&facing, "u1", 2).await;
    let metrics = facing.metrics().await;
    let series = metrics
        .lines()
        .find(|line| line.starts_with("shop_ingest_stuck_seconds{"))
        .unwrap();
    assert!(
        series.contains(r#"topic="purchases",partition="0",offset="2",error="#),
        "{series}"
    );

    let status = ("PORT", facing.url.rsplit(':').next().unwrap());
    let status = Binary::Management
        .run(
            &["status"],
            &[status, ("SHOP_DATA_DIR", folder.to_str().unwrap())],
        )
        .await;
    let printed = text(&status.stdout);
    for part in [
        "  - service: /health is degraded\n",
        "management dlq park purchases-0-2\n",
    ] {
        assert!(
            status.status.code() == Some(1) && printed.contains(part),
            "{printed}"
        );
    }
    let other = manage(folder, &["dlq", "park", "others-0-2"]).await;
    assert_eq!(other.status.code(), Some(2));
    let done = manage(folder, &["dlq", "park", "purchases-0-1", "purchases-0-2"]).await;
    let printed = text(&done.stderr);
    assert!(
        done.status.code() == Some(3) && printed.contains("purchases-0-1 is stored"),
        "{printed}"
    );
    assert_eq!(
        dlq(folder, &["park", "purchases-0-2", "--note", "no eve here"]).await,
        "1 parked\n"
    );
    until("continue after it", async || {
        let ingest = facing.ingest().await;
        ingest["stuck"].is_null()
            && ingest["lag"] == 0
            && ingest["waiting_for"] == serde_json::json!({})
    })
    .await;
    let shown = dlq(folder, &["show", "--reason", "parked"]).await;
    assert!(
        shown.starts_with("purchases-0-2\n") && shown.contains("parked: no eve here"),
        "{shown}"
    );
    let output = manage(folder, &["verify"]).await;
    assert!(output.status.success(), "{}", text(&output.stdout));

    store.execute_batch("DROP TRIGGER rule").unwrap();
    assert_eq!(dlq(folder, &["replay"]).await, "1 replayed\n");
    until_stored(&facing, "u1", 3).await;
}
