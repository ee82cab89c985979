//! Spot checks of a store: whether it has what ingest has passed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::scan::has_id;
use crate::log::{DeadLetters, Gap, GapCause, Log, LogAdmin, LogRecord, Partition};
use crate::ports::{Lookup, PurchaseQuery};
use crate::record::decode;
use crate::{Clock as _, Result, SystemClock};

/// Each record that is looked up is this many times as far before the position as the one before it.
const FACTOR: u64 = 4;
/// How long a purchase that is not found is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Notices that a store has lost purchases: one that was created again, or an older copy. Its log and group go on as if
/// nothing had happened.
///
/// Each [`check`](Self::check) looks up about ten records of each partition, at growing distances before the position of
/// the group. A store that has lost more than three times as many records as were stored since is noticed, if the log
/// still has them. What is absent is kept as the dead letter of a [`Gap`] with the cause [`Absent`](GapCause::Absent), once for a
/// partition and process.
#[doc(hidden)]
#[derive(Debug)]
pub struct SpotCheck {
    log: Arc<dyn LogAdmin>,
    dead_letters: Arc<dyn DeadLetters>,
    group: String,
    query: Arc<dyn PurchaseQuery>,
    retention: Option<Duration>,
    /// The partitions of which a gap is kept.
    reported: BTreeSet<u32>,
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
        }
    }

    /// Checks the store once.
    ///
    /// # Errors
    /// Those of the log and of the store.
    ///
    /// # Cancel safety
    /// Dropping the future may leave partitions unchecked.
    pub async fn check(&mut self) -> Result<()> {
        for (index, next) in self.log.positions(&self.group).await? {
            if !self.reported.contains(&index)
                && let Some(gap) = self.absent(index, next).await?
            {
                tracing::error!(
                    log.group = self.group,
                    "{gap}: the store is another one or an older copy: set the group back to the beginning to store them again"
                );
                self.dead_letters
                    .put(&[gap.dead_letter(SystemClock.now())])
                    .await?;
                self.reported.insert(index);
            }
        }
        Ok(())
    }

    /// The records before `next` of which the store does not have the first and the last one.
    async fn absent(&self, index: u32, next: u64) -> Result<Option<Gap>> {
        let (mut gap, mut distance) = (None::<Gap>, 1);
        while let Some(offset) = next
            .checked_sub(distance)
            .filter(|offset| *offset >= self.log.first_offset())
        {
            if let Some((partition, record)) = self.log.find(index, offset).await?
                && self.is_absent(&record, &partition).await?
            {
                let to = gap.map_or(offset + 1, |gap| gap.to);
                gap = Some(Gap::new(partition, offset, to, GapCause::Absent));
            }
            distance = distance.saturating_mul(FACTOR);
        }
        Ok(gap)
    }

    async fn is_absent(&self, record: &LogRecord, partition: &Partition) -> Result<bool> {
        // Without an id, the consumer of a replaced system may have stored it under another one.
        let Some(purchase) = decode(record, partition).ok().filter(|_| has_id(record)) else {
            return Ok(false);
        };
        let is_expired = |keep| purchase.timestamp <= SystemClock.now().saturating_sub(keep);
        Ok(!self.retention.is_some_and(is_expired)
            && self.query.look_up(&purchase.id).await? == Lookup::Missing
            && !self.dead_letters.contains(record, partition).await?
            && !self.query.wait_for(&purchase.id, PATIENCE).await?)
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
        let new = NewPurchase::of("u1").named("ada").priced("1").unwrap();
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
    async fn what_another_consumer_may_have_stored_is_no_gap() {
        let log = InMemoryLog::default();
        for number in 0..COUNT {
            let value = format!(r#"{{"username":"ada","userid":"u{number}","price":1}}"#);
            let _position = log.append(LogRecord::new(0, SystemClock.now(), Some(value.into())));
        }
        let source = log.source("group");
        let SourceEvent::Batch(batch) = source.next().await.unwrap() else {
            panic!("no batch")
        };
        source
            .commit(&[CommitOffset::new(batch.partition, COUNT)])
            .await
            .unwrap();
        let store = Arc::new(InMemoryStore::new());
        SpotCheck::new(&log, "group".to_owned(), store, None)
            .check()
            .await
            .unwrap();
        assert!(log.pending_dead_letters().await.unwrap().is_empty());
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
