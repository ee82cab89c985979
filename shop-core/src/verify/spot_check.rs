//! Spot checks of a store: does it still contain the purchases that ingest stored?
//!
//! A store that was created again, or restored from an older copy, is empty or lacks purchases, but
//! the position of ingest is behind their records, so nothing would store them again. A spot check
//! looks up a few records before the position of each partition, and reports the ones that are
//! absent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::lookup::{has_id, is_stored_by_other};
use crate::log::{Gap, GapCause, Log, LogRecord, Partition};
use crate::ports::{Lookup, PurchaseQuery};
use crate::record::RecordDecoders;
use crate::{Clock as _, Result, SystemClock};

/// The factor by which the distance to the position grows from one sampled record to the next.
const DISTANCE_FACTOR: u64 = 4;
/// The divisor of the growth of the distance in a dense sample: it grows by one 64th.
const DENSE_GROWTH_DIVISOR: u64 = 64;
/// The distance to the position up to which a dense sample is dense.
const DENSE_DISTANCE: u64 = 20_000;
/// The time that a check waits for the newest purchase that is not found.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// How close to each other the records of a sample are.
///
/// Both samples begin with the last record before the position of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SampleDensity {
    /// About ten records, at distances that grow by the factor [`DISTANCE_FACTOR`]: 1, 4, 16, …
    Sparse,
    /// Some hundred records: each of the last 64 or so, then at distances that grow by one 64th up
    /// to [`DENSE_DISTANCE`], and as in a sparse sample beyond.
    ///
    /// For the first check after another server takes over the store. An asynchronous standby lacks
    /// the last records before its promotion.
    Dense,
}

impl SampleDensity {
    /// Returns the distance to the position of the record that is sampled after the one at
    /// `distance`.
    fn next_distance(self, distance: u64) -> u64 {
        if self == Self::Dense && distance < DENSE_DISTANCE {
            distance + (distance / DENSE_GROWTH_DIVISOR).max(1)
        } else {
            distance.saturating_mul(DISTANCE_FACTOR)
        }
    }
}

/// A check that notices that a store lost purchases: a store that was created again, or an older
/// copy.
///
/// The log and the group go on as if nothing had happened, so nothing else notices the loss. Each
/// [`check`](Self::check) looks up about ten records of each partition, at growing distances before
/// the position of the group. The check notices a store that lost more than three times as many
/// records as were stored since, if the log still contains them.
///
/// The first check after another server takes over the store, also before this process, looks up
/// some hundred records: the loss of a sixtieth of the records since is noticed. Absent records are
/// kept as the dead letter of a [`Gap`] with the cause [`Absent`](GapCause::Absent), once for a
/// partition and process.
#[derive(Debug)]
pub struct SpotCheck {
    log: Arc<dyn Log>,
    group: String,
    query: Arc<dyn PurchaseQuery>,
    retention: Option<Duration>,
    /// Decodes the records of the log.
    decoders: RecordDecoders,
    /// The indices of the partitions whose gap was kept. They are not checked again.
    reported_partitions: BTreeSet<u32>,
    /// The number of take-overs of the store by another server, as of the last complete check.
    takeovers: u64,
}

impl SpotCheck {
    /// Creates a check of the store of `query`, which `group` feeds from `log`.
    ///
    /// `retention` is the time for which the store keeps purchases. Older ones may be absent.
    #[must_use]
    pub fn new(
        log: Arc<dyn Log>,
        group: String,
        query: Arc<dyn PurchaseQuery>,
        retention: Option<Duration>,
    ) -> Self {
        Self {
            log,
            group,
            query,
            retention,
            decoders: RecordDecoders::default(),
            reported_partitions: BTreeSet::new(),
            takeovers: 0,
        }
    }

    /// Returns this check with the `decoders` of the records of the log.
    #[must_use]
    pub fn with_decoders(mut self, decoders: RecordDecoders) -> Self {
        self.decoders = decoders;
        self
    }

