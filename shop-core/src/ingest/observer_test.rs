//! The pipeline's reports to the observer and in its status. Deterministic: paused time, one
//! thread.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::time_limit_test::in_time;
use super::{
    BatchReport, Component, Ingest, IngestCounters, IngestMonitor, IngestObserver, IngestOptions,
};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::{LogRecord, Reason};
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use crate::ports::{InsertOutcome, PurchaseSink, PurchaseStore, RecordStore};
use crate::{Clock, Error, ErrorKind, Purchase, PurchaseId, Result, Timestamp};

const NOW: i64 = 1_767_225_600_000;
/// How much older purchases are than their records in the log, as after an import.
const IMPORTED_AFTER: i64 = 365 * 86_400_000;

/// A clock that stands still.
#[derive(Debug)]
struct StoppedClock(AtomicI64);

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed)).unwrap()
    }

    fn fresh_id(&self) -> uuid::Uuid {
        uuid::Uuid::now_v7()
    }
}

#[derive(Debug, Default)]
struct Seen(Mutex<Vec<BatchReport>>);

impl IngestObserver for Seen {
    fn batch_completed(&self, batch: &BatchReport) {
        self.0.lock().unwrap().push(*batch);
    }
}

/// Purchase `number` with `price`, appended to the log `seconds_ago`.
fn purchase(number: u128, price: &str, seconds_ago: i64) -> Purchase {
    Purchase::new(
        PurchaseId::from_uuid(uuid::Uuid::from_u128(number)),
        "u1".parse().unwrap(),
        "ada".parse().unwrap(),
        price.parse().unwrap(),
        Timestamp::from_millis(NOW - IMPORTED_AFTER - seconds_ago * 1_000).unwrap(),
    )
}

struct Shop {
    log: InMemoryLog,
    appended: Arc<StoppedClock>,
    store: InMemoryStore,
    faults: Faults,
    seen: Arc<Seen>,
}

impl Shop {
    fn new() -> Self {
        let appended = Arc::new(StoppedClock(NOW.into()));
        let clock = Arc::clone(&appended) as _;
        let log = InMemoryLog::new(InMemoryLogOptions {
            batch_records: 10,
            clock,
            ..Default::default()
        });
        Self {
            log,
            appended,
            store: InMemoryStore::new(),
            faults: Faults::new(),
            seen: Arc::default(),
        }
    }

    async fn publish(&self, purchase: Purchase) {
        self.appended.0.store(
            purchase.timestamp.as_millis() + IMPORTED_AFTER,
            Ordering::Relaxed,
        );
        self.log.sink().publish(&purchase).await.unwrap();
    }

    fn ingest(&self, store: Arc<dyn PurchaseStore>) -> Ingest {
        let options = IngestOptions {
            clock: Arc::new(StoppedClock(NOW.into())),
            ..IngestOptions::default()
        };
        let dead_letters = self.faults.dead_letters(Arc::new(self.log.dead_letters()));
        let ingest = Ingest::new(
            Arc::new(self.log.source("group")),
            store,
            dead_letters,
            options,
        );
        ingest.with_observer(Arc::clone(&self.seen) as _)
    }

    fn start(&self) -> IngestMonitor {
        let ingest = self.ingest(self.faults.store(Arc::new(self.store.clone())));
        let monitor = ingest.monitor();
        tokio::spawn(ingest.run(std::future::pending()));
        monitor
    }

