//! Spot checks of a store: whether it has what ingest has passed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::scan::{has_id, is_stored_by_other};
use crate::log::{DeadLetters, Gap, GapCause, Log, LogAdmin, LogRecord, Partition};
use crate::ports::{Lookup, PurchaseQuery};
use crate::record::decode;
use crate::{Clock as _, Result, SystemClock};

/// Each record that is looked up is this many times as far before the position as the one before it.
const FACTOR: u64 = 4;
/// After another server has taken the store over, records are looked up at distances that grow by this fraction: what an asynchronous standby lacks are the last records before its promotion.
const DENSE_FRACTION: u64 = 64;
/// How many records before the position are looked at densely.
const DENSE_RECORDS: u64 = 20_000;
/// How long a purchase that is not found is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Notices that a store has lost purchases: one that was created again, or an older copy. Its log and group go on as if
/// nothing had happened.
///
/// Each [`check`](Self::check) looks up about ten records of each partition, at growing distances before the position of
/// the group. A store that has lost more than three times as many records as were stored since is noticed, if the log
/// still has them. The first check after another server has taken the store over, also before this process, looks up
/// some hundred: the loss of a sixtieth of the records since is noticed. What is absent is kept as the dead letter of a [`Gap`] with the cause [`Absent`](GapCause::Absent), once for a
/// partition and process.
#[derive(Debug)]
pub struct SpotCheck {
    log: Arc<dyn LogAdmin>,
    dead_letters: Arc<dyn DeadLetters>,
    group: String,
    query: Arc<dyn PurchaseQuery>,
    retention: Option<Duration>,
    /// The partitions of which a gap is kept.
    reported: BTreeSet<u32>,
    /// The take-overs of the store that a whole check has looked for.
    takeovers: u64,
}

impl SpotCheck {
    /// Checks the store of `query`, which `group` feeds from `log`, and which keeps purchases for `retention`.
    #[must_use]
    pub fn new(
        log: &dyn Log,
        group: String,
        query: Arc<dyn PurchaseQuery>,
        retention: Option<Duration>,
    ) -> Self {
        Self {
            log: log.admin(),
            dead_letters: log.dead_letters(),
            group,
            query,
            retention,
            reported: BTreeSet::new(),
            takeovers: 0,
        }
    }

    /// Checks the store once. Returns the number of gaps that it has found and kept.
    ///
    /// # Errors
    /// Those of the log and of the store.
    ///
    /// # Cancel safety
    /// Dropping the future may leave partitions unchecked.
    pub async fn check(&mut self) -> Result<usize> {
        let mut gaps = 0;
        let takeovers = self.query.takeovers();
        let is_dense = self.takeovers != takeovers;
        if is_dense {
            self.reported.clear();
        }
        for (index, next) in self.log.positions(&self.group).await? {
            if !self.reported.contains(&index)
                && let Some(gap) = self.absent(index, next, is_dense).await?
            {
                tracing::error!(
                    log.group = self.group,
                    "{gap}: the store is another one or an older copy: set the group back to the beginning to store them again"
                );
                self.dead_letters
                    .put(&[gap.to_dead_letter(SystemClock.now())])
                    .await?;
                self.reported.insert(index);
                gaps += 1;
            }
        }
        self.takeovers = takeovers;
        Ok(gaps)
    }

    /// The records before `next` of which the store does not have the first and the last one.
    async fn absent(&self, index: u32, next: u64, is_dense: bool) -> Result<Option<Gap>> {
        let mut gap = None::<Gap>;
        let mut distance = 1;
        // The newest missing purchase may be on its way. Those before it are not waited for.
        let mut patience = PATIENCE;
        while let Some(offset) = next
            .checked_sub(distance)
            .filter(|offset| *offset >= self.log.first_offset())
        {
            if let Some((partition, record)) = self.log.find(index, offset).await?
                && self.is_absent(&record, &partition, patience).await?
            {
                let to = gap.map_or(offset + 1, |gap| gap.to);
                gap = Some(Gap::new(partition, offset, to, GapCause::Absent));
                patience = Duration::ZERO;
            }
            distance = if is_dense && distance < DENSE_RECORDS {
                distance + (distance / DENSE_FRACTION).max(1)
            } else {
                distance.saturating_mul(FACTOR)
            };
        }
        Ok(gap)
    }

