//! Verification of an in-memory log and store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{UnverifiedRecord, Verify, VerifyOptions, VerifyReport};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::{
    Batch, DeadLetter, DeadLetterState, DeadLetters, LogAdmin, LogRecord, LogTail, Offsets,
    Partition, Reason, RecordPosition, RecordType, Resolution,
};
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use crate::ports::{
    InsertOutcome, Page, PageRequest, PurchaseQuery, PurchaseSink, PurchaseStore, Selector, Summary,
};
use crate::record::Record;
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result, Timestamp, Uuid};

fn purchase(number: u128) -> Purchase {
    Purchase::new(
        PurchaseId::from_uuid(Uuid::from_u128(number)),
        format!("u{}", number % 3).parse().unwrap(),
        "ada".parse().unwrap(),
        "29.99".parse().unwrap(),
        Timestamp::from_millis(i64::try_from(number).unwrap()).unwrap(),
    )
}

fn poison() -> LogRecord {
    LogRecord::new(0, Timestamp::MIN, Some("no purchase".into()))
}

/// A log and a store.
struct World {
    log: InMemoryLog,
    store: InMemoryStore,
}

impl World {
    /// Purchases 0 to 29, in both.
    async fn new() -> Self {
        let options = InMemoryLogOptions {
            partitions: 3,
            ..InMemoryLogOptions::default()
        };
        let world = Self {
            log: InMemoryLog::new(options),
            store: InMemoryStore::new(),
        };
        for number in 0..30 {
            world.publish(&purchase(number)).await;
            world.insert(purchase(number)).await;
        }
        world
    }

    async fn publish(&self, purchase: &Purchase) -> RecordPosition {
        self.log
            .sink()
            .publish(purchase)
            .await
            .unwrap()
            .position
            .unwrap()
    }

    async fn insert(&self, purchase: Purchase) {
        assert!(matches!(
            self.store.insert_one(purchase).await.unwrap(),
            InsertOutcome::Inserted
        ));
    }

    /// Dead-letters the record at `position`.
    async fn dead_letter(&self, position: &RecordPosition) -> DeadLetter {
        self.dead_letter_for(position, Reason::conflict(Purchase::TYPE))
            .await
    }

    async fn dead_letter_for(&self, position: &RecordPosition, reason: Reason) -> DeadLetter {
        let batches: Vec<_> = self.log.scan().await.unwrap().try_collect().await.unwrap();
        let batch = batches
            .iter()
            .find(|batch| batch.partition.index == position.partition)
            .unwrap();
        let record = batch
            .records
            .iter()
            .find(|record| record.offset == position.offset)
            .unwrap();
        let dead_letter = DeadLetter::new(record.clone(), batch.partition.clone(), reason, 1);
        self.log
            .dead_letters()
            .put(std::slice::from_ref(&dead_letter))
            .await
            .unwrap();
        dead_letter
    }

    async fn verify(&self) -> VerifyReport {
        self.verify_by(Arc::new(self.store.clone()), VerifyOptions::default())
            .await
            .unwrap()
    }