    fn only_batch(&self) -> BatchReport {
        match self.seen.0.lock().unwrap()[..] {
            [batch] => batch,
            ref batches => panic!("{batches:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_reported_with_its_outcomes() {
    let _running = in_time();
    let shop = Shop::new();
    shop.store
        .insert([purchase(1, "1", 500), purchase(2, "1", 400)].into())
        .await
        .unwrap();
    for (number, price, ago) in [(1, "1", 300), (2, "2", 200), (3, "1", 7), (4, "1", -60)] {
        shop.publish(purchase(number, price, ago)).await;
    }
    let poison = LogRecord::new(0, Timestamp::MIN, Some("poison".into()));
    // All of one user, so they are in one partition.
    drop(shop.log.append(poison.with_key(Some("u1".into()))));
    shop.faults
        .once(Call::Insert, Fault::Delay(Duration::from_secs(2)));
    let status = shop
        .start()
        .wait_for(|status| status.counters.inserted == 2)
        .await;
    let batch = shop.only_batch();
    let tally = IngestCounters {
        inserted: 2,
        duplicates: 1,
        dead_lettered: 2,
        undecodable: 1,
        conflicts: 1,
        ..IngestCounters::default()
    };
    assert_eq!(
        (batch.records, batch.counters, status.counters),
        (5, tally, tally)
    );
    assert_eq!(batch.duration, Duration::from_secs(2));
    assert!(batch.bytes > 5 * 50, "{batch:?}");
    assert_eq!(
        batch.freshness,
        Some(Duration::from_secs(7)),
        "since inserted records were appended, however old their purchases are"
    );
    assert_eq!(status.freshness, batch.freshness);
    assert_eq!(
        (
            status.in_flight,
            status.in_flight_records,
            status.in_flight_bytes
        ),
        (0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn failing_batches_are_reported_with_their_retries() {
    let _running = in_time();
    let shop = Shop::new();
    shop.publish(purchase(1, "1", -10)).await;
    shop.faults.always(Call::Insert, Fault::unavailable());
    let monitor = shop.start();
    let status = monitor
        .wait_for(|status| status.retries.get(&Component::Store) == Some(&3))
        .await;
    assert_eq!((status.in_flight, status.in_flight_records), (1, 1));
    assert!(status.in_flight_bytes > 50);
    assert!(
        status.failing_since[&Component::Store].elapsed() > Duration::ZERO,
        "since the first of them"
    );
    assert_eq!(monitor.lag().await.unwrap().total(), 1);
    shop.faults.clear(Call::Insert);
    let status = monitor
        .wait_for(|status| status.counters.inserted == 1)
        .await;
    assert_eq!(
        (
            status.retries[&Component::Store],
            status.failing_since.len()
        ),
        (3, 0)
    );
    assert_eq!(
        status.freshness,
        Some(Duration::ZERO),
        "a timestamp in the future has no age"
    );
    while monitor.lag().await.unwrap().total() > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Rejects all records because of their size.
#[derive(Debug)]
struct Small;

#[async_trait]
impl RecordStore<Purchase> for Small {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        let refused = || Reason::refused(Error::new(ErrorKind::TooLarge, "too large")).unwrap();
        Ok(batch
            .iter()
            .map(|_| InsertOutcome::Rejected(refused()))
            .collect())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn refused_records_are_reported_and_an_ended_pipeline_has_no_lag() {
    let _running = in_time();
    let shop = Shop::new();
    shop.publish(purchase(1, "1", 1)).await;
    let (ingest, (stop, stopped)) = (shop.ingest(Arc::new(Small)), oneshot::channel::<()>());
    let monitor = ingest.monitor();
    let task = tokio::spawn(ingest.run(async move { drop(stopped.await) }));
    monitor
        .wait_for(|status| status.counters.dead_lettered == 1)
        .await;
    let batch = shop.only_batch();
    assert_eq!((batch.counters.refused, batch.freshness), (1, None));
    drop(stop);
    assert_eq!(task.await.unwrap().unwrap(), batch.counters);
    assert_eq!(monitor.lag().await.unwrap_err().kind(), ErrorKind::Closed);
}

/// An observer that panics.
#[derive(Debug)]
struct Broken;

impl IngestObserver for Broken {
    fn batch_completed(&self, _batch: &BatchReport) {
        panic!("on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_observer_does_not_stop_the_pipeline() {
    let _running = in_time();
    let shop = Shop::new();
    shop.publish(purchase(1, "1", 1)).await;
    let ingest = shop
        .ingest(Arc::new(shop.store.clone()))
        .with_observer(Arc::new(Broken));
    let monitor = ingest.monitor();
    tokio::spawn(ingest.run(std::future::pending()));
    monitor
        .wait_for(|status| status.counters.inserted == 1)
        .await;
    while monitor.lag().await.unwrap().total() > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