    /// A record without an id is looked up by the one that ingest derives from its position. Where the consumer of a
    /// replaced system has stored it under another id, it is found by its content.
    async fn is_absent(
        &self,
        record: &LogRecord,
        partition: &Partition,
        patience: Duration,
    ) -> Result<bool> {
        let Ok(purchase) = decode(record, partition) else {
            return Ok(false);
        };
        let is_expired = |keep| purchase.timestamp <= SystemClock.now().saturating_sub(keep);
        let is_missing = !self.retention.is_some_and(is_expired)
            && self.query.look_up(&purchase.id).await? == Lookup::Missing
            && !self.dead_letters.contains(record, partition).await?
            && !self.query.wait_for(&purchase.id, patience).await?;
        Ok(is_missing && (has_id(record) || !is_stored_by_other(&*self.query, &purchase).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{CommitOffset, LogAdminExt as _, LogSource as _, SourceEvent};
    use crate::memory::{InMemoryLog, InMemoryStore};
    use crate::ports::{PurchaseErase as _, PurchaseSink as _, PurchaseStore as _};
    use crate::{NewPurchase, Purchase, Uuid};

    const COUNT: u64 = 200;

    fn purchase(number: u64) -> Purchase {
        let new = NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price("1")
            .unwrap();
        new.into_purchase(SystemClock.now(), || Uuid::from_u128(number.into()))
    }

    /// The pending gap after two checks of a store with the purchases for which `has` holds.
    async fn found(
        has: impl Fn(u64) -> bool,
        change: impl AsyncFnOnce(&mut SpotCheck, &InMemoryStore),
    ) -> Option<(u64, u64)> {
        let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
        for number in 0..COUNT {
            log.sink().publish(&purchase(number)).await.unwrap();
        }
        store
            .insert(
                (0..COUNT)
                    .filter(|number| has(*number))
                    .map(purchase)
                    .collect(),
            )
            .await
            .unwrap();
        let source = log.source("group");
        let SourceEvent::Batch(batch) = source.next().await.unwrap() else {
            panic!("no batch")
        };
        source
            .commit(&[CommitOffset::new(batch.partition, COUNT)])
            .await
            .unwrap();
        let mut check = SpotCheck::new(&log, "group".to_owned(), Arc::new(store.clone()), None);
        change(&mut check, &store).await;
        for _ in 0..2 {
            check.check().await.unwrap();
        }
        let mut gaps: Vec<_> = log.pending_dead_letters().await.unwrap();
        assert!(gaps.len() < 2, "{gaps:?}");
        gaps.pop()
            .map(|letter| letter.gap().unwrap())
            .map(|gap| (gap.from, gap.to))
    }

    #[tokio::test(start_paused = true)]
    async fn records_without_an_id_are_looked_up_also_as_stored_by_another_consumer() {
        let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
        for number in 0..COUNT {
            let value = format!(r#"{{"username":"ada","userid":"u{number}","price":1}}"#);
            let _position = log.append(LogRecord::new(0, SystemClock.now(), Some(value.into())));
        }
        let source = log.source("group");
        let SourceEvent::Batch(batch) = source.next().await.unwrap() else {
            panic!("no batch")
        };
        // The last two are in no store.
        for record in &batch.records[..batch.records.len() - 2] {
            let mut stored = decode(record, &batch.partition).unwrap();
            stored.id = format!("{:024x}", record.offset).parse().unwrap();
            store.insert(Arc::from([stored])).await.unwrap();
        }
        source
            .commit(&[CommitOffset::new(batch.partition, COUNT)])
            .await
            .unwrap();
        SpotCheck::new(&log, "group".to_owned(), Arc::new(store), None)
            .check()
            .await
            .unwrap();
        let found = log.pending_dead_letters().await.unwrap();
        let gap = found.first().unwrap().gap().unwrap();
        assert_eq!((found.len(), gap.from, gap.to), (1, COUNT - 1, COUNT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_has_lost_what_ingest_passed_is_noticed() {
        let nothing = async |_: &mut SpotCheck, _: &InMemoryStore| ();
        assert_eq!(found(|_| true, nothing).await, None);
        assert_eq!(
            found(|_| false, nothing).await,
            Some((COUNT - 64, COUNT)),
            "created again"
        );
        assert_eq!(
            found(|number| number >= 180, nothing).await,
            Some((COUNT - 64, COUNT - 63)),
            "in use since"
        );
        assert_eq!(
            found(|number| !(100..190).contains(&number), nothing).await,
            Some((136, 185)),
            "an older copy"
        );
        let taken_over = async |check: &mut SpotCheck, _: &InMemoryStore| check.takeovers = 1;
        let lacks_few = |number: u64| !(150..155).contains(&number);
        assert_eq!(found(lacks_few, nothing).await, None);
        assert_eq!(found(lacks_few, taken_over).await, Some((150, 155)));
        let expired =
            async |check: &mut SpotCheck, _: &InMemoryStore| check.retention = Some(Duration::ZERO);
        assert_eq!(found(|_| false, expired).await, None);
        let erased = async |_: &mut SpotCheck, store: &InMemoryStore| {
            let ids: Vec<_> = (0..COUNT).map(|number| purchase(number).id).collect();
            store.mark_erased(&ids).await.unwrap();
        };
        assert_eq!(found(|_| false, erased).await, None);
    }
}
