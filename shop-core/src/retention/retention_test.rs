//! Retentions of stores in memory, with clocks that are right and wrong.

use tokio::time::timeout;

use super::guard::{SUSPECT_HOLD, SUSPECT_ROUNDS};
use super::*;
use crate::memory::InMemoryStore;
use crate::ports::{PurchaseQuery, PurchaseStore, Removed, Selector};
use crate::{Purchase, PurchaseId, UserId, Uuid};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const NOW: i64 = 1_767_225_600_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

#[derive(Debug)]
struct FixedClock(Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

fn purchase(age: i64) -> Purchase {
    let id = PurchaseId::from_uuid(Uuid::from_u128(age.unsigned_abs().into()));
    Purchase::new(
        id,
        "u1".parse().unwrap(),
        "ada".parse().unwrap(),
        "1".parse().unwrap(),
        at(NOW - age),
    )
}

/// A store of a hundred purchases, one per hour until [`NOW`], whose clock was right then.
async fn store() -> (InMemoryStore, Vec<Purchase>) {
    let store = InMemoryStore::new();
    let all: Vec<Purchase> = (0..100).map(|hours| purchase(hours * HOUR)).collect();
    store.insert(all.clone().into()).await.unwrap();
    store.last_seen(Some(at(NOW))).await.unwrap();
    (store, all)
}

/// A new process, which keeps purchases for ten hours.
fn retention(store: &InMemoryStore, now: i64) -> Retention {
    let mut options = RetentionOptions::new(Duration::from_secs(10 * 3_600));
    (options.clock, options.batch_size) = (Arc::new(FixedClock(at(now))), 7);
    Retention::new(Arc::new(store.clone()), options)
}

async fn wait_for(monitor: &RetentionMonitor, count: u64) {
    while monitor.deleted.load(Ordering::Relaxed) < count {
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn old_purchases_are_deleted_periodically() {
    let (store, all) = store().await;
    let retention = retention(&store, NOW);
    let monitor = retention.monitor();
    let task = tokio::spawn(retention.run());
    wait_for(&monitor, 89).await;
    assert_eq!(
        store.summary(&Selector::All).await.unwrap().count,
        11,
        "up to exactly ten hours"
    );
    // A log delivers all of them again.
    store.insert(all.into()).await.unwrap();
    wait_for(&monitor, 178).await;
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 11);
    task.abort();

    // The system clock is far ahead of the stored time, so the deletion begins after six hours.
    let run = run_retention(store.clone(), Duration::ZERO);
    timeout(2 * SUSPECT_HOLD, run).await.unwrap_err();
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 0);
}

/// A store in which a deletion takes a second, and deletes one of many purchases.
#[derive(Debug)]
struct SlowStore;

#[async_trait::async_trait]
impl PurchaseErase for SlowStore {
    async fn erase(&self, _: &UserId, _: usize) -> Result<Removed> {
        Ok(Removed::default())
    }

    async fn mark_erased(&self, _: &[PurchaseId]) -> Result<u64> {
        Ok(0)
    }

    async fn delete_before(&self, _: Timestamp, _: usize, deletion: Deletion) -> Result<Removed> {
        if deletion == Deletion::DryRun {
            return Ok(1.into());
        }
        sleep(Duration::from_secs(1)).await;
        Ok(1.into())
    }

    async fn last_seen(&self, _: Option<Timestamp>) -> Result<Option<Timestamp>> {
        Ok(Some(SystemClock.now()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_round_deletes_during_a_fifth_of_its_time() {
    let options = RetentionOptions::new(Duration::ZERO);
    let retention = Retention::new(Arc::new(SlowStore), options);
    let monitor = retention.monitor();
    let run = timeout(Duration::from_secs(100), retention.run());
    run.await.unwrap_err();
    assert_eq!(monitor.deleted.load(Ordering::Relaxed), 20);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_deletes_nothing_for_six_hours_then_a_tenth_per_round() {
    for (wrong, due) in [
        (NOW + 1_000 * DAY, 100),
        (NOW + DAY + 1, 100),
        (NOW - HOUR - 60_000, 88),
    ] {
        let (store, _) = store().await;
        let mut retention = retention(&store, wrong);
        let (begun, monitor) = (Instant::now(), retention.monitor());
        while begun.elapsed() < SUSPECT_HOLD {
            retention.run_round().await.unwrap();
            assert_eq!(monitor.deleted.load(Ordering::Relaxed), 0);
            assert_eq!(monitor.due.load(Ordering::Relaxed), due);
            assert_eq!(
                store.last_seen(None).await.unwrap(),
                Some(at(NOW)),
                "it is not trusted"
            );
            sleep(Duration::from_secs(60)).await;
        }
        for round in 1..=SUSPECT_ROUNDS {
            assert_eq!(store.last_seen(None).await.unwrap(), Some(at(NOW)));
            retention.run_round().await.unwrap();
            let deleted = monitor.deleted.load(Ordering::Relaxed);
            assert!(
                deleted <= round * due.div_ceil(SUSPECT_ROUNDS),
                "{deleted} after {round} rounds"
            );
        }
        assert_eq!(monitor.deleted.load(Ordering::Relaxed), due);
        assert_eq!(
            store.last_seen(None).await.unwrap(),
            Some(at(wrong)),
            "then it is"
        );
    }
}

#[test]
fn a_long_retention_keeps_everything() {
    assert_eq!(Timestamp::MAX.saturating_sub(Duration::MAX), Timestamp::MIN);
    assert_eq!(
        Timestamp::MAX.saturating_sub(Duration::ZERO),
        Timestamp::MAX
    );
}
