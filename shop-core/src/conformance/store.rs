//! The tests of every [`PurchaseStore`].

use std::sync::Arc;
use std::task::Poll;

use futures_util::future::join_all;

use super::StoreFixture;
use super::fixture::{declared, poll_once, soon, store_and_query};
use super::sample::{at, id, price, purchase, purchases};
use crate::ports::{InsertOutcome, PageRequest, PurchaseQuery, PurchaseStore, Selector, Summary};
use crate::{Details, Price, Purchase, PurchaseId, RequestContext, Timestamp, Total};

async fn insert(store: &dyn PurchaseStore, batch: &[Purchase]) -> Vec<InsertOutcome> {
    soon("insert", store.insert(batch.into()))
        .await
        .expect("insert")
}

async fn listed(query: &dyn PurchaseQuery, selector: &Selector) -> Vec<Purchase> {
    soon("page", query.page(selector, &PageRequest::default()))
        .await
        .expect("page")
        .items
}

async fn get(query: &dyn PurchaseQuery, id: &PurchaseId) -> Option<Purchase> {
    soon("get", query.get(id)).await.expect("get")
}

/// One character per outcome.
pub(super) fn outcome_codes(outcomes: &[InsertOutcome]) -> String {
    let code = |outcome: &InsertOutcome| match outcome {
        InsertOutcome::Inserted => 'i',
        InsertOutcome::Duplicate => 'd',
        InsertOutcome::Erased => 'e',
        InsertOutcome::Conflict => 'c',
        InsertOutcome::Rejected(_) => 'r',
        InsertOutcome::Unknown(_) => 'u',
        InsertOutcome::Waiting => 'w',
    };
    outcomes.iter().map(code).collect()
}

/// `purchase` with the same id and another price.
pub(super) fn contradicting(purchase: &Purchase) -> Purchase {
    let other = if purchase.price == Price::ZERO {
        price("1")
    } else {
        Price::ZERO
    };
    Purchase {
        price: other,
        ..purchase.clone()
    }
}

/// One outcome per purchase, in the order of the batch.
pub async fn outcomes_match_their_batch(fixture: &dyn StoreFixture) {
    let store = fixture.store().await;
    let known = purchases(0..3);
    assert_eq!(outcome_codes(&insert(&*store, &known).await), "iii");
    let mixed = [
        purchase(10),
        known[2].clone(),
        contradicting(&known[0]),
        purchase(11),
        contradicting(&known[1]),
        known[1].clone(),
        purchase(12),
        known[0].clone(),
    ];
    assert_eq!(outcome_codes(&insert(&*store, &mixed).await), "idcicdid");
}

/// A purchase with a new id is stored, and visible as soon as its insert returns.
pub async fn a_new_purchase_is_stored(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    for purchase in purchases(0..5) {
        assert_eq!(get(&*query, &purchase.id).await, None);
        assert_eq!(
            outcome_codes(&insert(&*store, std::slice::from_ref(&purchase)).await),
            "i"
        );
        assert_eq!(get(&*query, &purchase.id).await.as_ref(), Some(&purchase));
    }
    store.check().await.expect("check of the store");
    query.check_reads().await.expect("check of the query");
}

/// Text, price with its scale, and time are stored unchanged; the request's context is not stored.
pub async fn stored_purchases_are_unchanged(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let long = "ä".repeat(128);
    let texts = [
        "u1",
        " u1 ",
        "joe b",
        "ünï—😀",
        "<img src=x>",
        "..%2Fhealth",
        "$gt",
        "a.b",
        "'; --",
        &long,
    ];
    let prices = [
        "0",
        "0.00",
        "0.00000001",
        "1195.30",
        "29.99",
        "999999999999999.99999999",
        "1000000000000000",
    ];
    let times = [Timestamp::MIN, at(-1), at(1), Timestamp::MAX];
    let mut given = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let mut purchase = purchase(number as u64);
        purchase.user_id = text.parse().unwrap();
        purchase.user_name = text.parse().unwrap();
        purchase.price = price(prices[number % prices.len()]);
        purchase.timestamp = times[number % times.len()];
        given.push(purchase);
    }
    if declared(fixture.capabilities().object_ids, "ids of old documents") {
        given.push(Purchase {
            id: PurchaseId::from_object_id([7; 12]),
            ..purchase(99)
        });
    }
    let context = RequestContext::new(Some("r-1".into()), Some("00-a-b-01".into()));
    let sent: Vec<_> = given
        .iter()
        .map(|purchase| Purchase {
            context: Some(Box::new(context.clone())),
            ..purchase.clone()
        })
        .collect();
    insert(&*store, &sent).await;
    for purchase in given {
        let kept = get(&*query, &purchase.id).await.expect("stored");
        assert_eq!(
            kept.price.to_string(),
            purchase.price.to_string(),
            "the scale is kept"
        );
        assert_eq!(kept, purchase);
    }
}

