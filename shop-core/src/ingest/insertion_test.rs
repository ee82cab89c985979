//! Batches with records that the store fails over.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::Component;
use super::fixture::{Running, Setup, committed, log_with_batches_of, publish, purchase, until};
use super::logged_test::Logged;
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::{DeadLetter, Log as _, LogExt as _, Reason, ReasonKind, Resolution};
use crate::memory::{InMemoryLog, InMemoryStore};
use crate::ports::{DescribeStore, InsertOutcome, RecordStore, StoreInfo};
use crate::record::Record as _;
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result};

/// A healthy store that fails each insert with certain purchases.
#[derive(Debug, Default)]
struct Failing {
    inner: InMemoryStore,
    failing_over: Mutex<BTreeSet<PurchaseId>>,
    /// The number of purchases of each insert.
    insert_sizes: Mutex<Vec<usize>>,
}

impl Failing {
    /// A store that fails over the purchases with these numbers.
    fn over(numbers: impl IntoIterator<Item = u128>) -> Arc<Self> {
        let store = Arc::new(Self::default());
        store.fail_over(numbers);
        store
    }

    fn fail_over(&self, numbers: impl IntoIterator<Item = u128>) {
        let ids = numbers.into_iter().map(|number| purchase(number).id);
        *self.failing_over.lock().unwrap() = ids.collect();
    }

    fn insert_sizes(&self) -> Vec<usize> {
        self.insert_sizes.lock().unwrap().clone()
    }
}

