//! The cache and the lookups of the sink.

use std::time::Duration;

use futures_util::TryStreamExt as _;

use super::*;
use crate::Outcome;
use crate::conformance::assert_fails;
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::LogAdmin as _;
use crate::memory::{InMemoryLog, InMemoryStore};
use crate::ports::{IdSource, PurchaseErase as _, PurchaseStore as _};

/// The lookups, in a store without purchases, are calls of [`Call::Query`].
fn sink() -> (InMemoryLog, Faults, IdempotentSink<impl PurchaseSink>) {
    let log = InMemoryLog::default();
    let faults = Faults::new();
    let sink = IdempotentSink::new(log.sink(), faults.query(Arc::new(InMemoryStore::new())));
    (log, faults, sink)
}

/// The number of records of `log`.
async fn records(log: &InMemoryLog) -> usize {
    let batches: Vec<_> = log.scan().await.unwrap().try_collect().await.unwrap();
    batches.iter().map(|batch| batch.records.len()).sum()
}

fn new(price: &str) -> NewPurchase {
    NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price(price)
        .unwrap()
}

fn keyed(price: &str, key: &str) -> NewPurchase {
    new(price).with_key(key).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failed_lookup_pauses_lookups_for_a_second() {
    let (_log, faults, sink) = sink();
    let look_ups_of = async |key: &str| {
        let before = faults.calls(Call::Query);
        sink.publish_new(keyed("1", key), None).await.unwrap();
        faults.calls(Call::Query) - before
    };
    assert_eq!(look_ups_of("a").await, 1);
    faults.always(Call::Query, Fault::unavailable());
    assert_eq!((look_ups_of("b").await, look_ups_of("c").await), (1, 0));
    faults.clear(Call::Query);
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(look_ups_of("d").await, 0);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!((look_ups_of("e").await, look_ups_of("f").await), (1, 1));
}

#[tokio::test]
async fn a_generated_id_that_is_sent_as_a_key_is_a_repetition() {
    let (log, faults, sink) = sink();
    let first = sink.publish_new(new("1"), None).await.unwrap();
    let beside = new("2").into_purchase(SystemClock.now(), || SystemClock.fresh_id());
    let receipt = sink.inner().publish(&beside).await.unwrap();
    sink.remember_receipt(&beside, &receipt);
    let beside = PublishedPurchase::new(beside, receipt);
    for published in [first, beside] {
        let key = published.purchase.id.to_string();
        let price = published.purchase.price.to_string();
        let again = sink.publish_new(keyed(&price, &key), None).await.unwrap();
        assert_eq!((again.replayed, again.receipt), (true, published.receipt));
        let other = sink.publish_new(keyed("3", &key), None).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Conflict);
    }
    assert_eq!(records(&log).await, 2, "nothing is published again");
    assert_eq!(faults.calls(Call::Query), 4, "a repetition is looked up");
}

/// A sink beside the store that its purchases are ingested into, by hand.
fn sink_and_store() -> (
    InMemoryLog,
    InMemoryStore,
    Faults,
    IdempotentSink<impl PurchaseSink>,
) {
    let log = InMemoryLog::default();
    let store = InMemoryStore::new();
    let faults = Faults::new();
    let sink = IdempotentSink::new(log.sink(), faults.query(Arc::new(store.clone())));
    (log, store, faults, sink)
}

#[tokio::test(start_paused = true)]
async fn a_key_is_a_new_one_after_its_purchase_was_deleted() {
    let (log, store, faults, sink) = sink_and_store();
    let first = sink.publish_new(keyed("1", "a"), None).await.unwrap();
    tokio::time::advance(Duration::from_secs(9)).await;
    let again = sink.publish_new(keyed("1", "a"), None).await.unwrap();
    assert!(again.replayed, "the store may lag for some seconds");
    store.insert_one(first.purchase).await.unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    let again = sink.publish_new(keyed("1", "a"), None).await.unwrap();
    assert!(again.replayed, "it is stored");
    let other = sink.publish_new(keyed("2", "a"), None).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);

    store.delete_before(Timestamp::MAX, 10).await.unwrap();
    faults.once(Call::Query, Fault::unavailable());
    let again = sink.publish_new(keyed("1", "a"), None).await.unwrap();
    assert!(again.replayed, "an unavailable store says nothing");
    tokio::time::advance(Duration::from_secs(2)).await;
    let new = sink.publish_new(keyed("2", "a"), None).await.unwrap();
    assert!(
        !new.replayed,
        "its content may differ from that of the deleted one"
    );
    assert_eq!(records(&log).await, 2);
}

