//! The cache and the lookups of the sink.

use std::time::Duration;

use futures_util::TryStreamExt as _;

use super::*;
use crate::Outcome;
use crate::conformance::assert_fails;
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::LogExt as _;
use crate::memory::{InMemoryLog, InMemorySink, InMemoryStore};
use crate::ports::{Deletion, PurchaseErase as _, PurchaseStore as _};

/// A sink beside the store that its purchases are ingested into, by hand. The lookups are calls of
/// [`Call::Query`].
struct Fixture {
    log: InMemoryLog,
    store: InMemoryStore,
    faults: Faults,
    sink: Arc<IdempotentSink<InMemorySink>>,
}

impl Fixture {
    fn new() -> Self {
        let log = InMemoryLog::default();
        let store = InMemoryStore::new();
        let faults = Faults::new();
        let query = faults.query(Arc::new(store.clone()));
        Self {
            sink: Arc::new(IdempotentSink::new(log.sink(), query)),
            log,
            store,
            faults,
        }
    }

    async fn buy(&self, new: NewPurchase) -> Result<PublishedPurchase> {
        self.sink.publish_new(new, None).await
    }

    async fn refund(&self, refund: &Purchase) -> Result<PublishedPurchase> {
        self.sink.publish_refund(refund.clone()).await
    }

    async fn insert(&self, purchase: &Purchase) {
        self.store.insert_one(purchase.clone()).await.unwrap();
    }

    /// A purchase of 9 that is stored.
    async fn stored_purchase(&self) -> Purchase {
        let purchase = new("9").into_purchase(Timestamp::MIN, || SystemClock.fresh_id());
        self.insert(&purchase).await;
        purchase
    }