    async fn verify_by(
        &self,
        query: Arc<dyn PurchaseQuery>,
        options: VerifyOptions,
    ) -> Result<VerifyReport> {
        Verify::new(query, options).run(&self.log, |_| ()).await
    }
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
async fn missing_records_are_counted_and_sampled() {
    let world = World::new().await;
    for number in 100..150 {
        world.publish(&purchase(number)).await;
    }
    let options = VerifyOptions::default().max_pending(8).max_reported(5);
    let verified = world
        .verify_by(Arc::new(world.store.clone()), options)
        .await
        .unwrap();
    assert_eq!(
        (verified.missing.count, verified.missing.samples.len()),
        (50, 5)
    );
    assert!(!verified.is_clean());
    let all: BTreeSet<_> = (100..150).map(|number| purchase(number).id).collect();
    assert!(
        ids(&verified.missing.samples).is_subset(&all),
        "{verified:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_purchase_with_two_missing_records_counts_once() {
    let world = World::new().await;
    let first = world.publish(&purchase(100)).await;
    for number in [100, 101, 100] {
        world.publish(&purchase(number)).await;
    }
    // Discarded one by one.
    let options = VerifyOptions::default().max_pending(1);
    let verified = world
        .verify_by(Arc::new(world.store.clone()), options)
        .await
        .unwrap();
    let missing = &verified.missing;
    assert_eq!(
        (missing.count, missing.samples.len(), verified.records),
        (2, 2, 34),
        "{verified:?}"
    );
    assert_eq!(
        ids(&missing.samples),
        BTreeSet::from([purchase(100).id, purchase(101).id])
    );
    assert!(
        missing
            .samples
            .iter()
            .any(|missing| missing.position == first),
        "{verified:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_log_without_records_verifies_nothing() {
    let world = World {
        log: InMemoryLog::default(),
        store: InMemoryStore::new(),
    };
    let verified = world.verify().await;
    assert!(
        !verified.is_clean() && !verified.has_findings(),
        "{verified:?}"
    );
    assert_eq!(
        verified.to_string(),
        "nothing verified: no record was ever written to the log"
    );
    for number in 0..3 {
        world.publish(&purchase(number)).await;
        world.insert(purchase(number)).await;
    }
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
    let query = Arc::new(Doubling(world.store.clone()));
    let verified = world
        .verify_by(query, VerifyOptions::default())
        .await
        .unwrap();
    assert!(
        verified.has_findings() && verified.to_string().starts_with("missing 0, twice 1"),
        "{verified}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_record_is_missing_unless_dead_lettered() {
    let world = World::new().await;
    let position = world.log.append(poison());
    let verified = world.verify().await;
    assert_eq!(verified.missing.samples[0].position, position);
    let dead_letter = world.dead_letter(&position).await;
    let verified = world.verify().await;
    assert_eq!(verified.to_string(), "missing 0, twice 0, dead-lettered 1");
    assert!(verified.is_clean());
    assert_eq!(dead_letter.position().offset, position.offset);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_dead_lettered_or_mismatched() {
    let mut world = World::new().await;
    let mut other = purchase(7);
    other.price = "1".parse().unwrap();
    let position = world.publish(&other).await;
    let verified = world.verify().await;
    assert_eq!(
        ids(&verified.mismatched.samples),
        BTreeSet::from([other.id])
    );
    assert!(
        !verified.is_clean() && verified.missing.count == 0,
        "{verified:?}"
    );

    let dead_letter = world.dead_letter(&position).await;
    let verified = world.verify().await;
    assert!(
        verified.is_clean() && verified.dead_lettered == 1,
        "{verified:?}"
    );
    assert_eq!(verified.conflicts, 1);

    // The stored one is deleted, the other one replayed: the log still has both.
    assert_eq!(
        world
            .log
            .resolve(&[dead_letter], Purchase::TYPE, Resolution::Replayed)
            .await
            .unwrap(),
        1
    );
    world.store = InMemoryStore::new();
    for number in (0..30).filter(|number| *number != 7) {
        world.insert(purchase(number)).await;
    }
    world.insert(other).await;
    let verified = world.verify().await;
    assert!(verified.is_clean(), "{verified:?}");
    assert_eq!((verified.resolved, verified.dead_lettered), (2, 0));
}

/// A log without the first records of the longest partition.
#[derive(Debug)]
struct Truncated {
    log: InMemoryLog,
    gone: usize,
    /// By how much the partitions start later with each call of `tail`, and where they start at the
    /// next one.
    deleted: (u64, AtomicU64),
    /// The number of calls of `tail` until another producer's transaction ends. `None` if the log
    /// cannot be followed.
    open: Option<AtomicUsize>,
}

impl Truncated {
    fn new(world: &World, gone: usize, open: Option<usize>) -> Self {
        Self {
            log: world.log.clone(),
            gone,
            deleted: Default::default(),
            open: open.map(AtomicUsize::new),
        }
    }

    async fn longest(&self) -> Result<u32> {
        let batches: Vec<_> = self.log.scan().await?.try_collect().await?;
        Ok(batches
            .iter()
            .max_by_key(|batch| batch.records.len())
            .unwrap()
            .partition
            .index)
    }
}

#[async_trait]
impl LogAdmin for Truncated {
    async fn scan(&self) -> Result<BoxStream<'static, Result<Batch>>> {
        let longest = self.longest().await?;
        let gone = self.gone;
        let batches = self.log.scan().await?.map_ok(move |mut batch| {
            if batch.partition.index == longest {
                batch.records.drain(..gone);
            }
            batch
        });
        Ok(batches.boxed())
    }

    async fn tail(&self, start: &Offsets) -> Result<LogTail> {
        let Some(open) = &self.open else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("cannot be followed from {start:?}"),
            ));
        };
        let is_open = open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok();
        let end = if is_open { 10 } else { 13 };
        let start = self.deleted.1.fetch_add(self.deleted.0, Ordering::Relaxed);
        let spans = (0..3).map(|index| (index, (start, end)));
        let mut tail = LogTail::new(
            "cluster".into(),
            "purchases".into(),
            spans,
            stream::empty().boxed(),
        );
        tail.is_sparse = true;
        tail.unstable.extend(is_open.then_some((0, 2)));
        Ok(tail)
    }

    async fn positions(&self, group: &str) -> Result<Offsets> {
        self.log.positions(group).await
    }

    async fn find(&self, index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>> {
        self.log.find(index, offset).await
    }

    fn retention(&self) -> Option<Duration> {
        None
    }

    fn first_offset(&self) -> u64 {
        self.log.first_offset()
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        self.log.scan_dead_letters().await
    }

    async fn resolve(
        &self,
        all: &[DeadLetter],
        of: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        self.log.resolve(all, of, resolution).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_report_contains_first_offsets() {
    let world = World::new().await;
    let verified = world.verify().await;
    assert!(!verified.first_offsets.is_empty(), "{verified:?}");
    assert!(
        verified.first_offsets.values().all(|first| *first == 0),
        "{verified:?}"
    );
    let truncated = Truncated::new(&world, 3, None);
    let longest = truncated.longest().await.unwrap();
    let verify = Verify::new(Arc::new(world.store.clone()), VerifyOptions::default());
    let verified = verify.run(&truncated, |_| ()).await.unwrap();
    let partition = ("purchases".to_owned(), longest);
    assert_eq!(verified.first_offsets[&partition], 3);
    assert_eq!(
        verified.first_offsets.values().sum::<u64>(),
        3,
        "{verified:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_ends_meanwhile_is_no_finding() {
    let world = World::new().await;
    for (calls, unstable) in [(1, 0), (5, 0), (usize::MAX, 2)] {
        let log = Truncated::new(&world, 3, Some(calls));
        let verify = Verify::new(Arc::new(world.store.clone()), VerifyOptions::default());
        let verified = verify.run(&log, |_| ()).await.unwrap();
        assert_eq!(
            (verified.unstable, verified.has_findings()),
            (unstable, unstable > 0),
            "{calls} calls"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_compacted_is_a_finding() {
    let world = World::new().await;
    // One in three users, whose partition is the longest.
    for number in (100..1_000).filter(|number| number % 3 == 0) {
        world.publish(&purchase(number)).await;
        world.insert(purchase(number)).await;
    }
    let verify = Verify::new(Arc::new(world.store.clone()), VerifyOptions::default());
    let all = world.verify().await.records;
    for (gone, deleted, is_found) in [
        (all / 2 + 60, 0, true),
        (all / 2, 0, false),
        (all / 2 + 60, 1, false),
    ] {
        let mut log = Truncated::new(&world, usize::try_from(gone).unwrap(), Some(0));
        log.deleted.0 = deleted;
        let verified = verify.run(&log, |_| ()).await.unwrap();
        let expected = if is_found { gone } else { 0 };
        assert_eq!(
            (verified.compacted, verified.is_clean()),
            (expected, !is_found),
            "{gone} {deleted}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn discarded_dead_letters_are_resolved() {
    let world = World::new().await;
    let position = world.log.append(poison());
    let dead_letter = world.dead_letter(&position).await;
    assert_eq!(
        world
            .log
            .resolve(&[dead_letter], Purchase::TYPE, Resolution::Dropped)
            .await
            .unwrap(),
        1
    );
    let verified = world.verify().await;
    assert!(verified.is_clean(), "{verified:?}");
    assert_eq!((verified.resolved, verified.dead_lettered), (1, 0));
}

/// Stores a purchase with each of the first lookups for one, like a pipeline with a lag.
#[derive(Debug)]
struct Lagging {
    store: InMemoryStore,
    late: Vec<Purchase>,
    lookups: AtomicUsize,
}

#[async_trait]
impl PurchaseQuery for Lagging {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        self.store.page(selector, request).await
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        self.store.summary(selector).await
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        let found = self.store.get(id).await?;
        if found.is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let next = self
                .late
                .get(self.lookups.fetch_add(1, Ordering::Relaxed))
                .cloned();
            self.store.insert(next.into_iter().collect()).await?;
        }
        Ok(found)
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn records_in_flight_are_waited_for() {
    let world = World::new().await;
    let late: Vec<_> = (100..160).map(purchase).collect();
    for purchase in &late {
        world.publish(purchase).await;
    }
    let query = Lagging {
        store: world.store.clone(),
        late,
        lookups: AtomicUsize::new(0),
    };
    // One by one, so the whole takes a minute: far longer than the quiet period, which restarts
    // with each.
    let options = VerifyOptions::default()
        .max_lookups(1)
        .quiet_period(Duration::from_secs(10));
    let verified = world.verify_by(Arc::new(query), options).await.unwrap();
    assert!(
        verified.is_clean() && verified.purchases == 90,
        "{verified:?}"
    );
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
        for purchase in std::iter::once(&first).chain(&others) {
            world.publish(purchase).await;
        }
        let unrelated = (1_000..).map(purchase).take(others.len());
        let late = std::iter::once(first)
            .chain(unrelated)
            .chain(others.iter().cloned())
            .collect();
        let query = Lagging {
            store: world.store.clone(),
            late,
            lookups: AtomicUsize::new(0),
        };
        let mut options = VerifyOptions::default();
        (
            options.max_lookups,
            options.max_pending,
            options.quiet_period,
        ) = (1, 1, Duration::from_secs(10));
        let verified = world.verify_by(Arc::new(query), options).await.unwrap();
        assert!(verified.is_clean(), "{verified:?}");
    }
}

/// Yields every page twice, like a store with duplicates.
#[derive(Debug)]
struct Doubling(InMemoryStore);

#[async_trait]
impl PurchaseQuery for Doubling {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let page = self.0.page(selector, request).await?;
        let odd = page
            .items
            .iter()
            .filter(|purchase| purchase.id.as_uuid().unwrap().as_u128() % 2 == 1);
        let odd: Vec<_> = odd.cloned().collect();
        Ok(Page::new(
            [page.items, odd.clone(), odd].concat(),
            page.next,
        ))
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        self.0.summary(selector).await
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        self.0.get(id).await
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn duplicates_are_found_with_any_window() {
    let world = World::new().await;
    for at_once in [0, 1, 7, 100] {
        let options = VerifyOptions::default()
            .dedup_window(at_once)
            .max_reported(100);
        let query = Arc::new(Doubling(world.store.clone()));
        let verified = world.verify_by(query, options).await.unwrap();
        assert_eq!(
            (verified.duplicates.count, verified.purchases),
            (15, 60),
            "{at_once}"
        );
        let odd: BTreeSet<_> = (0..30)
            .filter(|number| number % 2 == 1)
            .map(|n| purchase(n).id)
            .collect();
        assert_eq!(
            verified
                .duplicates
                .samples
                .into_iter()
                .collect::<BTreeSet<_>>(),
            odd,
            "{at_once}"
        );
        assert_eq!(verified.missing.count, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_an_error_and_not_a_loss() {
    let world = World::new().await;
    let faults = Faults::new();
    let query = faults.query(Arc::new(world.store.clone()));
    // A short outage is waited for.
    (0..4).for_each(|_| faults.once(Call::Query, Fault::unavailable()));
    let verified = world
        .verify_by(Arc::clone(&query), VerifyOptions::default())
        .await
        .unwrap();
    assert!(
        verified.is_clean() && verified.purchases == 30,
        "{verified:?}"
    );
    faults.always(Call::Query, Fault::unavailable());
    let error = world
        .verify_by(query, VerifyOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// A record of a replaced system, and the purchase that its consumer stores.
fn of_another_system(number: u128) -> (LogRecord, Purchase) {
    let millis = 1_772_355_600_000 + i64::try_from(number).unwrap();
    let value =
        format!(r#"{{"username":"ada","userid":"u{number}","price":5,"timestamp":{millis}}}"#);
    let record = LogRecord::new(0, Timestamp::MIN, Some(value.into()));
    let id = PurchaseId::from_object_id([u8::try_from(number).unwrap(); 12]);
    let purchase = Purchase::new(
        id,
        format!("u{number}").parse().unwrap(),
        "ada".parse().unwrap(),
        "5.0".parse().unwrap(),
        Timestamp::from_millis(millis).unwrap(),
    );
    (record, purchase)
}

#[tokio::test(start_paused = true)]
async fn what_another_consumer_has_stored_is_not_missing_and_what_both_have_is_twice() {
    let world = World::new().await;
    let by_other = of_another_system(1);
    let _position = world.log.append(by_other.0);
    world.insert(by_other.1).await;
    let report = world.verify().await;
    assert!(report.is_clean() && report.by_others == 1, "{report:?}");

    let by_both = of_another_system(2);
    let position = world.log.append(by_both.0);
    world.insert(by_both.1.clone()).await;
    let (partition, record) = world
        .log
        .find(position.partition, position.offset)
        .await
        .unwrap()
        .unwrap();
    world
        .insert(crate::record::decode(&record, &partition).unwrap())
        .await;
    let by_none = of_another_system(3);
    let _position = world.log.append(by_none.0);
    let mut later = by_none.1;
    later.timestamp = Timestamp::from_millis(later.timestamp.as_millis() + 1).unwrap();
    world.insert(later).await;
    let report = world.verify().await;
    assert_eq!(
        (
            report.duplicates.count,
            report.missing.count,
            report.by_others
        ),
        (1, 1, 1),
        "{report:?}"
    );
    assert_eq!(
        report.duplicates.samples,
        [crate::record::decode(&record, &partition).unwrap().id]
    );
}