#[async_trait]
impl RecordStore<Purchase> for Failing {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        self.insert_sizes.lock().unwrap().push(batch.len());
        let fails_over = |purchase: &Purchase| {
            let failing_over = self.failing_over.lock().unwrap();
            failing_over.contains(&purchase.id)
        };
        if batch.iter().any(fails_over) {
            return Err(Error::new(ErrorKind::Unavailable, "fails over one of them"));
        }
        self.inner.apply(batch).await
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl DescribeStore for Failing {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

/// Ingests purchases 0 to `count`, one batch, into `store`.
async fn ingest(store: &Arc<Failing>, count: u16) -> Running {
    let log = log_with_batches_of(count.into());
    publish(&log, 0..count.into()).await;
    start(&log, store, &Faults::new())
}

fn start(log: &InMemoryLog, store: &Arc<Failing>, faults: &Faults) -> Running {
    Setup::new(log, faults)
        .with_store(Arc::clone(store) as _)
        .start()
}

#[tokio::test(start_paused = true)]
async fn a_failing_record_does_not_block_its_batch_and_is_stuck() {
    for count in [2, 3, 1_000] {
        let store = Failing::over([u128::from(count) / 3]);
        let running = ingest(&store, count).await;
        until(|| store.inner.all().len() == usize::from(count) - 1).await;
        // Twice together, then in halves down to the single record.
        let inserts = store.insert_sizes().len();
        assert!(inserts <= 25, "the others wait: {inserts}");
        let status = running.wait_for(|status| status.stuck.is_some()).await;
        assert_eq!(status.counters.dead_lettered, 0, "ingest retries");

        store.fail_over([]);
        let status = running.has_inserted(count.into()).await;
        assert!(status.errors.is_empty(), "{status:?}");
        assert_eq!(status.counters.dead_lettered, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_is_retried_with_the_whole_batch() {
    let store = Failing::over(0..100);
    let log = log_with_batches_of(100);
    publish(&log, 0..100).await;
    let faults = Faults::new();
    faults.always(Call::Check, Fault::unavailable());
    let running = start(&log, &store, &faults);
    until(|| store.insert_sizes().len() >= 50).await;
    let status = running.monitor.status();
    assert!(status.errors.contains_key(&Component::Store), "{status:?}");
    assert!(status.stuck.is_none(), "{status:?}");

    store.fail_over([]);
    running.has_inserted(100).await;
    let sizes = store.insert_sizes();
    assert!(sizes.iter().all(|size| *size == 100), "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stuck_record_is_reported_while_others_are_processed() {
    let logged = Logged::begin();
    let store = Failing::over([0]);
    let log = log_with_batches_of(3);
    let running = start(&log, &store, &Faults::new());
    let first_id = purchase(0).id.to_string();
    for seconds in 0..600 {
        publish(&log, seconds..seconds + 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let status = running.monitor.status();
        if seconds < 10 {
            continue;
        }
        let waits = Duration::from_secs(seconds.try_into().unwrap());
        let failing_for = status.failing_since[&Component::Store].elapsed();
        assert!(
            failing_for + Duration::from_secs(5) > waits,
            "{failing_for:?}"
        );
        let stuck = status.stuck.expect("a stuck record");
        let position = (&*stuck.topic, stuck.partition, stuck.offset);
        assert_eq!(position, ("purchases", 0, 0));
        assert_eq!(stuck.id.as_deref(), Some(&*first_id));
        assert!(stuck.since.elapsed() > waits);
        assert_eq!(stuck.error.message(), "fails over one of them");
        let oldest = status.oldest_uncommitted["purchases"].expect("the stuck one");
        assert!(oldest.elapsed() > waits);
    }
    let status = running.monitor.status();
    assert_eq!(status.counters.inserted, 599, "the others continue");
    let named = logged.lines_with(&first_id);
    assert!(
        named.len() == 1 && named[0].contains("log.offset=0"),
        "{named:?}"
    );
    assert_eq!(
        logged.lines_with("ingest failing").len(),
        1,
        "one pause without attempts in between"
    );

    store.fail_over([]);
    let status = running
        .wait_for(|status| status.oldest_uncommitted["purchases"].is_none())
        .await;
    assert!(
        status.stuck.is_none() && status.errors.is_empty() && status.counters.inserted == 600,
        "{status:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stored_record_of_a_stuck_batch_is_not_stuck() {
    let store = Failing::over([3, 7]);
    let running = ingest(&store, 10).await;
    for first_stuck in [3, 7] {
        store.fail_over([first_stuck, 7]);
        let id = Some(purchase(first_stuck).id.to_string());
        running
            .wait_for(|status| status.stuck.as_ref().is_some_and(|stuck| stuck.id == id))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn inserts_during_the_first_attempt_do_not_make_a_record_stuck() {
    let store = Failing::over([0]);
    let log = log_with_batches_of(1);
    publish(&log, 0..2).await;
    let faults = Faults::new();
    // The other record is stored during the first attempt, and nothing afterwards.
    faults.once(Call::Insert, Fault::Delay(Duration::from_secs(1)));
    let running = start(&log, &store, &faults);
    until(|| store.insert_sizes().len() >= 50).await;
    let status = running.monitor.status();
    assert!(
        status.stuck.is_none() && status.counters.inserted == 1,
        "{status:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_counts_its_attempts() {
    let log = InMemoryLog::default();
    publish(&log, 0..1).await;
    let faults = Faults::new();
    faults.once(Call::Insert, Fault::unavailable());
    faults.once(Call::Insert, Fault::unavailable());
    let too_large = Error::new(ErrorKind::TooLarge, "too large");
    let refused = Reason::refused(too_large).unwrap();
    faults.once(Call::Insert, Fault::Reject(refused));
    Setup::new(&log, &faults).start().has_dead_lettered(1).await;
    assert_eq!(log.all_dead_letters()[0].attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_all_writes_costs_two_inserts_per_retry() {
    for count in [1, 1_000] {
        let store = Failing::over(0..count.into());
        let running = ingest(&store, count).await;
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let status = running.monitor.status();
        assert!(status.stuck.is_none(), "the store refuses all of them");
        let retries = usize::try_from(status.retries[&Component::Store]).unwrap();
        let sizes = store.insert_sizes();
        assert!(
            retries > 800 && sizes.len() <= 2 * retries + 2,
            "{} inserts in {retries} retries",
            sizes.len()
        );
        let is_whole_or_one = |size: &usize| [1, count.into()].contains(size);
        assert!(sizes.iter().all(is_whole_or_one), "no halves");

        store.fail_over([]);
        running.has_inserted(count.into()).await;
        let more = store.insert_sizes().len() - sizes.len();
        assert!(more <= 3, "stored together: {more} inserts");
    }
}

#[tokio::test(start_paused = true)]
async fn many_failing_records_do_not_delay_the_others() {
    let store = Failing::over((0..1_000).step_by(10));
    let begun = Instant::now();
    let running = ingest(&store, 1_000).await;
    until(|| store.inner.all().len() == 900).await;
    let took = begun.elapsed();
    let inserts = store.insert_sizes().len();
    // Each failing record costs its path of halves, and no pause of seconds.
    assert!(
        took < Duration::from_secs(30) && inserts < 1_500,
        "{inserts} inserts, {took:?}"
    );
    store.fail_over([]);
    running.has_inserted(1_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_record_is_skipped_without_a_restart() {
    let store = Failing::over([1]);
    let log = log_with_batches_of(3);
    publish(&log, 0..3).await;
    let running = start(&log, &store, &Faults::new());
    let status = running.wait_for(|status| status.stuck.is_some()).await;
    let stuck = status.stuck.unwrap();
    assert_eq!(committed(&log), 0);

    let found = log.find(stuck.partition, stuck.offset).await.unwrap();
    let (partition, record) = found.unwrap();
    let parked = DeadLetter::new(record, partition, Reason::parked("on purpose"), 0);
    log.put_dead_letters(&[parked]).await.unwrap();
    let status = running.has_dead_lettered(1).await;
    assert!(
        status.stuck.is_none() && status.errors.is_empty(),
        "{status:?}"
    );
    assert_eq!((status.counters.inserted, status.counters.parked), (2, 1));
    until(|| committed(&log) == 3).await;

    let pending = log.pending_dead_letters().await.unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].reason.kind(), ReasonKind::Parked);
    store.fail_over([]);
    let replayed = log.resolve(&pending, Purchase::TYPE, Resolution::Replayed);
    assert_eq!(replayed.await.unwrap(), 1);
    running.has_inserted(3).await;
}
