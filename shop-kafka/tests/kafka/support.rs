//! Helpers: purchases, publishing, and reading.

#![allow(dead_code, reason = "each test takes its part")]

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use shop_core::log::{
    Batch, DeadLetter, LogExt as _, LogRecord, LogSource, Reason, RecordType, SourceEvent,
};
use shop_core::ports::PurchaseSink;
use shop_core::record::{Record as _, decode};
use shop_core::{Clock as _, Purchase, PurchaseId, SystemClock, Timestamp};
use shop_kafka::KafkaLog;

/// Only a failing test takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

pub(crate) fn purchase(number: u64) -> Purchase {
    Purchase::new(
        PurchaseId::from_uuid(SystemClock.fresh_id()),
        format!("user-{}", number % 7).parse().unwrap(),
        "another user".parse().unwrap(),
        "1.50".parse().unwrap(),
        SystemClock.now(),
    )
}

/// Publishes until it succeeds.
pub(crate) async fn publish_with_retries(sink: &dyn PurchaseSink, purchase: &Purchase) {
    let published = async { while sink.publish(purchase).await.is_err() {} };
    soon("publish", published).await;
}

/// The next event of `source`, which must be a batch.
pub(crate) async fn next_batch(source: &dyn LogSource) -> Batch {
    match soon("next", source.next()).await.unwrap() {
        SourceEvent::Batch(batch) => batch,
        event => panic!("{event:?}"),
    }
}

/// Reads until all of `wanted` are delivered; retries after errors.
pub(crate) async fn read_all(source: &dyn LogSource, wanted: &BTreeSet<PurchaseId>) {
    let mut delivered = BTreeSet::new();
    while !wanted.is_subset(&delivered) {
        match soon("next", source.next()).await {
            Ok(SourceEvent::Batch(batch)) => {
                let ids = batch
                    .records
                    .iter()
                    .map(|record| decode(record, &batch.partition).unwrap().id);
                delivered.extend(ids);
            }
            Ok(SourceEvent::Revoked(revocation)) => revocation.done(),
            Ok(event) => panic!("{event:?}"),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

pub(crate) const OF: RecordType = Purchase::TYPE;

pub(crate) fn record(key: Option<&str>, value: &str) -> LogRecord {
    LogRecord::new(0, Timestamp::MIN, Some(value.to_owned().into()))
        .with_key(key.map(|key| key.to_owned().into()))
}

/// The records of the log, each as a dead letter.
pub(crate) async fn scanned(log: &KafkaLog) -> Vec<DeadLetter> {
    let batches: Vec<_> = soon("scan", log.scan_all().await.unwrap().try_collect())
        .await
        .unwrap();
    let mut letters = Vec::new();
    for batch in batches {
        let partition = batch.partition;
        let letter = |record| DeadLetter::new(record, partition.clone(), Reason::conflict(OF), 1);
        letters.extend(batch.records.into_iter().map(letter));
    }
    letters.sort_by_key(DeadLetter::position);
    letters
}
