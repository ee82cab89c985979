//! The tests of every [`RecordStore`].

use std::fmt::Debug;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::prelude::*;
use crate::ports::RecordStore;

/// A fresh store of records.
#[async_trait]
pub trait RecordStoreFixture: Debug + Send + Sync {
    /// The record type.
    type Record: Record;

    /// The store.
    async fn store(&self) -> Arc<dyn RecordStore<Self::Record>>;

    /// Record `number`, from 1. The same number gives the same record.
    fn record(&self, number: i64) -> Self::Record;

    /// A record with the id of record `number` and other content. `None` where the store keeps ids
    /// only.
    fn contradicting(&self, number: i64) -> Option<Self::Record>;
}

/// A store of purchases as a store of records.
#[derive(Debug)]
pub struct PurchaseRecords<F>(pub F);

#[async_trait]
impl<F: StoreFixture> RecordStoreFixture for PurchaseRecords<F> {
    type Record = Purchase;

    async fn store(&self) -> Arc<dyn RecordStore<Purchase>> {
        self.0.store().await
    }

    fn record(&self, number: i64) -> Purchase {
        purchase(number.unsigned_abs())
    }

    fn contradicting(&self, number: i64) -> Option<Purchase> {
        Some(contradicting(&self.record(number)))
    }
}

fn records<F: RecordStoreFixture>(fixture: &F, numbers: Range<i64>) -> Vec<F::Record> {
    numbers.map(|number| fixture.record(number)).collect()
}

/// Applies `batch`. Returns one character per outcome.
#[track_caller]
fn apply<R: Record>(store: &dyn RecordStore<R>, batch: &[R]) -> impl Future<Output = String> {
    succeed(async move { Ok(outcome_codes(&store.apply(batch.into()).await?)) })
}

/// One outcome per record, in the order of the batch. A record that is applied again is a duplicate,
/// in another batch or in the same one. An empty batch has no outcomes. The checks succeed.
pub async fn outcomes_match_their_batch(fixture: &impl RecordStoreFixture) {
    let store = fixture.store().await;
    succeed(store.check()).await;
    assert_eq!(apply(&*store, &[]).await, "");
    assert_eq!(apply(&*store, &records(fixture, 1..4)).await, "iii");
    for _ in 0..2 {
        assert_eq!(apply(&*store, &records(fixture, 1..4)).await, "ddd");
    }
    let mixed = [10, 3, 11, 11, 1, 2, 12, 10].map(|number| fixture.record(number));
    assert_eq!(apply(&*store, &mixed).await, "ididddid");
}

/// Of two contents with one id the first stays, in another batch or in the same one, and the other
/// records of the batch are applied.
pub async fn a_conflict_does_not_block_the_batch(fixture: &impl RecordStoreFixture) {
    let store = fixture.store().await;
    let [Some(other), Some(another)] = [1, 2].map(|number| fixture.contradicting(number)) else {
        declared(false, "content beside the id of a record");
        return;
    };
    let [one, two, three] = [1, 2, 3].map(|number| fixture.record(number));
    assert_eq!(apply(&*store, std::slice::from_ref(&one)).await, "i");
    let mixed = [
        other.clone(),
        two.clone(),
        another.clone(),
        one.clone(),
        three,
        two.clone(),
    ];
    assert_eq!(apply(&*store, &mixed).await, "cicdid");
    assert_eq!(
        apply(&*store, &[one, other, two, another]).await,
        "dcdc",
        "the first contents stay"
    );
}

/// Of concurrent calls, one applies each record. Of two contents with one id, all calls take the
/// same one for the first.
pub async fn racing_batches_apply_once(fixture: &impl RecordStoreFixture) {
    let store = fixture.store().await;
    let batch = records(fixture, 1..51);
    let contradicting: Vec<_> = (1..51)
        .filter_map(|number| fixture.contradicting(number))
        .collect();
    let contents = if contradicting.is_empty() {
        [batch.clone(), batch]
    } else {
        [batch, contradicting]
    };
    let calls = (0..8).map(|racer| {
        let store = Arc::clone(&store);
        let mut batch = contents[racer % 2].clone();
        // In different orders.
        batch.rotate_left(racer * 6);
        tokio::spawn(async move {
            let mut outcomes = apply(&*store, &batch).await.into_bytes();
            outcomes.rotate_right(racer * 6);
            outcomes
        })
    });
    let racers = soon("racing calls", join_all(calls)).await;
    let mut stored = Vec::new();
    for content in &contents {
        stored.push(apply(&*store, content).await.into_bytes());
    }
    let mut applied = 0;
    for (racer, outcomes) in racers.into_iter().enumerate() {
        for (outcome, later) in outcomes.unwrap().into_iter().zip(&stored[racer % 2]) {
            applied += usize::from(outcome == b'i');
            let expected: &[u8] = if *later == b'd' { b"id" } else { b"c" };
            assert!(
                expected.contains(&outcome),
                "{outcome} of racer {racer}, but later {later}"
            );
        }
    }
    assert_eq!(applied, 50);
}

/// After a dropped apply, each record is applied or not, and applying again completes the batch.
pub async fn a_dropped_apply_may_be_repeated(fixture: &impl RecordStoreFixture) {
    let store = fixture.store().await;
    let batch = records(fixture, 1..101);
    for _ in 0..5 {
        if let Some(outcomes) = store.apply(batch.as_slice().into()).now_or_never() {
            outcomes.expect("apply");
        }
    }
    let outcomes = apply(&*store, &batch).await;
    assert!(
        outcomes.chars().all(|outcome| "id".contains(outcome)),
        "{outcomes}"
    );
    assert_eq!(apply(&*store, &batch).await, "d".repeat(100));
}
