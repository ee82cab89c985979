//! Verification of an in-memory log and store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::fixture::{UnusualStore, World, purchase};
use super::{UnverifiedRecord, Verify, VerifyOptions};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::{
    DeadLetter, DeadLetterState, Log, LogInfo, LogRecord, LogScan, LogSource, Offsets, RecordType,
    Resolution, ScanEnd,
};
use crate::memory::{InMemoryLog, InMemoryStore};
use crate::record::decode;
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result, Timestamp};

fn poison() -> LogRecord {
    LogRecord::new(0, Timestamp::MIN, Some("no purchase".into()))
}

fn ids(findings: &[UnverifiedRecord]) -> BTreeSet<PurchaseId> {
    findings.iter().map(|finding| finding.id).collect()
}

#[tokio::test(start_paused = true)]
async fn a_complete_store_is_clean() {
    let world = World::new().await;
    // Published twice, as after a retry: one purchase.
    world.publish(&purchase(7)).await;
    let verified = world.verify().await;
    assert!(verified.is_clean(), "{verified:?}");
    assert_eq!((verified.records, verified.purchases), (31, 30));
    assert_eq!(verified.to_string(), "missing 0, twice 0, dead-lettered 0");
}

#[tokio::test(start_paused = true)]
async fn a_missing_purchase_counts_once_and_is_sampled() {
    let world = World::new().await;
    let first = world.publish(&purchase(100)).await;
    for number in [100, 101, 100] {
        world.publish(&purchase(number)).await;
    }
    // Discarded one by one.
    let one_by_one = VerifyOptions::default().max_pending(1);
    let verified = world.verify_with(one_by_one).await;
    let missing = &verified.missing;
    assert_eq!((missing.count, verified.records), (2, 34), "{verified:?}");
    assert_eq!(
        ids(&missing.samples),
        [purchase(100).id, purchase(101).id].into()
    );
    let is_first = |sample: &UnverifiedRecord| sample.position == first;
    assert!(missing.samples.iter().any(is_first), "{verified:?}");

    for number in 102..150 {
        world.publish(&purchase(number)).await;
    }
    let few_samples = VerifyOptions::default().max_pending(8).max_reported(5);
    let missing = world.verify_with(few_samples).await.missing;
    assert_eq!((missing.count, missing.samples.len()), (50, 5));
    let published = (100..150).map(|number| purchase(number).id).collect();
    assert!(ids(&missing.samples).is_subset(&published), "{missing:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_without_records_verifies_nothing() {
    let world = World::default();
    let verified = world.verify().await;
    assert!(verified.first_offsets.is_empty());
    assert!(
        !verified.is_clean() && !verified.has_findings(),
        "{verified:?}"
    );
    assert_eq!(
        verified.to_string(),
        "nothing verified: no record was ever written to the log"
    );

    world.buy(0..3).await;
    assert!(world.verify().await.is_clean());
    world.log.delete_before(0, 3);
    let verified = world.verify().await;
    assert!(
        !verified.is_clean() && !verified.has_findings(),
        "{verified:?}"
    );
    assert_eq!(
        (verified.records, verified.purchases, verified.written),
        (0, 3, Some(3))
    );
    assert_eq!(
        verified.first_offsets,
        BTreeMap::from([(("purchases".to_owned(), 0), 3)])
    );
    assert_eq!(
        verified.to_string(),
        "nothing verified: the log has no records any more"
    );

    // Duplicates in the store are still found.
    let query = UnusualStore::with_repetitions(&world);
    let verified = world.verify_by(query, VerifyOptions::default()).await;
    assert!(verified.has_findings());
    assert_eq!(verified.to_string(), "missing 0, twice 1, dead-lettered 0");
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_record_is_missing_until_it_is_dead_lettered() {
    let world = World::new().await;
    let position = world.log.append(poison());
    let verified = world.verify().await;
    assert_eq!(verified.missing.samples[0].position, position);

    let dead_letter = world.dead_letter(&position).await;
    let verified = world.verify().await;
    assert_eq!(verified.to_string(), "missing 0, twice 0, dead-lettered 1");
    assert!(verified.is_clean());

    world.resolve(dead_letter, Resolution::Dropped).await;
    let verified = world.verify().await;
    assert!(verified.is_clean(), "{verified:?}");
    assert_eq!((verified.resolved, verified.dead_lettered), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_dead_lettered_or_mismatched() {
    let mut world = World::new().await;
    let other = Purchase {
        price: "1".parse().unwrap(),
        ..purchase(7)
    };
    let position = world.publish(&other).await;
    let verified = world.verify().await;
    assert_eq!(ids(&verified.mismatched.samples), [other.id].into());
    assert!(!verified.is_clean());
    assert_eq!(verified.missing.count, 0);

    let dead_letter = world.dead_letter(&position).await;
    let verified = world.verify().await;
    assert!(verified.is_clean(), "{verified:?}");
    assert_eq!((verified.dead_lettered, verified.conflicts), (1, 1));
    assert!(verified.details().contains("1 conflicts, 0 others"));

    // The stored one is deleted, the other one replayed: the log still has both.
    world.resolve(dead_letter, Resolution::Replayed).await;
    world.store = InMemoryStore::new();
    for number in (0..30).filter(|number| *number != 7) {
        world.insert(purchase(number)).await;
    }
    world.insert(other).await;
    let verified = world.verify().await;
    assert!(verified.is_clean(), "{verified:?}");
    assert_eq!((verified.resolved, verified.dead_lettered), (2, 0));
}

/// A log whose longest partition lacks its first records, as after compaction.
#[derive(Debug)]
struct Truncated {
    log: InMemoryLog,
    gone: usize,
    tail: Tail,
}

/// What a log without its first records says about its ends.
#[derive(Debug)]
enum Tail {
    Fails(ErrorKind),
    /// A transaction of another producer is open for this number of calls.
    OpenFor(AtomicUsize),
    /// All partitions start here, and one offset later at each further call.
    Moving(AtomicU64),
}

impl Truncated {
    fn new(world: &World, gone: usize, tail: Tail) -> Self {
        let log = world.log.clone();
        Self { log, gone, tail }
    }

    /// Returns the bounds that a scan without an end reports.
    fn follow(&self) -> Result<LogScan> {
        let (start, is_open) = match &self.tail {
            Tail::Fails(kind) => return Err(Error::new(*kind, "cannot be followed")),
            Tail::OpenFor(calls) => {
                let order = Ordering::Relaxed;
                let is_open = calls.fetch_update(order, order, |left| left.checked_sub(1));
                (0, is_open.is_ok())
            }
            Tail::Moving(start) => (start.fetch_add(1, Ordering::Relaxed), false),
        };
        let end = if is_open { 10 } else { 13 };
        let spans = (0..3).map(|index| (index, (start, end)));
        let records = stream::empty().boxed();
        let mut scan = LogScan::new("cluster".into(), "purchases".into(), spans, records);
        scan.is_sparse = true;
        scan.unstable.extend(is_open.then_some((0, 2)));
        Ok(scan)
    }
}

#[async_trait]
impl Log for Truncated {
    async fn append(&self, record: LogRecord) -> Result<()> {
        Log::append(&self.log, record).await
    }

    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>> {
        Log::source(&self.log, group)
    }

    async fn scan(&self, start: &Offsets, end: ScanEnd) -> Result<LogScan> {
        if end == ScanEnd::Never {
            return self.follow();
        }
        let mut scan = self.log.scan(start, end).await?;
        let mut batches: Vec<_> = scan.batches.try_collect().await?;
        let longest = batches.iter_mut().max_by_key(|batch| batch.records.len());
        longest.unwrap().records.drain(..self.gone);
        scan.batches = stream::iter(batches.into_iter().map(Ok)).boxed();
        Ok(scan)
    }

    async fn positions(&self, group: &str) -> Result<Offsets> {
        self.log.positions(group).await
    }

    async fn put_dead_letters(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        self.log.put_dead_letters(dead_letters).await
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        self.log.scan_dead_letters().await
    }

    async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        self.log
            .resolve(dead_letters, record_type, resolution)
            .await
    }

    async fn check(&self) -> Result<()> {
        self.log.check().await
    }

    fn info(&self) -> LogInfo<'_> {
        self.log.info()
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_followed_starts_at_its_first_records() {
    let world = World::new().await;
    let log = Truncated::new(&world, 3, Tail::Fails(ErrorKind::Unsupported));
    let verified = world.verify_against(&log).await;
    let mut first_offsets: Vec<u64> = verified.first_offsets.into_values().collect();
    first_offsets.sort_unstable();
    assert_eq!(first_offsets.pop(), Some(3));
    assert!(first_offsets.iter().all(|offset| *offset == 0));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_ends_meanwhile_is_no_finding() {
    let world = World::new().await;
    for (calls, unstable) in [(1, 0), (5, 0), (usize::MAX, 2)] {
        let log = Truncated::new(&world, 3, Tail::OpenFor(calls.into()));
        let verified = world.verify_against(&log).await;
        assert_eq!(
            (verified.unstable, verified.has_findings()),
            (unstable, unstable > 0),
            "{calls} calls"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refund_is_refused_once_or_waits_and_is_not_missing() {
    let world = World::new().await;
    let [refused, waiting] =
        [7, 100].map(|number| purchase(number).refund(None, Timestamp::MIN).unwrap());
    let first = world.publish(&refused).await;
    world.publish(&refused).await;
    world.dead_letter(&first).await;
    world.publish(&waiting).await;
    world.insert(waiting).await;
    let verified = world.verify().await;
    assert!(verified.is_clean());
    assert_eq!((verified.dead_lettered, verified.waiting), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_compacted_is_a_finding() {
    let world = World::new().await;
    // One in three users, whose partition is the longest.
    world
        .buy((100..1_000).filter(|number| number % 3 == 0))
        .await;
    let half = usize::try_from(world.verify().await.records).unwrap() / 2;
    for (name, gone, tail, compacted) in [
        (
            "more than markers",
            half + 60,
            Tail::OpenFor(0.into()),
            half + 60,
        ),
        ("as many as markers", half, Tail::OpenFor(0.into()), 0),
        ("deleted by retention", half + 60, Tail::Moving(0.into()), 0),
    ] {
        let log = Truncated::new(&world, gone, tail);
        let verified = world.verify_against(&log).await;
        assert_eq!(verified.compacted, compacted as u64, "{name}");
        assert_eq!(verified.is_clean(), compacted == 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn records_in_flight_are_waited_for() {
    let world = World::new().await;
    let [first, last] = [100, 103].map(purchase);
    for purchase in [&first, &last] {
        world.publish(purchase).await;
    }
    // A lookup takes a second. The first purchase is stored within the quiet period of ten seconds,
    // and the last one within the quiet period that begins when the first one is found.
    let mut late = vec![purchase(1_000); 14];
    late[10] = first;
    late[13] = last;
    let query = UnusualStore::with_lag(&world, late);
    let options = VerifyOptions::default()
        .max_lookups(1)
        .quiet_period(Duration::from_secs(10));
    let verified = world.verify_by(query, options).await;
    assert!(verified.is_clean(), "{verified:?}");
    assert_eq!(verified.purchases, 32);
}

#[tokio::test(start_paused = true)]
async fn every_wait_lasts_for_the_quiet_period() {
    // Of two users, whose partitions are read in any order.
    for (first, other) in [(100, 101), (101, 100), (100, 102), (102, 100)] {
        let world = World::new().await;
        // The first is found at once. The others, in another batch, are stored while they are
        // looked for the second time, which is longer after the first than the quiet period.
        let first = purchase(first);
        let others: Vec<_> = (0..13).map(|number| purchase(other + 3 * number)).collect();
        world.publish(&first).await;
        for purchase in &others {
            world.publish(purchase).await;
        }
        let unrelated: Vec<_> = (1_000..1_013).map(purchase).collect();
        let query = UnusualStore::with_lag(&world, [vec![first], unrelated, others].concat());
        let options = VerifyOptions::default()
            .max_lookups(1)
            .max_pending(1)
            .quiet_period(Duration::from_secs(10));
        let verified = world.verify_by(query, options).await;
        assert!(verified.is_clean(), "{verified:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn duplicates_are_found_with_any_window() {
    let world = World::new().await;
    let odd: BTreeSet<_> = (0..15).map(|half| purchase(2 * half + 1).id).collect();
    for window in [0, 1, 7, 100] {
        let options = VerifyOptions::default()
            .dedup_window(window)
            .max_reported(100);
        let query = UnusualStore::with_repetitions(&world);
        let verified = world.verify_by(query, options).await;
        let duplicates = verified.duplicates;
        assert_eq!((duplicates.count, verified.purchases), (15, 60), "{window}");
        let samples: BTreeSet<_> = duplicates.samples.into_iter().collect();
        assert_eq!(samples, odd, "{window}");
        assert_eq!((verified.missing.count, verified.unreadable), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_an_error_and_not_a_loss() {
    let world = World::new().await;
    let faults = Faults::new();
    let query = faults.query(Arc::new(world.store.clone()));
    // A short outage is waited for.
    for _ in 0..4 {
        faults.once(Call::Query, Fault::unavailable());
    }
    let verify = Verify::new(query, VerifyOptions::default());
    let verified = verify.run(&world.log, |_| ()).await.unwrap();
    assert!(verified.is_clean(), "{verified:?}");
    assert_eq!(verified.purchases, 30);
    let log = Truncated::new(&world, 0, Tail::Fails(ErrorKind::Unavailable));
    let error = verify.run(&log, |_| ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    faults.always(Call::Query, Fault::unavailable());
    let error = verify.run(&world.log, |_| ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// A record of another producer, and the purchase that another consumer stores.
fn of_another_program(number: u8) -> (LogRecord, Purchase) {
    let millis = 1_772_355_600_000 + i64::from(number);
    let time = Timestamp::from_millis(millis).unwrap();
    let value =
        format!(r#"{{"username":"ada","userid":"u{number}","price":5,"timestamp":"{time}"}}"#);
    let purchase = Purchase::new(
        PurchaseId::from_object_id([number; 12]),
        format!("u{number}").parse().unwrap(),
        "ada".parse().unwrap(),
        "5.0".parse().unwrap(),
        time,
    );
    (
        LogRecord::new(0, Timestamp::MIN, Some(value.into())),
        purchase,
    )
}

#[tokio::test(start_paused = true)]
async fn what_another_consumer_has_stored_is_not_missing_and_what_both_have_is_twice() {
    let world = World::new().await;
    let (record, by_other) = of_another_program(1);
    drop(world.log.append(record));
    world.insert(by_other).await;
    let report = world.verify().await;
    assert!(report.is_clean() && report.by_others == 1, "{report:?}");

    let (record, by_both) = of_another_program(2);
    let position = world.log.append(record);
    let (partition, record) = world.record_at(&position).await;
    let ingested = decode(&record, &partition).unwrap();
    world.insert(ingested.clone()).await;
    let report = world.verify().await;
    assert!(report.is_clean(), "ingest has stored it: {report:?}");
    assert_eq!(report.purchases, 32);
    world.insert(by_both).await;

    let (record, by_none) = of_another_program(3);
    drop(world.log.append(record));
    let a_millisecond_later = Timestamp::from_millis(by_none.timestamp.as_millis() + 1);
    world
        .insert(Purchase {
            timestamp: a_millisecond_later.unwrap(),
            ..by_none
        })
        .await;
    let report = world.verify().await;
    assert_eq!(report.duplicates.count, 1, "{report:?}");
    assert_eq!(report.duplicates.samples, [ingested.id]);
    assert_eq!((report.missing.count, report.by_others), (1, 1));
}
