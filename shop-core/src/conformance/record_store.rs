//! The tests of every [`RecordStore`].

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::StoreFixture;
use super::fixture::{declared, poll_once, soon};
use super::sample::purchase;
use super::store::{contradicting, outcome_codes};
use crate::Purchase;
use crate::ports::RecordStore;
use crate::record::Record;

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
async fn apply<R: Record>(store: &dyn RecordStore<R>, batch: &[R]) -> String {
    outcome_codes(
        &soon("apply", store.apply(batch.into()))
            .await
            .expect("apply"),
    )
}

/// One outcome per record, in the order of the batch. The checks succeed.
pub async fn outcomes_match_their_batch(fixture: &impl RecordStoreFixture) {
    let store = fixture.store().await;
    soon("check", store.check()).await.expect("check");
    assert_eq!(apply(&*store, &records(fixture, 1..4)).await, "iii");
    let mixed = [10, 3, 11, 1, 2, 12].map(|number| fixture.record(number));
    assert_eq!(apply(&*store, &mixed).await, "ididdi");
}

/// Applying a record again is a duplicate.
pub async fn a_record_is_applied_once(fixture: &impl RecordStoreFixture) {
    let store = fixture.store().await;
    let batch = records(fixture, 1..6);
    assert_eq!(apply(&*store, &batch).await, "iiiii");
    for _ in 0..3 {
        assert_eq!(apply(&*store, &batch).await, "ddddd");
    }
}

/// A record repeated within one batch is a duplicate.
pub async fn a_batch_may_repeat_itself(fixture: &impl RecordStoreFixture) {
    let store = fixture.store().await;
    let batch = [1, 1, 2, 1, 2].map(|number| fixture.record(number));
    assert_eq!(apply(&*store, &batch).await, "ididd");
}

/// Of concurrent calls, one applies each record.
pub async fn racing_batches_apply_once(fixture: &impl RecordStoreFixture) {
    let store = fixture.store().await;
    let batch = records(fixture, 1..51);
    let calls = (0..8).map(|_| {
        let store = Arc::clone(&store);
        let batch = batch.clone();
        tokio::spawn(async move { apply(&*store, &batch).await })
    });
    let outcomes: String = soon("racing calls", join_all(calls))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(
        outcomes.chars().all(|outcome| matches!(outcome, 'i' | 'd')),
        "{outcomes}"
    );
    assert_eq!(outcomes.matches('i').count(), 50);
}

/// Of two contents with one id the first stays, and the other records of the batch are applied.
pub async fn a_conflict_does_not_block_the_batch(fixture: &impl RecordStoreFixture) {
    let Some(other) = fixture.contradicting(2) else {
        declared(false, "content beside the id of a record");
        return;
    };
    let store = fixture.store().await;
    assert_eq!(apply(&*store, &[fixture.record(2)]).await, "i");
    assert_eq!(
        apply(&*store, &[fixture.record(1), other, fixture.record(3)]).await,
        "ici"
    );
    assert_eq!(
        apply(&*store, &[fixture.record(2)]).await,
        "d",
        "the first content stays"
    );
}

/// An empty batch has no outcomes.
pub async fn an_empty_batch_is_fine(fixture: &impl RecordStoreFixture) {
    assert_eq!(apply(&*fixture.store().await, &[]).await, "");
}

/// After a dropped apply, each record is applied or not, and applying again completes the batch.
pub async fn a_dropped_apply_may_be_repeated(fixture: &impl RecordStoreFixture) {
    let store = fixture.store().await;
    let batch = records(fixture, 1..101);
    for _ in 0..5 {
        let mut call = store.apply(batch.as_slice().into());
        if let Poll::Ready(outcomes) = poll_once(&mut call).await {
            outcomes.expect("apply");
        }
    }
    let outcomes = apply(&*store, &batch).await;
    assert!(
        outcomes.chars().all(|outcome| matches!(outcome, 'i' | 'd')),
        "{outcomes}"
    );
    assert_eq!(apply(&*store, &batch).await, "d".repeat(100));
}
