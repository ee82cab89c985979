//! The cache and the lookups of the sink.

use std::time::Duration;

use futures_util::TryStreamExt as _;

use super::*;
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::LogAdmin as _;
use crate::memory::{InMemoryLog, InMemoryStore};

/// The lookups, in a store without purchases, are calls of [`Call::Query`].
fn sink() -> (InMemoryLog, Faults, IdempotentSink<impl PurchaseSink>) {
    let (log, faults) = (InMemoryLog::default(), Faults::new());
    let sink = IdempotentSink::new(log.sink(), faults.query(Arc::new(InMemoryStore::new())));
    (log, faults, sink)
}

/// The number of records of `log`.
async fn records(log: &InMemoryLog) -> usize {
    let batches: Vec<_> = log.scan().await.unwrap().try_collect().await.unwrap();
    batches.iter().map(|batch| batch.records.len()).sum()
}

fn new(price: &str) -> NewPurchase {
    NewPurchase::of("u1").named("ada").priced(price).unwrap()
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
    let beside = sink.inner().publish_new(new("2"), None).await.unwrap();
    sink.remember(&beside.purchase, &beside.receipt);
    for published in [first, beside] {
        let key = published.purchase.id.to_string();
        let price = published.purchase.price.to_string();
        let again = sink.publish_new(keyed(&price, &key), None).await.unwrap();
        assert_eq!((again.replayed, again.receipt), (true, published.receipt));
        let other = sink.publish_new(keyed("3", &key), None).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Conflict);
    }
    assert_eq!(records(&log).await, 2, "nothing is published again");
    assert_eq!(faults.calls(Call::Query), 0, "a new id is not looked up");
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