#[tokio::test(start_paused = true)]
async fn an_erased_purchase_is_not_answered_from_memory() {
    let (_log, store, _faults, sink) = sink_and_store();
    let first = sink.publish_new(keyed("1", "a"), None).await.unwrap();
    let user = first.purchase.user_id.clone();
    store.insert_one(first.purchase).await.unwrap();
    store.erase(&user, 10).await.unwrap();
    for price in ["1", "2"] {
        let erased = sink.publish_new(keyed(price, "a"), None).await.unwrap_err();
        assert_eq!(erased.kind(), ErrorKind::Erased);
    }
}

/// A stored purchase, and a sink over the store it is in.
async fn bought() -> (
    Purchase,
    InMemoryLog,
    InMemoryStore,
    Faults,
    Arc<IdempotentSink<impl PurchaseSink>>,
) {
    let (log, store, faults, sink) = sink_and_store();
    let purchase = new("9").into_purchase(Timestamp::MIN, || SystemClock.fresh_id());
    store.insert_one(purchase.clone()).await.unwrap();
    (purchase, log, store, faults, Arc::new(sink))
}

/// A refund of this amount, a minute after its purchase.
fn refund_of(purchase: &Purchase, amount: &str) -> Purchase {
    let time = purchase.timestamp.saturating_add(Duration::from_secs(60));
    purchase
        .refund(Some(amount.parse().unwrap()), time)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_refund_is_acknowledged_when_the_store_has_applied_it() {
    let (purchase, log, store, faults, sink) = bought().await;
    let refund = refund_of(&purchase, "2");
    let publishing = tokio::spawn({
        let sink = Arc::clone(&sink);
        let refund = refund.clone();
        async move { sink.publish_refund(refund, REFUND_TIMEOUT).await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(records(&log).await, 1);
    assert!(!publishing.is_finished(), "the store has not decided");
    faults.once(Call::Query, Fault::unavailable());
    store.insert_one(refund.clone()).await.unwrap();
    let applied = publishing.await.unwrap().unwrap();
    assert_eq!(
        (&applied.purchase, applied.replayed, applied.pending),
        (&refund, false, false)
    );

    let again = sink.publish_refund(refund, REFUND_TIMEOUT).await.unwrap();
    assert!(again.replayed);
    let other = refund_of(&purchase, "3");
    let error = sink
        .publish_refund(other, REFUND_TIMEOUT)
        .await
        .unwrap_err();
    assert_fails(&error, ErrorKind::Conflict, Outcome::NotApplied);
    assert_eq!(records(&log).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_loses_against_another_process_is_a_conflict() {
    let (purchase, _log, store, _faults, sink) = bought().await;
    let [ours, theirs] = ["2", "3"].map(|amount| refund_of(&purchase, amount));
    let publishing = tokio::spawn(async move { sink.publish_refund(ours, REFUND_TIMEOUT).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.insert_one(theirs).await.unwrap();
    let error = publishing.await.unwrap().unwrap_err();
    assert_fails(&error, ErrorKind::Conflict, Outcome::NotApplied);
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_the_store_does_not_decide_in_time_is_pending() {
    let (purchase, log, _store, _faults, sink) = bought().await;
    let refund = refund_of(&purchase, "2");
    let begun = tokio::time::Instant::now();
    let pending = sink
        .publish_refund(refund.clone(), REFUND_TIMEOUT)
        .await
        .unwrap();
    assert_eq!((&pending.purchase, pending.pending), (&refund, true));
    assert_eq!((begun.elapsed(), records(&log).await), (REFUND_TIMEOUT, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_while_the_store_cannot_be_asked_for_a_refund() {
    let (purchase, log, _store, faults, sink) = bought().await;
    let refund = || refund_of(&purchase, "2");
    faults.once(Call::Query, Fault::unavailable());
    let error = sink
        .publish_refund(refund(), REFUND_TIMEOUT)
        .await
        .unwrap_err();
    assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
    faults.once(Call::Query, Fault::Delay(Duration::from_secs(60)));
    let error = sink
        .publish_refund(refund(), REFUND_TIMEOUT)
        .await
        .unwrap_err();
    assert_fails(&error, ErrorKind::DeadlineExceeded, Outcome::NotApplied);
    assert_eq!(records(&log).await, 0);
}

#[tokio::test(start_paused = true)]
async fn refunds_of_a_batch_have_one_result_each_within_one_time_limit() {
    let (purchase, log, store, faults, sink) = bought().await;
    let other = new("9").into_purchase(Timestamp::MIN, || SystemClock.fresh_id());
    store.insert_one(other.clone()).await.unwrap();
    let applied = refund_of(&other, "2");
    store.insert_one(applied.clone()).await.unwrap();
    let refunds = [
        applied.clone(),
        refund_of(&other, "3"),
        refund_of(&purchase, "2"),
    ];
    let batch = refunds.map(|refund| (refund, IdSource::Given)).into();
    let begun = tokio::time::Instant::now();
    let results = sink.publish_once_many(batch).await;
    let [Ok(repeated), Err(conflict), Ok(pending)] = &results[..] else {
        panic!("{results:?}")
    };
    assert!(repeated.replayed && repeated.purchase == applied);
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    assert!(pending.pending);
    assert_eq!((begun.elapsed(), records(&log).await), (REFUND_TIMEOUT, 1));

    faults.always(Call::Query, Fault::unavailable());
    let undecided = vec![(refund_of(&purchase, "2"), IdSource::Given)];
    let results = sink.publish_once_many(undecided).await;
    let error = results[0].as_ref().unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(records(&log).await, 1);
}

#[tokio::test]
async fn a_refund_that_contradicts_its_purchase_is_not_published() {
    let (purchase, log, _store, _faults, sink) = bought().await;
    let refund = refund_of(&purchase, "2");
    let of_other = Purchase {
        user_id: "other".parse().unwrap(),
        ..refund.clone()
    };
    let above = Purchase {
        price: crate::Price::parse_signed("-9.01").unwrap(),
        ..refund
    };
    for contradicting in [of_other, above] {
        let error = sink
            .publish_refund(contradicting, REFUND_TIMEOUT)
            .await
            .unwrap_err();
        assert_fails(&error, ErrorKind::Invalid, Outcome::NotApplied);
    }
    assert_eq!(records(&log).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refund_is_looked_up_while_other_lookups_pause() {
    let (purchase, _log, store, faults, sink) = bought().await;
    store.insert_one(refund_of(&purchase, "2")).await.unwrap();
    faults.once(Call::Query, Fault::unavailable());
    sink.publish_new(keyed("1", "a"), None).await.unwrap();
    let other = refund_of(&purchase, "3");
    let error = sink
        .publish_refund(other, REFUND_TIMEOUT)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn purchases_with_ids_are_published_as_they_are() {
    let (log, faults, sink) = sink();
    let purchase = keyed("1", "a").into_purchase(Timestamp::MIN, || SystemClock.fresh_id());
    let receipts = sink
        .publish_many(&[purchase.clone(), purchase.clone()])
        .await;
    let ids: Vec<_> = receipts
        .into_iter()
        .map(|receipt| receipt.unwrap().id)
        .collect();
    assert_eq!(ids, [purchase.id, purchase.id]);
    assert_eq!(sink.publish(&purchase).await.unwrap().id, purchase.id);
    assert_eq!((records(&log).await, faults.calls(Call::Query)), (3, 0));
}

#[tokio::test]
async fn many_have_results_in_their_order() {
    let (_log, _faults, sink) = sink();
    let first = sink.publish_new(keyed("1", "a"), None).await.unwrap();
    let many = vec![keyed("2", "a"), new("3"), keyed("1", "a"), keyed("4", "b")];
    let results = sink.publish_new_many(many, None).await;
    let [Err(conflict), Ok(generated), Ok(again), Ok(given)] = &results[..] else {
        panic!("{results:?}")
    };
    assert_eq!(
        (conflict.kind(), generated.replayed),
        (ErrorKind::Conflict, false)
    );
    assert_eq!((again.replayed, &again.purchase), (true, &first.purchase));
    assert_eq!(
        (given.replayed, given.purchase.price.to_string().as_str()),
        (false, "4")
    );
}