/// The summary of all stored purchases: of all users, or of the sample users where a backend denies
/// that.
async fn everything(fixture: &dyn StoreFixture, query: &dyn PurchaseQuery) -> Summary {
    let of_samples = (0..5)
        .map(|number| format!("user-{number}"))
        .chain(["other".to_owned()]);
    let selectors: Vec<_> = match fixture.capabilities().lists_everybody {
        true => vec![Selector::All],
        false => of_samples
            .map(|user| Selector::User(user.parse().unwrap()))
            .collect(),
    };
    let mut all = Summary::default();
    for selector in selectors {
        let summary = soon("summary", query.summary(&selector))
            .await
            .expect("summary");
        all.count += summary.count;
        all.total_spent = all.total_spent.checked_add(summary.total_spent).unwrap();
    }
    all
}

/// The same id with the same content is a duplicate: the first document and its time stay.
pub async fn a_duplicate_changes_nothing(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let first = purchase(120);
    insert(&*store, std::slice::from_ref(&first)).await;
    let later = Purchase {
        timestamp: at(9_999),
        ..first.clone()
    };
    let same_value = Purchase {
        price: price("1.2"),
        ..first.clone()
    };
    // Each separately, so that one change cannot hide another, and all in one batch.
    let batches = [
        vec![later.clone()],
        vec![same_value.clone()],
        vec![first.clone(), same_value, later],
    ];
    for batch in batches {
        assert_eq!(
            outcome_codes(&insert(&*store, &batch).await),
            "d".repeat(batch.len())
        );
        let kept = get(&*query, &first.id).await.expect("stored");
        assert_eq!(
            kept.price.to_string(),
            first.price.to_string(),
            "the scale stays"
        );
        assert_eq!(kept, first, "the first document and its time stay");
    }
    assert_eq!(everything(fixture, &*query).await.count, 1);
}

/// The same id with other content is a conflict: the first document stays.
pub async fn a_conflict_changes_nothing(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let first = purchase(1);
    insert(&*store, std::slice::from_ref(&first)).await;
    let others = [
        contradicting(&first),
        Purchase {
            user_id: "other".parse().unwrap(),
            ..first.clone()
        },
        Purchase {
            user_name: "other".parse().unwrap(),
            ..first.clone()
        },
        first.clone().with_details(Details::NONE),
        first.clone().with_details(details(
            r#"{"item":"other","quantity":2,"reference":"order-1"}"#,
        )),
    ];
    assert_eq!(outcome_codes(&insert(&*store, &others).await), "ccccc");
    assert_eq!(get(&*query, &first.id).await.as_ref(), Some(&first));
    let summary = everything(fixture, &*query).await;
    assert_eq!(
        (summary.count, summary.total_spent),
        (1, Total::checked_sum([first.price]).unwrap())
    );
}

