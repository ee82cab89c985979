//! The tests of the currency of every store.

use super::erase::{EraseFixture, get, insert};
use super::fixture::soon;
use super::sample::purchase;
use crate::domain::Currency;
use crate::{ErrorKind, Purchase, PurchaseId};

fn currency(text: &str) -> Currency {
    text.parse().unwrap()
}

/// Returns purchase `number` in this currency.
fn purchase_in(text: &str, number: u64) -> Purchase {
    let mut purchase = purchase(number);
    purchase.details.currency = Some(currency(text));
    purchase
}

async fn stored_currency(fixture: &dyn EraseFixture) -> Option<Currency> {
    let store = fixture.currency().await;
    soon("currency", store.currency()).await.expect("currency")
}

/// A store keeps the first currency that it is given, and refuses another one.
pub async fn the_first_currency_is_kept(fixture: &dyn EraseFixture) {
    assert_eq!(stored_currency(fixture).await, None);
    let store = fixture.currency().await;
    for _ in 0..2 {
        soon("adopt", store.adopt_currency(&currency("EUR")))
            .await
            .expect("adopt");
    }

    let other = soon("adopt", store.adopt_currency(&currency("USD"))).await;
    let error = other.expect_err("a store has one currency");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("EUR"), "{error}");
    assert_eq!(stored_currency(fixture).await, Some(currency("EUR")));
}

/// The first purchase with a currency gives it to the store.
pub async fn a_purchase_gives_the_store_its_currency(fixture: &dyn EraseFixture) {
    assert_eq!(insert(fixture, &[purchase(0)]).await, "i");
    assert_eq!(stored_currency(fixture).await, None);
    assert_eq!(insert(fixture, &[purchase_in("EUR", 1)]).await, "i");
    assert_eq!(stored_currency(fixture).await, Some(currency("EUR")));
}

/// A purchase in another currency than the store is rejected. The others of its batch are stored,
/// also those without a currency.
pub async fn a_purchase_in_another_currency_is_rejected(fixture: &dyn EraseFixture) {
    let batch = [
        purchase_in("EUR", 0),
        purchase_in("USD", 1),
        purchase(2),
        purchase_in("EUR", 3),
    ];
    assert_eq!(insert(fixture, &batch).await, "irii");
    let usd: PurchaseId = batch[1].id;
    assert_eq!(get(fixture, &usd).await, None);
    assert_eq!(insert(fixture, &[purchase_in("USD", 4)]).await, "r");
}

/// A purchase with a currency repeats the same purchase without one, in both directions: the first
/// one stays.
pub async fn an_absent_currency_is_no_conflict(fixture: &dyn EraseFixture) {
    for (first, again) in [
        (purchase(0), purchase_in("EUR", 0)),
        (purchase_in("EUR", 1), purchase(1)),
    ] {
        assert_eq!(insert(fixture, std::slice::from_ref(&first)).await, "i");
        assert_eq!(insert(fixture, &[again.clone(), again]).await, "dd");
        assert_eq!(get(fixture, &first.id).await, Some(first));
    }
}
