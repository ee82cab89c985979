//! The tests of a sink's batches.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Poll;

use super::LogFixture;
use super::fixture::{poll_once, sink_and_source, soon};
use super::log_calls::{GROUP, expected, ids, read};
use super::sample::{purchase, purchases};
use crate::ports::{PurchaseSink, Receipt};
use crate::record::decode;
use crate::{Purchase, PurchaseId, RequestContext, Result};

async fn publish_many(sink: &dyn PurchaseSink, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
    let results = soon("publish_many", sink.publish_many(purchases)).await;
    assert_eq!(results.len(), purchases.len());
    results
}

/// The id of each receipt. All purchases must have been published.
async fn published(sink: &dyn PurchaseSink, purchases: &[Purchase]) -> Vec<PurchaseId> {
    let results = publish_many(sink, purchases).await;
    results
        .into_iter()
        .map(|receipt| receipt.expect("publish_many").id)
        .collect()
}

fn ids_of(purchases: &[Purchase]) -> Vec<PurchaseId> {
    purchases.iter().map(|purchase| purchase.id).collect()
}

/// `publish_many` returns one result per purchase, in their order, and each purchase is delivered.
pub async fn a_batch_has_one_result_per_purchase(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    assert!(publish_many(&*sink, &[]).await.is_empty());
    let batch = purchases(0..250);
    let receipts = publish_many(&*sink, &batch).await;
    let mut places = BTreeSet::new();
    for (receipt, purchase) in receipts.into_iter().zip(&batch) {
        let receipt = receipt.expect("publish_many");
        assert_eq!(receipt.id, purchase.id);
        if let Some(position) = receipt.position {
            assert!(
                places.insert(position),
                "no two records have the same position"
            );
        }
    }
    assert_eq!(ids(&read(&*source, 250).await), expected(0..250));
}

/// A purchase that is too large for some logs does not affect the others of its batch.
pub async fn a_failed_purchase_does_not_fail_its_batch(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    let mut batch = purchases(0..20);
    let huge = "x".repeat(9 << 20);
    batch[7].context = Some(Box::new(RequestContext::new(Some(huge), None)));
    let receipts = publish_many(&*sink, &batch).await;
    let mut delivered = BTreeSet::new();
    for (receipt, purchase) in receipts.into_iter().zip(&batch) {
        match receipt {
            Ok(receipt) => {
                assert_eq!(receipt.id, purchase.id);
                delivered.insert(purchase.id);
            }
            Err(error) => assert_eq!(purchase.id, batch[7].id, "{error}"),
        }
    }
    assert!(delivered.is_subset(&ids(&read(&*source, delivered.len()).await)));
}

/// Purchases of one user are delivered in the order of their batch.
pub async fn a_batch_keeps_the_order_of_each_user(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    let first = purchases(0..100);
    let second = purchases(100..200);
    assert_eq!(published(&*sink, &first).await, ids_of(&first));
    assert_eq!(published(&*sink, &second).await, ids_of(&second));
    let mut last = BTreeMap::new();
    for batch in read(&*source, 200).await {
        for record in &batch.records {
            let purchase = decode(record, &batch.partition).expect("a purchase");
            let before = last.insert(purchase.user_id, purchase.id);
            assert!(
                before.is_none_or(|before| before < purchase.id),
                "{before:?} before {:?}",
                purchase.id
            );
        }
    }
}

/// A batch may contain a purchase twice: both have receipts, with the same id.
pub async fn a_batch_may_repeat_a_purchase(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    let batch = [purchase(1), purchase(2), purchase(1), purchase(1)];
    assert_eq!(published(&*sink, &batch).await, ids_of(&batch));
    assert_eq!(
        published(&*sink, &batch).await,
        ids_of(&batch),
        "as a repeated batch"
    );
    let mut seen = BTreeSet::new();
    while seen != expected(1..3) {
        seen.extend(ids(&read(&*source, 1).await));
    }
}

/// Each purchase of a batch whose future was polled once and then dropped is published or not, and
/// the batch can be published again.
pub async fn a_dropped_batch_can_be_published_again(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    let batch = purchases(0..30);
    let mut call = sink.publish_many(&batch);
    if let Poll::Ready(results) = poll_once(&mut call).await {
        assert!(results.into_iter().all(|result| result.is_ok()));
    }
    drop(call);
    assert_eq!(published(&*sink, &batch).await, ids_of(&batch));
    let mut seen = BTreeSet::new();
    while seen != expected(0..30) {
        seen.extend(ids(&read(&*source, 1).await));
    }
}