/// Members of details that this version does not know are stored: they are content.
pub async fn details_of_a_later_version_are_kept(fixture: &dyn StoreFixture) {
    let store = fixture.store().await;
    let of_later = |json| purchase(2).with_details(details(json));
    let first = of_later(r#"{"reference":"order-7","gift":{"to":["eva",null]},"tax":"1.10"}"#);
    assert_eq!(
        outcome_codes(&insert(&*store, std::slice::from_ref(&first)).await),
        "i"
    );
    let other = of_later(r#"{"reference":"order-7","gift":{"to":["eva"]},"tax":"1.10"}"#);
    let batch = [
        first,
        other,
        of_later(r#"{"reference":"order-7"}"#),
        purchase(2),
    ];
    assert_eq!(outcome_codes(&insert(&*store, &batch).await), "dccc");
}

fn details(json: &str) -> Details {
    Details::from_json(json.as_bytes(), &[]).unwrap()
}

/// Duplicates and conflicts are detected within one batch too.
pub async fn a_batch_may_repeat_itself(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let one = purchase(1);
    let two = purchase(2);
    let batch = [
        one.clone(),
        one.clone(),
        two.clone(),
        contradicting(&one),
        one.clone(),
        contradicting(&two),
    ];
    assert_eq!(outcome_codes(&insert(&*store, &batch).await), "idicdc");
    assert_eq!(get(&*query, &one.id).await, Some(one));
    assert_eq!(everything(fixture, &*query).await.count, 2);
}

/// Of concurrent calls with the same purchases, one inserts each purchase.
pub async fn racing_inserts_store_once(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let contents = [
        purchases(0..50),
        purchases(0..50).iter().map(contradicting).collect(),
    ];
    let calls = (0..8).map(|racer| {
        let store = Arc::clone(&store);
        let mut batch = contents[racer % 2].clone();
        // In different orders.
        batch.rotate_left(racer * 6);
        tokio::spawn(async move { (store.insert(batch.as_slice().into()).await, batch) })
    });
    let mut inserted = 0;
    for call in soon("racing inserts", join_all(calls)).await {
        let (outcomes, batch) = call.unwrap();
        for (purchase, outcome) in batch
            .iter()
            .zip(outcome_codes(&outcomes.expect("insert")).chars())
        {
            let first = get(&*query, &purchase.id).await.expect("a purchase");
            let expected = if first.same_content(purchase) {
                "id"
            } else {
                "c"
            };
            assert!(
                expected.contains(outcome),
                "{outcome}, of {expected}: {purchase:?}"
            );
            inserted += usize::from(outcome == 'i');
        }
    }
    assert_eq!(inserted, 50);
    assert_eq!(everything(fixture, &*query).await.count, 50);
}

/// A conflict within a batch does not block the other purchases.
pub async fn a_conflict_does_not_block_the_batch(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    insert(&*store, &[purchase(5)]).await;
    let mut batch = purchases(0..10);
    batch[5] = contradicting(&batch[5]);
    assert_eq!(outcome_codes(&insert(&*store, &batch).await), "iiiiiciiii");
    for number in 0..10 {
        assert_eq!(get(&*query, &id(number)).await, Some(purchase(number)));
    }
}

/// An empty batch has no outcomes.
pub async fn an_empty_batch_is_fine(fixture: &dyn StoreFixture) {
    let store = fixture.store().await;
    assert_eq!(outcome_codes(&insert(&*store, &[]).await), "");
}

/// After a dropped insert, each purchase is stored or not, and inserting again completes the batch.
pub async fn a_dropped_insert_leaves_the_store_consistent(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let batch = purchases(0..100);
    for _ in 0..5 {
        let mut call = store.insert(batch.as_slice().into());
        if let Poll::Ready(outcomes) = poll_once(&mut call).await {
            outcomes.expect("insert");
        }
    }
    let outcomes = outcome_codes(&insert(&*store, &batch).await);
    assert!(
        outcomes.chars().all(|outcome| matches!(outcome, 'i' | 'd')),
        "{outcomes}"
    );
    for purchase in batch {
        assert_eq!(get(&*query, &purchase.id).await, Some(purchase));
    }
    assert_eq!(everything(fixture, &*query).await.count, 100);
}

/// The next process that opens a store finds what was stored, in listings and sums too.
pub async fn a_reopened_store_has_its_purchases(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let stored = purchases(0..60);
    assert_eq!(
        outcome_codes(&insert(&*store, &stored).await),
        "i".repeat(60)
    );
    let before = everything(fixture, &*query).await;
    let users = stored[..5].iter();
    let selectors: Vec<_> = users
        .map(|purchase| Selector::User(purchase.user_id.clone()))
        .collect();
    let mut pages = Vec::new();
    for selector in &selectors {
        pages.push(listed(&*query, selector).await);
    }
    let reopened = soon("reopen", fixture.reopen()).await;
    declared(reopened.is_some(), "opening the same store again");
    let Some(reopened) = reopened else { return };
    let store = reopened.store().await;
    let query = reopened.query().await;
    assert_eq!(everything(fixture, &*query).await, before);
    for (selector, page) in selectors.iter().zip(pages) {
        assert_eq!(page.len(), 12, "{selector:?}");
        assert_eq!(listed(&*query, selector).await, page, "{selector:?}");
    }
    assert_eq!(
        outcome_codes(&insert(&*store, &stored).await),
        "d".repeat(60)
    );
}
