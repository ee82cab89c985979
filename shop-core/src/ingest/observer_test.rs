//! The reports of the pipeline to the observer and in its status.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fixture::{Running, append_poison, committed, purchase};
use super::{BatchReport, Component, Ingest, IngestCounters, IngestObserver, IngestOptions};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::Reason;
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use crate::ports::{PurchaseSink as _, RecordStore as _};
use crate::{Clock, Error, ErrorKind, Purchase, Timestamp, Uuid};

/// Long after the timestamps of the purchases.
const NOW: i64 = 1_767_225_600_000;

/// A clock that a test sets, in milliseconds.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed)).unwrap()
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// Keeps the reports, and panics if a test asks for that.
#[derive(Debug, Default)]
struct Observer {
    reports: Mutex<Vec<BatchReport>>,
    panics: bool,
}

impl IngestObserver for Observer {
    fn batch_completed(&self, batch: &BatchReport) {
        assert!(!self.panics, "on purpose");
        self.reports.lock().unwrap().push(*batch);
    }
}

/// A log and an observed ingest with the same clock.
struct Fixture {
    clock: Arc<SetClock>,
    log: InMemoryLog,
    store: InMemoryStore,
    faults: Faults,
    observer: Arc<Observer>,
}

impl Fixture {
    fn new(observer: Observer) -> Self {
        let clock = Arc::new(SetClock(NOW.into()));
        let log = InMemoryLog::new(InMemoryLogOptions {
            clock: Arc::clone(&clock) as _,
            ..Default::default()
        });
        Self {
            clock,
            log,
            store: InMemoryStore::new(),
            faults: Faults::new(),
            observer: Arc::new(observer),
        }
    }

    /// Appends `purchase` to the log at this many seconds before now.
    async fn publish(&self, purchase: &Purchase, seconds_ago: i64) {
        self.clock
            .0
            .store(NOW - seconds_ago * 1_000, Ordering::Relaxed);
        self.log.sink().publish(purchase).await.unwrap();
        self.clock.0.store(NOW, Ordering::Relaxed);
    }

    fn start(&self) -> Running {
        let source = Arc::new(self.log.source("group"));
        let options = IngestOptions {
            clock: Arc::clone(&self.clock) as _,
            ..IngestOptions::default()
        };
        let ingest = Ingest::new(
            Arc::clone(&source) as _,
            self.faults.store(Arc::new(self.store.clone())),
            Arc::new(self.log.clone()),
            options,
        );
        Running::start(
            source,
            ingest.with_observer(Arc::clone(&self.observer) as _),
        )
    }

    fn only_report(&self) -> BatchReport {
        let reports = self.observer.reports.lock().unwrap();
        assert_eq!(reports.len(), 1, "{reports:?}");
        reports[0]
    }

    async fn wait_for_commits(&self, count: u64) {
        while committed(&self.log) < count {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_reported_with_its_outcomes() {
    let fixture = Fixture::new(Observer::default());
    let conflict = Purchase {
        price: "2".parse().unwrap(),
        ..purchase(2)
    };
    fixture
        .store
        .apply([purchase(1), purchase(2)].into())
        .await
        .unwrap();
    fixture.publish(&purchase(1), 300).await;
    fixture.publish(&conflict, 200).await;
    fixture.publish(&purchase(3), 7).await;
    fixture.publish(&purchase(4), -60).await;
    append_poison(&fixture.log, 1);
    fixture
        .faults
        .once(Call::Insert, Fault::Delay(Duration::from_secs(2)));

    let status = fixture.start().has_inserted(2).await;
    let report = fixture.only_report();
    let counters = IngestCounters {
        inserted: 2,
        duplicates: 1,
        dead_lettered: 2,
        undecodable: 1,
        conflicts: 1,
        ..IngestCounters::default()
    };
    assert_eq!((report.records, report.counters), (5, counters));
    assert_eq!(status.counters, counters);
    assert_eq!(report.duration, Duration::from_secs(2));
    assert!(report.bytes > 5 * 50, "{report:?}");
    assert_eq!(
        report.freshness,
        Some(Duration::from_secs(7)),
        "since inserted records were appended, however old their purchases are"
    );
    assert_eq!(status.freshness, report.freshness);
    assert_eq!((status.in_flight, status.in_flight_records), (0, 0));
    assert_eq!(status.in_flight_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn failing_batches_are_reported_with_their_retries() {
    let fixture = Fixture::new(Observer::default());
    fixture.publish(&purchase(1), -10).await;
    fixture.faults.always(Call::Insert, Fault::unavailable());
    let running = fixture.start();
    let status = running
        .wait_for(|status| status.retries.get(&Component::Store) == Some(&3))
        .await;
    assert_eq!((status.in_flight, status.in_flight_records), (1, 1));
    assert!(status.in_flight_bytes > 50);
    let failing_for = status.failing_since[&Component::Store].elapsed();
    assert!(failing_for > Duration::ZERO, "since the first of them");
    assert_eq!(running.monitor.lag().await.unwrap().total(), 1);

    fixture.faults.clear(Call::Insert);
    let status = running.has_inserted(1).await;
    assert_eq!(status.retries[&Component::Store], 3);
    assert!(status.failing_since.is_empty());
    assert_eq!(
        status.freshness,
        Some(Duration::ZERO),
        "a timestamp in the future has no age"
    );
    fixture.wait_for_commits(1).await;
    assert_eq!(running.monitor.lag().await.unwrap().total(), 0);
}

#[tokio::test(start_paused = true)]
async fn refused_records_are_reported_and_an_ended_pipeline_has_no_lag() {
    let fixture = Fixture::new(Observer::default());
    fixture.publish(&purchase(1), 1).await;
    let too_large = Error::new(ErrorKind::TooLarge, "too large");
    let refused = Reason::refused(too_large).unwrap();
    fixture.faults.once(Call::Insert, Fault::Reject(refused));
    let running = fixture.start();
    running.has_dead_lettered(1).await;
    let report = fixture.only_report();
    assert_eq!((report.counters.refused, report.freshness), (1, None));

    let monitor = running.monitor.clone();
    assert_eq!(running.stop().await, report.counters);
    assert_eq!(monitor.lag().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_observer_does_not_stop_the_pipeline() {
    let fixture = Fixture::new(Observer {
        panics: true,
        ..Observer::default()
    });
    fixture.publish(&purchase(1), 1).await;
    let running = fixture.start();
    running.has_inserted(1).await;
    fixture.wait_for_commits(1).await;
}