    /// The number of records of the log.
    async fn records(&self) -> usize {
        let batches: Vec<_> = self
            .log
            .scan_all()
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        batches.iter().map(|batch| batch.records.len()).sum()
    }
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

/// A refund of this amount, a minute after its purchase.
fn refund_of(purchase: &Purchase, amount: &str) -> Purchase {
    let time = purchase.timestamp.saturating_add(Duration::from_secs(60));
    purchase
        .refund(Some(amount.parse().unwrap()), time)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failed_lookup_pauses_lookups_for_a_second() {
    let fixture = Fixture::new();
    let faults = &fixture.faults;
    let lookups_of = async |key: &str| {
        let before = faults.calls(Call::Query);
        fixture.buy(keyed("1", key)).await.unwrap();
        faults.calls(Call::Query) - before
    };
    let made_now = SystemClock.fresh_id().to_string();
    assert_eq!(lookups_of(&made_now).await, 0, "it is a first attempt");
    assert_eq!(lookups_of("a").await, 1);
    faults.always(Call::Query, Fault::unavailable());
    assert_eq!((lookups_of("b").await, lookups_of("c").await), (1, 0));
    faults.clear(Call::Query);
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(lookups_of("d").await, 0);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!((lookups_of("e").await, lookups_of("f").await), (1, 1));
}

#[tokio::test]
async fn a_generated_id_that_is_sent_as_a_key_is_a_repetition() {
    let fixture = Fixture::new();
    let first = fixture.buy(new("1")).await.unwrap();
    let mut beside = new("2").into_purchase(SystemClock.now(), || SystemClock.fresh_id());
    let receipt = fixture.sink.publish_generated(&mut beside).await.unwrap();
    for (purchase, receipt) in [(first.purchase, first.receipt), (beside, receipt)] {
        let key = purchase.id.to_string();
        let price = purchase.price.to_string();
        let again = fixture.buy(keyed(&price, &key)).await.unwrap();
        assert_eq!((again.replayed, again.receipt), (true, receipt));
        let other = fixture.buy(keyed("3", &key)).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Conflict);
    }
    assert_eq!(fixture.records().await, 2, "nothing is published again");
    let lookups = fixture.faults.calls(Call::Query);
    assert_eq!(lookups, 4, "a repetition is looked up");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_a_new_one_after_its_purchase_was_deleted() {
    let fixture = Fixture::new();
    let first = fixture.buy(keyed("1", "a")).await.unwrap();
    tokio::time::advance(Duration::from_secs(9)).await;
    let again = fixture.buy(keyed("1", "a")).await.unwrap();
    assert!(again.replayed, "the store may lag for some seconds");
    fixture.insert(&first.purchase).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let again = fixture.buy(keyed("1", "a")).await.unwrap();
    assert!(again.replayed, "it is stored");
    assert_eq!(again.receipt, first.receipt, "with the position in the log");
    let other = fixture.buy(keyed("2", "a")).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);

    let deleted = fixture
        .store
        .delete_before(Timestamp::MAX, 10, Deletion::Delete)
        .await;
    assert_eq!(deleted.unwrap(), 1.into());
    fixture.faults.once(Call::Query, Fault::unavailable());
    let again = fixture.buy(keyed("1", "a")).await.unwrap();
    assert!(again.replayed, "an unavailable store says nothing");
    tokio::time::advance(Duration::from_secs(2)).await;
    let new = fixture.buy(keyed("2", "a")).await.unwrap();
    assert!(
        !new.replayed,
        "its content may differ from that of the deleted one"
    );
    assert_eq!(fixture.records().await, 2);
}

#[tokio::test(start_paused = true)]
async fn purchases_without_a_key_displace_none_with_one() {
    let fixture = Fixture::new();
    fixture.buy(keyed("1", "a")).await.unwrap();
    let many = vec![new("1"); 10_001];
    fixture.sink.publish_new_many(many, None).await;
    assert!(fixture.buy(keyed("1", "a")).await.unwrap().replayed);
}

#[tokio::test(start_paused = true)]
async fn of_two_purchases_with_one_key_the_stored_one_counts() {
    let fixture = Fixture::new();
    let ours = fixture.buy(keyed("1", "a")).await.unwrap();
    // Another process has published it at the same time.
    let theirs = Purchase {
        price: "2".parse().unwrap(),
        ..ours.purchase
    };
    fixture.insert(&theirs).await;
    let again = fixture.buy(keyed("2", "a")).await.unwrap();
    assert_eq!((again.replayed, again.purchase), (true, theirs));
    let other = fixture.buy(keyed("1", "a")).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
}

#[tokio::test(start_paused = true)]
async fn a_refund_is_acknowledged_when_the_store_has_applied_it() {
    let fixture = Fixture::new();
    let purchase = fixture.stored_purchase().await;
    let refund = refund_of(&purchase, "2");
    let sink = Arc::clone(&fixture.sink);
    let published = refund.clone();
    let publishing = tokio::spawn(async move { sink.publish_refund(published).await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(fixture.records().await, 1);
    assert!(!publishing.is_finished(), "the store has not decided");
    fixture.faults.once(Call::Query, Fault::unavailable());
    fixture.insert(&refund).await;
    let applied = publishing.await.unwrap().unwrap();
    assert_eq!(applied.purchase, refund);
    assert!(!applied.replayed && !applied.pending);

    assert!(fixture.refund(&refund).await.unwrap().replayed);
    let other = fixture.refund(&refund_of(&purchase, "3")).await;
    let error = other.unwrap_err();
    assert_fails(&error, ErrorKind::Conflict, Outcome::NotApplied);
    assert_eq!(fixture.records().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_loses_against_another_process_is_a_conflict() {
    let fixture = Fixture::new();
    let purchase = fixture.stored_purchase().await;
    let ours = refund_of(&purchase, "2");
    let theirs = refund_of(&purchase, "3");
    let other_process = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        fixture.insert(&theirs).await;
    };
    let (refunded, ()) = tokio::join!(fixture.refund(&ours), other_process);
    let error = refunded.unwrap_err();
    assert_fails(&error, ErrorKind::Conflict, Outcome::NotApplied);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_while_the_store_cannot_be_asked_for_a_refund() {
    let fixture = Fixture::new();
    let refund = refund_of(&fixture.stored_purchase().await, "2");
    let late = Fault::Delay(Duration::from_secs(60));
    for (fault, kind) in [
        (Fault::unavailable(), ErrorKind::Unavailable),
        (late, ErrorKind::DeadlineExceeded),
    ] {
        fixture.faults.once(Call::Query, fault);
        let error = fixture.refund(&refund).await.unwrap_err();
        assert_fails(&error, kind, Outcome::NotApplied);
    }
    assert_eq!(fixture.records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn refunds_have_one_result_each_within_one_time_limit() {
    let fixture = Fixture::new();
    let purchase = fixture.stored_purchase().await;
    let other = fixture.stored_purchase().await;
    let applied = refund_of(&other, "2");
    fixture.insert(&applied).await;
    let undecided = refund_of(&purchase, "2");
    let refunds = [&applied, &refund_of(&other, "3"), &undecided];
    let batch = refunds.map(|refund| (refund.clone(), IdSource::Caller));

    let begun = tokio::time::Instant::now();
    let results = fixture.sink.publish_once_many(batch.into()).await;
    let [Ok(repeated), Err(conflict), Ok(pending)] = &results[..] else {
        panic!("{results:?}")
    };
    assert!(repeated.replayed && repeated.purchase == applied);
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    assert!(pending.pending);
    assert_eq!(
        (begun.elapsed(), fixture.records().await),
        (REFUND_TIMEOUT, 1)
    );

    let begun = tokio::time::Instant::now();
    let alone = fixture.refund(&undecided).await.unwrap();
    assert_eq!((&alone.purchase, alone.pending), (&undecided, true));
    assert_eq!(
        (begun.elapsed(), fixture.records().await),
        (REFUND_TIMEOUT, 2)
    );

    fixture.faults.always(Call::Query, Fault::unavailable());
    let batch = vec![(undecided, IdSource::Caller)];
    let results = fixture.sink.publish_once_many(batch).await;
    let error = results[0].as_ref().unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(fixture.records().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_leaves_no_refund_of_a_batch_unpublished() {
    let fixture = Fixture::new();
    let mut batch = Vec::new();
    for _ in 0..300 {
        let purchase = fixture.stored_purchase().await;
        batch.push((refund_of(&purchase, "2"), IdSource::Caller));
    }

    let slow = Fault::Delay(Duration::from_secs(1));
    fixture.faults.always(Call::Query, slow);
    let begun = tokio::time::Instant::now();
    let results = fixture.sink.publish_once_many(batch.clone()).await;
    assert!(
        results
            .iter()
            .all(|result| result.as_ref().is_ok_and(|refund| refund.pending))
    );
    assert_eq!(fixture.records().await, 300);
    assert!(begun.elapsed() < REFUND_TIMEOUT + Duration::from_secs(1));

    // A store that does not answer at all is asked before anything is published.
    let silent = Fault::Delay(Duration::from_secs(60));
    fixture.faults.always(Call::Query, silent);
    for result in fixture.sink.publish_once_many(batch).await {
        let error = result.unwrap_err();
        assert_fails(&error, ErrorKind::DeadlineExceeded, Outcome::NotApplied);
    }
    assert_eq!(fixture.records().await, 300);
}

#[tokio::test]
async fn a_refund_that_contradicts_its_purchase_is_not_published() {
    let fixture = Fixture::new();
    let refund = refund_of(&fixture.stored_purchase().await, "2");
    let of_other = Purchase {
        user_id: "other".parse().unwrap(),
        ..refund.clone()
    };
    let above = Purchase {
        price: crate::Price::parse_signed("-9.01").unwrap(),
        ..refund
    };
    for contradicting in [of_other, above] {
        let error = fixture.refund(&contradicting).await.unwrap_err();
        assert_fails(&error, ErrorKind::Invalid, Outcome::NotApplied);
    }
    assert_eq!(fixture.records().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refund_is_looked_up_while_other_lookups_pause() {
    let fixture = Fixture::new();
    let purchase = fixture.stored_purchase().await;
    fixture.insert(&refund_of(&purchase, "2")).await;
    fixture.faults.once(Call::Query, Fault::unavailable());
    fixture.buy(keyed("1", "a")).await.unwrap();
    let other = fixture.refund(&refund_of(&purchase, "3")).await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn purchases_with_ids_are_published_as_they_are() {
    let fixture = Fixture::new();
    let purchase = keyed("1", "a").into_purchase(Timestamp::MIN, || SystemClock.fresh_id());
    let twice = [purchase.clone(), purchase.clone()];
    for receipt in fixture.sink.publish_many(&twice).await {
        assert_eq!(receipt.unwrap().id, purchase.id);
    }
    let receipt = fixture.sink.publish(&purchase).await.unwrap();
    assert_eq!(receipt.id, purchase.id);
    assert!(!fixture.sink.info().is_storing);
    assert_eq!(fixture.records().await, 3);
    assert_eq!(fixture.faults.calls(Call::Query), 0);
}

#[tokio::test]
async fn many_have_results_in_their_order() {
    let fixture = Fixture::new();
    let first = fixture.buy(keyed("1", "a")).await.unwrap();
    let many = vec![keyed("2", "a"), new("3"), keyed("1", "a"), keyed("4", "b")];
    let results = fixture.sink.publish_new_many(many, None).await;
    let [Err(conflict), Ok(generated), Ok(again), Ok(given)] = &results[..] else {
        panic!("{results:?}")
    };
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    assert!(!generated.replayed);
    assert_eq!((again.replayed, &again.purchase), (true, &first.purchase));
    assert_eq!(
        (given.replayed, given.purchase.price.to_string().as_str()),
        (false, "4")
    );
}