    /// Checks the store once, and returns the number of gaps that were found and kept as dead
    /// letters.
    ///
    /// # Errors
    /// Returns the errors of the log and of the store. Partitions that were not checked are checked
    /// by the next call.
    ///
    /// # Cancel safety
    /// Dropping the future may leave partitions unchecked.
    pub async fn check(&mut self) -> Result<usize> {
        let mut gap_count = 0;
        let takeovers = self.query.info().takeovers;
        let was_taken_over = self.takeovers != takeovers;
        let density = if was_taken_over {
            SampleDensity::Dense
        } else {
            SampleDensity::Sparse
        };
        // The server that took over may lack other records, so each partition is checked again.
        if was_taken_over {
            self.reported_partitions.clear();
        }

        for (index, next_offset) in self.log.positions(&self.group).await? {
            if self.reported_partitions.contains(&index) {
                continue;
            }
            let Some(gap) = self.find_absent(index, next_offset, density).await? else {
                continue;
            };
            tracing::error!(
                log.group = self.group,
                "{gap}: the store is another one or an older copy: set the group back to the beginning to store them again"
            );
            self.log
                .put_dead_letters(&[gap.to_dead_letter(SystemClock.now())])
                .await?;
            self.reported_partitions.insert(index);
            gap_count += 1;
        }

        // The number of takeovers is stored at the end, so that a check that failed halfway is
        // repeated densely.
        self.takeovers = takeovers;
        Ok(gap_count)
    }

    /// Looks up a sample of the records before the group's position `next_offset` in the partition
    /// `index`. Returns a gap from the oldest to the newest record that is absent from the store.
    ///
    /// The sample goes back from the position, at growing distances. The records between are not
    /// looked up, so the gap may contain records that are stored.
    ///
    /// Returns `None` if the store contains every record of the sample.
    ///
    /// # Errors
    /// Returns the errors of the log and of the store.
    async fn find_absent(
        &self,
        index: u32,
        next_offset: u64,
        density: SampleDensity,
    ) -> Result<Option<Gap>> {
        let first_offset = self.log.info().first_offset;
        let mut absent_gap = None::<Gap>;
        let mut distance = 1;
        // Only the newest absent purchase may still be on its way, so only one is waited for.
        let mut lookup_timeout = LOOKUP_TIMEOUT;
        while let Some(offset) = next_offset.checked_sub(distance)
            && offset >= first_offset
        {
            // An offset without a record, such as one that retention deleted, is passed over.
            if let Some((partition, record)) = self.log.find(index, offset).await?
                && self.is_absent(&record, &partition, lookup_timeout).await?
            {
                let to = absent_gap.map_or(offset + 1, |gap| gap.to);
                absent_gap = Some(Gap::new(partition, offset, to, GapCause::Absent));
                lookup_timeout = Duration::ZERO;
            }
            distance = density.next_distance(distance);
        }
        Ok(absent_gap)
    }

