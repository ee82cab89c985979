//! Helpers: purchases, publishing, and reading.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use shop_core::log::{LogSource, SourceEvent};
use shop_core::ports::PurchaseSink;
use shop_core::record::decode;
use shop_core::{Clock as _, Purchase, PurchaseId, SystemClock};

/// Only a failing test takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

pub(crate) fn purchase(number: u64) -> Purchase {
    Purchase::new(
        PurchaseId::from_uuid(SystemClock.fresh_id()),
        format!("user-{}", number % 7).parse().unwrap(),
        "somebody".parse().unwrap(),
        "1.50".parse().unwrap(),
        SystemClock.now(),
    )
}

/// Publishes until it succeeds.
pub(crate) async fn publish_with_retries(sink: &dyn PurchaseSink, purchase: &Purchase) {
    let published = async { while sink.publish(purchase).await.is_err() {} };
    soon("publish", published).await;
}

/// Reads until all of `wanted` are delivered; retries after errors.
pub(crate) async fn read_all(source: &dyn LogSource, wanted: &BTreeSet<PurchaseId>) -> Vec<PurchaseId> {
    let mut found = Vec::new();
    while !wanted.iter().all(|id| found.contains(id)) {
        match soon("next", source.next()).await {
            Ok(SourceEvent::Batch(batch)) => {
                let ids = batch.records.iter().map(|record| decode(record, &batch.partition).unwrap().id);
                found.extend(ids);
            }
            Ok(SourceEvent::Revoked(revocation)) => revocation.done(),
            Ok(event) => panic!("{event:?}"),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    found
}
