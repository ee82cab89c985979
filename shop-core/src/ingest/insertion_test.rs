//! Batches with records that the store fails over. Deterministic: paused time, one thread.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::logged_test::Logged;
use super::time_limit_test::in_time;
use super::{Component, Ingest, IngestMonitor, IngestOptions};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::{DeadLetter, DeadLetters, LogAdmin, LogAdminExt, Reason, ReasonKind, Resolution};
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use crate::ports::{InsertOutcome, PurchaseSink, PurchaseStore, RecordStore};
use crate::record::Record as _;
use crate::{Clock, Error, ErrorKind, NewPurchase, Purchase, PurchaseId, Result, SystemClock};

/// A store that fails every insert with certain purchases, or all inserts.
#[derive(Debug, Default)]
struct Failing {
    inner: InMemoryStore,
    over: Mutex<BTreeSet<PurchaseId>>,
    /// Whether it refuses all inserts, while its check succeeds.
    refuses: Mutex<bool>,
    /// Whether it is unavailable: inserts and checks fail.
    unavailable: Mutex<bool>,
    /// The number of purchases of each call.
    sizes: Mutex<Vec<usize>>,
    /// Notified after every call.
    called: Notify,
}

impl Failing {
    fn check_available(&self) -> Result<()> {
        let error = Error::new(ErrorKind::Unavailable, "unavailable on purpose");
        if *self.unavailable.lock().unwrap() {
            Err(error)
        } else {
            Ok(())
        }
    }

    async fn try_to_insert(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        self.check_available()?;
        let fails_over = |purchase: &Purchase| self.over.lock().unwrap().contains(&purchase.id);
        if *self.refuses.lock().unwrap() || batch.iter().any(fails_over) {
            return Err(Error::new(ErrorKind::Unavailable, "fails over one of them"));
        }
        self.inner.insert(batch).await
    }
}

#[async_trait]
impl RecordStore<Purchase> for Failing {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        self.sizes.lock().unwrap().push(batch.len());
        let outcomes = self.try_to_insert(batch).await;
        self.called.notify_one();
        outcomes
    }

    async fn check(&self) -> Result<()> {
        self.check_available()
    }
}

/// Publishes `count` purchases.
async fn publish(log: &InMemoryLog, count: usize) -> Vec<Purchase> {
    let sink = log.sink();
    let mut all = Vec::new();
    for _ in 0..count {
        let new = NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price("1")
            .unwrap();
        all.push(new.into_purchase(SystemClock.now(), || SystemClock.fresh_id()));
        sink.publish(all.last().unwrap()).await.unwrap();
    }
    all
}

fn log_with_batches_of(batch_records: usize) -> InMemoryLog {
    InMemoryLog::new(InMemoryLogOptions {
        batch_records,
        ..Default::default()
    })
}

/// Ingests `log` into `store` from now on.
fn start(log: &InMemoryLog, store: Arc<dyn PurchaseStore>) -> IngestMonitor {
    let ingest = Ingest::new(
        Arc::new(log.source("group")),
        store,
        Arc::new(log.dead_letters()),
        IngestOptions::default(),
    );
    let monitor = ingest.monitor();
    tokio::spawn(ingest.run(std::future::pending()));
    monitor
}

/// A pipeline into `store`, with this many purchases in one batch.
async fn ingest(store: &Arc<Failing>, count: usize) -> (IngestMonitor, Vec<Purchase>) {
    let log = log_with_batches_of(count);
    let all = publish(&log, count).await;
    *store.over.lock().unwrap() = BTreeSet::from([all[count / 3].id]);
    (start(&log, Arc::clone(store) as _), all)
}