    /// Checks whether the store lacks the purchase of `record`, although ingest passed the record.
    ///
    /// Waits for at most `lookup_timeout` until the purchase is stored. A purchase that was erased,
    /// dead-lettered or deleted by retention is not absent.
    ///
    /// A record without an id is looked up by the id that ingest derives from its position. If
    /// another consumer of the topic stored the purchase under another id, the purchase is found by
    /// its content.
    ///
    /// # Errors
    /// Returns the errors of the log and of the store.
    async fn is_absent(
        &self,
        record: &LogRecord,
        partition: &Partition,
        lookup_timeout: Duration,
    ) -> Result<bool> {
        // A record that does not decode is never stored.
        let Ok(purchase) = self.decoders.decode(record, partition) else {
            return Ok(false);
        };
        // Retention may have deleted the purchase.
        if let Some(retention) = self.retention
            && purchase.timestamp <= SystemClock.now().saturating_sub(retention)
        {
            return Ok(false);
        }

        let is_accounted_for = self.query.look_up(&purchase.id).await? != Lookup::Missing
            || self.log.contains_dead_letter(record, partition).await?
            || self.query.wait_for(&purchase.id, lookup_timeout).await?;
        if is_accounted_for {
            return Ok(false);
        }

        // Only a record without an id can be stored under the id of another consumer.
        if has_id(record) {
            return Ok(true);
        }
        let other_id_is_stored = is_stored_by_other(&*self.query, &purchase).await?;
        Ok(!other_id_is_stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Batch, CommitOffset, LogExt as _, LogSource as _, SourceEvent};
    use crate::memory::{InMemoryLog, InMemoryStore};
    use crate::ports::{PurchaseErase as _, RecordStore as _};
    use crate::record::{decode, encode};
    use crate::{NewPurchase, Purchase, Uuid};

    const COUNT: u64 = 200;

    fn purchase(number: u64) -> Purchase {
        let new = NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price("1")
            .unwrap();
        new.into_purchase(SystemClock.now(), || Uuid::from_u128(number.into()))
    }

    /// A log whose [`COUNT`] records the group has passed, and the records.
    async fn passed_log(record: impl Fn(u64) -> LogRecord) -> (InMemoryLog, Batch) {
        let log = InMemoryLog::default();
        for number in 0..COUNT {
            drop(log.append(record(number)));
        }
        let source = log.source("group");
        let SourceEvent::Batch(batch) = source.next().await.unwrap() else {
            panic!("no batch")
        };
        let offset = CommitOffset::new(batch.partition.clone(), COUNT);
        source.commit(&[offset]).await.unwrap();
        (log, batch)
    }

    fn spot_check(log: &InMemoryLog, store: &InMemoryStore) -> SpotCheck {
        let (log, store) = (Arc::new(log.clone()), Arc::new(store.clone()));
        SpotCheck::new(log, "group".to_owned(), store, None)
    }

    /// The pending gap after two checks, if there is one.
    async fn found_gap(mut check: SpotCheck, log: &InMemoryLog) -> Option<(u64, u64)> {
        for _ in 0..2 {
            check.check().await.unwrap();
        }
        let mut dead_letters = log.pending_dead_letters().await.unwrap();
        assert!(dead_letters.len() < 2, "{dead_letters:?}");
        let gap = dead_letters.pop()?.gap().unwrap();
        Some((gap.from, gap.to))
    }

    #[tokio::test(start_paused = true)]
    async fn records_without_an_id_are_looked_up_also_as_stored_by_another_consumer() {
        let (log, batch) = passed_log(|number| {
            let value = format!(r#"{{"username":"ada","userid":"u{number}","price":1}}"#);
            LogRecord::new(0, SystemClock.now(), Some(value.into()))
        })
        .await;
        let store = InMemoryStore::new();
        // The last two are in no store.
        for record in &batch.records[..batch.records.len() - 2] {
            let mut stored = decode(record, &batch.partition).unwrap();
            stored.id = format!("{:024x}", record.offset).parse().unwrap();
            store.apply([stored].into()).await.unwrap();
        }
        assert_eq!(
            found_gap(spot_check(&log, &store), &log).await,
            Some((COUNT - 1, COUNT))
        );
    }

    /// The gap that is found in a store with the purchases for which `has` holds.
    async fn gap_of(
        has: impl Fn(&u64) -> bool,
        change: impl AsyncFnOnce(&mut SpotCheck, &InMemoryStore),
    ) -> Option<(u64, u64)> {
        let (log, _batch) = passed_log(|number| encode(&purchase(number)).unwrap()).await;
        let store = InMemoryStore::new();
        let stored = (0..COUNT).filter(has).map(purchase).collect();
        store.apply(stored).await.unwrap();
        let mut check = spot_check(&log, &store);
        change(&mut check, &store).await;
        found_gap(check, &log).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_has_lost_what_ingest_passed_is_noticed() {
        let nothing = async |_: &mut SpotCheck, _: &InMemoryStore| ();
        assert_eq!(gap_of(|_| true, nothing).await, None);
        assert_eq!(
            gap_of(|_| false, nothing).await,
            Some((COUNT - 64, COUNT)),
            "created again"
        );
        assert_eq!(
            gap_of(|number| *number >= 180, nothing).await,
            Some((COUNT - 64, COUNT - 63)),
            "in use since"
        );
        assert_eq!(
            gap_of(|number| !(100..190).contains(number), nothing).await,
            Some((136, 185)),
            "an older copy"
        );
        let taken_over = async |check: &mut SpotCheck, _: &InMemoryStore| check.takeovers = 1;
        let lacks_few = |number: &u64| !(150..155).contains(number);
        assert_eq!(gap_of(lacks_few, nothing).await, None);
        assert_eq!(gap_of(lacks_few, taken_over).await, Some((150, 155)));
        let expired =
            async |check: &mut SpotCheck, _: &InMemoryStore| check.retention = Some(Duration::ZERO);
        assert_eq!(gap_of(|_| false, expired).await, None);
        let erased = async |_: &mut SpotCheck, store: &InMemoryStore| {
            let ids: Vec<_> = (0..COUNT).map(|number| purchase(number).id).collect();
            store.mark_erased(&ids).await.unwrap();
        };
        assert_eq!(gap_of(|_| false, erased).await, None);
    }
}
