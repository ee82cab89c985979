//! The tests of the currency of every store.

use super::prelude::*;
use crate::domain::Currency;

fn currency(text: &str) -> Currency {
    text.parse().unwrap()
}

/// Returns purchase `number` in this currency.
fn purchase_in(text: &str, number: u64) -> Purchase {
    let mut purchase = purchase(number);
    purchase.details.currency = Some(currency(text));
    purchase
}

/// A store keeps the first currency that it is given, and refuses another one.
pub async fn the_first_currency_is_kept(fixture: &dyn EraseFixture) {
    let store = fixture.currency().await;
    assert_eq!(succeed(store.currency()).await, None);
    for _ in 0..2 {
        succeed(store.adopt_currency(&currency("EUR"))).await;
    }
    let error = fail(store.adopt_currency(&currency("USD"))).await;
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("EUR"), "{error}");
    assert_eq!(succeed(store.currency()).await, Some(currency("EUR")));
}

/// The first purchase with a currency gives it to the store. A purchase in another currency is
/// rejected, and the others of its batch are stored, also those without a currency.
pub async fn a_purchase_gives_the_store_its_currency(fixture: &dyn EraseFixture) {
    let store = fixture.currency().await;
    assert_eq!(insert(fixture, &[purchase(0)]).await, "i");
    assert_eq!(succeed(store.currency()).await, None);
    let batch = [
        purchase_in("EUR", 1),
        purchase_in("USD", 2),
        purchase(3),
        purchase_in("EUR", 4),
    ];
    assert_eq!(insert(fixture, &batch).await, "irii");
    assert_eq!(succeed(store.currency()).await, Some(currency("EUR")));
    assert_eq!(get(fixture, &id(2)).await, None);
    assert_eq!(insert(fixture, &[purchase_in("USD", 5)]).await, "r");
}
