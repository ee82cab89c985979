//! The tests of every [`PurchaseStore`]. Those of its batches are in
//! [`record_store`](super::record_store).

use super::prelude::*;
use crate::{Details, RequestContext};

/// A purchase with a new id is stored, and visible as soon as its insert returns. Text, price with
/// its scale, and time are unchanged; the request's context is not stored.
pub async fn stored_purchases_are_unchanged(fixture: &dyn StoreFixture) {
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
        let id = PurchaseId::from_object_id([7; 12]);
        given.push(Purchase { id, ..purchase(99) });
    }

    let context = RequestContext::new(Some("r-1".into()), Some("00-a-b-01".into()));
    let mut sent = given.clone();
    for purchase in &mut sent {
        purchase.context = Some(Box::new(context.clone()));
    }
    for purchase in &given {
        assert_eq!(get(fixture, &purchase.id).await, None);
    }
    assert_eq!(insert(fixture, &sent).await, "i".repeat(given.len()));
    for purchase in given {
        let stored = get(fixture, &purchase.id).await.expect("stored");
        assert_eq!(
            stored.price.to_string(),
            purchase.price.to_string(),
            "the scale is kept"
        );
        assert_eq!(stored, purchase);
    }
    succeed(fixture.store().await.check()).await;
    succeed(fixture.query().await.check_reads()).await;
}

/// The same id with the same content is a duplicate: the first document and its time stay.
pub async fn a_duplicate_changes_nothing(fixture: &dyn StoreFixture) {
    let first = purchase(120);
    insert_one(fixture, &first).await;
    let later = Purchase {
        timestamp: at(9_999),
        ..first.clone()
    };
    let same_value = Purchase {
        price: price("1.2"),
        ..first.clone()
    };
    // Each separately, so that one change cannot hide another, and all in one batch.
    for batch in [
        vec![later.clone()],
        vec![same_value.clone()],
        vec![first.clone(), same_value, later],
    ] {
        assert_eq!(insert(fixture, &batch).await, "d".repeat(batch.len()));
        let stored = get(fixture, &first.id).await.expect("stored");
        assert_eq!(stored.price.to_string(), "1.20", "the scale stays");
        assert_eq!(stored, first, "the first document and its time stay");
    }
    let buyer = Selector::User(first.user_id.clone());
    assert_listed(&fixture.query().await, &buyer, &[first]).await;
}

/// The same id with other content is a conflict: the first document stays. Content is also what a
/// later version writes into the details.
pub async fn a_conflict_changes_nothing(fixture: &dyn StoreFixture) {
    let details = |json: &str| Details::from_json(json.as_bytes(), &[]).unwrap();
    let first = purchase(1);
    let other_item = details(r#"{"item":"other","quantity":2,"reference":"order-1"}"#);
    let of_later = |json: &str| purchase(2).with_details(details(json));
    let gift = of_later(r#"{"reference":"order-7","gift":{"to":["eva",null]},"tax":"1.10"}"#);
    assert_eq!(insert(fixture, &[first.clone(), gift.clone()]).await, "ii");
    let again = [
        contradicting(&first),
        Purchase {
            user_id: user("other"),
            ..first.clone()
        },
        Purchase {
            user_name: "other".parse().unwrap(),
            ..first.clone()
        },
        first.clone().with_details(Details::NONE),
        first.clone().with_details(other_item),
        first.clone(),
        of_later(r#"{"reference":"order-7","gift":{"to":["eva"]},"tax":"1.10"}"#),
        of_later(r#"{"reference":"order-7"}"#),
        purchase(2),
        gift,
    ];
    assert_eq!(insert(fixture, &again).await, "cccccdcccd");
    assert_eq!(get(fixture, &first.id).await.as_ref(), Some(&first));
    let query = fixture.query().await;
    assert_listed(&query, &of_user("other"), &[]).await;
    assert_listed(&query, &of_user("user-1"), &[first]).await;
}

/// The next process that opens a store finds what was stored, in listings and sums too.
pub async fn a_reopened_store_has_its_purchases(fixture: &dyn StoreFixture) {
    let stored = purchases(0..60);
    assert_eq!(insert(fixture, &stored).await, "i".repeat(60));
    let reopened = soon("reopen", fixture.reopen()).await;
    declared(reopened.is_some(), "opening the same store again");
    let Some(reopened) = reopened else { return };
    let query = reopened.query().await;
    for buyer in &stored[..5] {
        let selector = Selector::User(buyer.user_id.clone());
        assert_listed(&query, &selector, &selected(&stored, &selector)).await;
    }
    assert_eq!(insert(&*reopened, &stored).await, "d".repeat(60));
}