#[tokio::test(start_paused = true)]
async fn a_failing_record_does_not_block_its_batch() {
    let _running = in_time();
    let store = Arc::new(Failing::default());
    let (monitor, all) = ingest(&store, 1_000).await;
    while store.inner.all().len() < 999 {
        store.called.notified().await;
        // Twice together, then in halves down to the single record.
        assert!(store.sizes.lock().unwrap().len() <= 25, "the others wait");
    }
    assert_eq!(monitor.status().counters.dead_lettered, 0, "ingest retries");
    store.over.lock().unwrap().clear();
    let status = monitor
        .wait_for(|status| status.counters.inserted == 1_000)
        .await;
    assert!(
        status.errors.is_empty() && status.counters.dead_lettered == 0,
        "{status:?}"
    );
    assert_eq!(store.inner.all().len(), all.len());
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_is_retried_with_the_whole_batch() {
    let _running = in_time();
    let store = Arc::new(Failing::default());
    *store.unavailable.lock().unwrap() = true;
    let (monitor, all) = ingest(&store, 100).await;
    store.over.lock().unwrap().clear();
    while store.sizes.lock().unwrap().len() < 50 {
        store.called.notified().await;
    }
    *store.unavailable.lock().unwrap() = false;
    drop(
        monitor
            .wait_for(|status| status.counters.inserted == 100)
            .await,
    );
    let sizes = store.sizes.lock().unwrap();
    assert!(sizes.iter().all(|size| *size == all.len()), "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stuck_record_is_reported_while_others_are_processed() {
    let _running = in_time();
    let logged = Logged::begin();
    let store = Arc::new(Failing::default());
    let log = log_with_batches_of(3);
    let monitor = start(&log, Arc::clone(&store) as _);
    let mut all = Vec::new();
    let mut seen = 0;
    for number in 0..600 {
        all.extend(publish(&log, 1).await);
        *store.over.lock().unwrap() = BTreeSet::from([all[0].id]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let status = monitor.status();
        if number < 10 {
            continue;
        }
        seen += 1;
        let waiting = status.failing_since[&Component::Store].elapsed();
        assert!(
            waiting > Duration::from_secs(number - 5),
            "{waiting:?} at {number}"
        );
        let stuck = status.stuck.expect("a stuck record");
        let place = (
            &*stuck.topic,
            stuck.partition,
            stuck.offset,
            stuck.id.as_deref(),
        );
        assert_eq!(place, ("purchases", 0, 0, Some(&*all[0].id.to_string())));
        assert!(
            stuck.since.elapsed() > Duration::from_secs(number)
                && !stuck.error.message().is_empty()
        );
        let oldest = status.oldest_uncommitted["purchases"].expect("one that is not committed");
        assert!(oldest.elapsed() > Duration::from_secs(number));
    }
    assert!(
        seen == 590 && monitor.status().counters.inserted == 599,
        "the others continue"
    );
    let named = logged.lines_with(&all[0].id.to_string());
    assert!(
        named.len() == 1 && named[0].contains("log.offset=0"),
        "{named:?}"
    );
    assert_eq!(
        logged.lines_with("ingest failing").len(),
        1,
        "one pause without attempts in between"
    );

    store.over.lock().unwrap().clear();
    let status = monitor
        .wait_for(|status| {
            status.stuck.is_none() && status.oldest_uncommitted["purchases"].is_none()
        })
        .await;
    assert!(
        status.errors.is_empty() && status.counters.inserted == 600,
        "{status:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stored_record_of_a_stuck_batch_is_not_stuck() {
    let _running = in_time();
    let store = Arc::new(Failing::default());
    let (monitor, all) = ingest(&store, 10).await;
    for first in [3, 7] {
        *store.over.lock().unwrap() = BTreeSet::from([all[first].id, all[7].id]);
        let id = Some(all[first].id.to_string());
        monitor
            .wait_for(|status| status.stuck.as_ref().is_some_and(|stuck| stuck.id == id))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_is_stuck_if_the_store_accepts_the_rest_of_its_batch() {
    let _running = in_time();
    for count in [2, 3] {
        let store = Arc::new(Failing::default());
        let (monitor, _) = ingest(&store, count).await;
        drop(monitor.wait_for(|status| status.stuck.is_some()).await);
        assert_eq!(store.inner.all().len(), count - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_record_is_stuck_while_the_store_rejects_all() {
    let _running = in_time();
    for is_unavailable in [true, false] {
        let store = Arc::new(Failing::default());
        *store.unavailable.lock().unwrap() = is_unavailable;
        *store.refuses.lock().unwrap() = true;
        let (monitor, _) = ingest(&store, 1).await;
        while store.sizes.lock().unwrap().len() < 50 {
            store.called.notified().await;
        }
        let status = monitor.status();
        assert!(
            status.stuck.is_none() && status.errors.contains_key(&Component::Store),
            "{status:?}"
        );
    }
}

/// A store that accepts the second purchase during its call with the first one, and nothing
/// afterwards.
#[derive(Debug, Default)]
struct LastTaken {
    inner: InMemoryStore,
    calls: Mutex<usize>,
    taken: Notify,
    called: Notify,
}

#[async_trait]
impl RecordStore<Purchase> for LastTaken {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        let call = {
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            *calls
        };
        self.called.notify_one();
        match call {
            1 => self.taken.notified().await,
            2 => {
                let outcomes = self.inner.insert(batch).await;
                self.taken.notify_one();
                return outcomes;
            }
            _ => {}
        }
        Err(Error::new(ErrorKind::Unavailable, "rejects everything"))
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn inserts_during_the_first_attempt_do_not_make_a_record_stuck() {
    let _running = in_time();
    let store = Arc::new(LastTaken::default());
    let log = log_with_batches_of(1);
    publish(&log, 2).await;
    let monitor = start(&log, Arc::clone(&store) as _);
    while *store.calls.lock().unwrap() < 50 {
        store.called.notified().await;
    }
    let status = monitor.status();
    assert!(
        status.stuck.is_none() && status.counters.inserted == 1,
        "{status:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_counts_its_attempts() {
    let _running = in_time();
    let log = InMemoryLog::default();
    publish(&log, 1).await;
    let faults = Faults::new();
    faults.once(Call::Insert, Fault::unavailable());
    faults.once(Call::Insert, Fault::unavailable());
    let too_large = || Error::new(ErrorKind::TooLarge, "too large");
    faults.once(
        Call::Insert,
        Fault::Reject(Reason::refused(too_large()).unwrap()),
    );
    let monitor = start(&log, faults.store(Arc::new(InMemoryStore::new())));
    monitor
        .wait_for(|status| status.counters.refused == 1)
        .await;
    let dead_letters = log.dead_letters().all();
    assert!(
        matches!(&dead_letters[..], [dead_letter] if dead_letter.attempts == 3),
        "{dead_letters:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_all_writes_costs_two_inserts_per_retry() {
    let _running = in_time();
    let store = Arc::new(Failing::default());
    *store.refuses.lock().unwrap() = true;
    let (monitor, all) = ingest(&store, 1_000).await;
    store.over.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let retries = usize::try_from(monitor.status().retries[&Component::Store]).unwrap();
    let sizes = std::mem::take(&mut *store.sizes.lock().unwrap());
    assert!(
        retries > 800 && sizes.len() <= 2 * retries + 2,
        "{} inserts in {retries} retries",
        sizes.len()
    );
    assert!(
        sizes.iter().all(|size| [1, all.len()].contains(size)),
        "no halves"
    );
    assert!(
        monitor.status().stuck.is_none(),
        "the store refuses all of them"
    );

    *store.refuses.lock().unwrap() = false;
    drop(
        monitor
            .wait_for(|status| status.counters.inserted == 1_000)
            .await,
    );
    let sizes = store.sizes.lock().unwrap();
    assert!(sizes.len() <= 3, "stored together: {sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn many_failing_records_do_not_delay_the_others() {
    let _running = in_time();
    let store = Arc::new(Failing::default());
    let (monitor, all) = ingest(&store, 1_000).await;
    *store.over.lock().unwrap() = all.iter().step_by(10).map(|purchase| purchase.id).collect();
    let begun = tokio::time::Instant::now();
    while store.inner.all().len() < 900 {
        store.called.notified().await;
    }
    let took = begun.elapsed();
    let inserts = store.sizes.lock().unwrap().len();
    // Each failing record costs its path of halves, and no pause of seconds.
    assert!(
        took < Duration::from_secs(30) && inserts < 1_500,
        "{inserts} inserts in {took:?}"
    );
    store.over.lock().unwrap().clear();
    drop(
        monitor
            .wait_for(|status| status.counters.inserted == 1_000)
            .await,
    );
}

#[tokio::test(start_paused = true)]
async fn a_parked_record_is_skipped_without_a_restart() {
    let _running = in_time();
    let store = Arc::new(Failing::default());
    let log = log_with_batches_of(3);
    let all = publish(&log, 3).await;
    *store.over.lock().unwrap() = BTreeSet::from([all[1].id]);
    let monitor = start(&log, Arc::clone(&store) as _);
    let stuck = monitor
        .wait_for(|status| status.stuck.is_some())
        .await
        .stuck
        .unwrap();
    assert_eq!(
        log.committed("group").get(&0).copied().unwrap_or_default(),
        0
    );

    let (partition, record) = log
        .find(stuck.partition, stuck.offset)
        .await
        .unwrap()
        .unwrap();
    let parked = DeadLetter::new(record, partition, Reason::parked("on purpose"), 0);
    log.dead_letters().put(&[parked]).await.unwrap();
    let status = monitor.wait_for(|status| status.counters.parked == 1).await;
    assert!(
        status.stuck.is_none() && status.errors.is_empty(),
        "{status:?}"
    );
    assert_eq!(
        (status.counters.inserted, status.counters.dead_lettered),
        (2, 1)
    );
    while log.committed("group").get(&0) != Some(&3) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let kept = log.pending_dead_letters().await.unwrap();
    assert!(
        matches!(&kept[..], [one] if one.reason.kind() == ReasonKind::Parked),
        "{kept:?}"
    );

    store.over.lock().unwrap().clear();
    assert_eq!(
        log.resolve(&kept, Purchase::TYPE, Resolution::Replayed)
            .await
            .unwrap(),
        1
    );
    drop(
        monitor
            .wait_for(|status| status.counters.inserted == 3)
            .await,
    );
}
