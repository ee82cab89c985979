//! Records that can never be stored: a few are dead-lettered, too many stop ingest.

use std::path::Path;

use futures_util::future::join_all;
use shop_core::log::{LogAdminExt as _, LogRecord};
use shop_core::{Clock as _, SystemClock};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};

use crate::process::{Binary, Process, get, until};

/// Poison records only: more than the batches in flight have.
const POISON: usize = 10_000;

fn record(value: String) -> LogRecord {
    LogRecord::new(0, SystemClock.now(), Some(value.into()))
}

/// Fills the log with records, and closes it.
async fn fill(folder: &Path, values: impl Iterator<Item = String>) {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    for result in join_all(values.map(|value| log.append(record(value)))).await {
        result.unwrap();
    }
}

/// The values of all dead letters, in the order of the log. Batches are dead-lettered in order of completion.
async fn letters(folder: &Path) -> Vec<String> {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    let mut letters = log.pending_dead_letters().await.unwrap();
    letters.sort_by_key(|letter| letter.record.offset);
    letters
        .into_iter()
        .map(|letter| String::from_utf8(letter.record.value.unwrap().to_vec()).unwrap())
        .collect()
}

#[tokio::test]
async fn poison_stops_ingest_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let values = || (0..POISON).map(|number| format!("poison {number}"));
    fill(folder.path(), values()).await;
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    until("stop", async || {
        management.ingest().await["phase"] == "stopped"
    })
    .await;
    let why = management.ingest().await["stopped_because"].to_string();
    assert!(why.contains("SHOP_DEAD_LETTER_LIMIT"), "{why}");
    assert_eq!(get(&management.path("/-/ready")).await.0, 503);
    // The process keeps serving, and exits with the error.
    assert_eq!(management.terminate().await.code(), Some(1));
    let dead_lettered = letters(folder.path()).await;
    assert_eq!(
        dead_lettered,
        values().take(dead_lettered.len()).collect::<Vec<_>>()
    );
    // The default limit, and batches that were read before the one that reached it.
    assert!(
        (1_000..POISON).contains(&dead_lettered.len()),
        "{}",
        dead_lettered.len()
    );

    let management = Process::start(
        Binary::Management,
        folder.path(),
        &[("SHOP_DEAD_LETTER_LIMIT", "0")],
    )
    .await;
    // The committed offset is not beyond the last dead letter.
    let rest = POISON - dead_lettered.len();
    until("dead-letter the rest", async || {
        management.ingest().await["dead_lettered"] == rest
    })
    .await;
    management.stop().await;
    assert_eq!(letters(folder.path()).await, values().collect::<Vec<_>>());
}
