//! Purchases, logs with purchases, and a counting store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::log::{Log, LogSource};
use shop_core::ports::{DescribeStore, InsertOutcome, PurchaseStore, RecordStore, StoreInfo};
use shop_core::{Clock, NewPurchase, Purchase, Result, SystemClock};

use crate::usage::{as_f64, processor_time};

/// A store that counts and stores nothing, to measure the cost of the pipeline itself.
#[derive(Debug, Default)]
pub struct CountingStore {
    count: AtomicU64,
}

#[async_trait]
impl RecordStore<Purchase> for CountingStore {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        self.count.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(vec![InsertOutcome::Inserted; batch.len()])
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl DescribeStore for CountingStore {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

/// The number of users in a bench.
const USERS: u64 = 1_000;

/// Purchases with new ids, about 100 bytes each in a log.
#[must_use]
pub fn purchases(count: u64) -> Vec<Purchase> {
    let purchase = |number: u64| {
        let user = number % USERS;
        let price = format!("{}.{:02}", number % 2_000, number % 100);
        purchase(
            &format!("user-{user:05}"),
            &format!("Ada Lovelace {user}"),
            &price,
        )
    };
    (0..count).map(purchase).collect()
}

/// A purchase with a new id.
#[must_use]
pub fn purchase(user: &str, name: &str, price: &str) -> Purchase {
    let new = NewPurchase::for_user(user)
        .with_user_name(name)
        .with_price(price)
        .unwrap();
    new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())
}

/// The durations of an ingest.
#[derive(Debug, Clone, Copy)]
pub struct Ingested {
    /// From its start to its end.
    pub whole: Duration,
    /// From the first stored batch to the last, without the time to join the group.
    pub since_first: Duration,
    /// The processor time of that period.
    pub processor_since_first: Duration,
    /// The number of records in the first batch.
    pub first: u64,
}

impl Ingested {
    /// The time for all `records` at the rate after the first batch.
    #[must_use]
    pub fn extrapolated(&self, records: u64) -> Duration {
        self.since_first
            .mul_f64(as_f64(records) / as_f64((records - self.first).max(1)))
    }
}

/// Ingests `records` records from `source` into `store`.
pub async fn ingest(
    source: Arc<dyn LogSource>,
    store: Arc<dyn PurchaseStore>,
    log: Arc<dyn Log>,
    records: u64,
    options: IngestOptions,
) -> Ingested {
    let ingest = Ingest::new(source, store, log, options);
    let (monitor, start) = (ingest.monitor(), Instant::now());
    let (sender, since_first) = tokio::sync::oneshot::channel();
    let all = async move {
        let first = monitor
            .wait_for(|status| status.counters.inserted > 0)
            .await
            .counters
            .inserted;
        let (begun, before) = (Instant::now(), processor_time());
        // A purchase that an attempt without a response has stored is a duplicate for the next one. It fails the run.
        monitor
            .wait_for(|status| status.counters.inserted + status.counters.duplicates >= records)
            .await;
        sender
            .send((first, begun.elapsed(), processor_time() - before))
            .unwrap();
    };
    let tally = ingest.run(all).await.unwrap();
    assert_eq!(tally.inserted, records, "{tally:?}");
    let (first, since_first, processor_since_first) = since_first.await.unwrap();
    Ingested {
        whole: start.elapsed(),
        since_first,
        processor_since_first,
        first,
    }
}
