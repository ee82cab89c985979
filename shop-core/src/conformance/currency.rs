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

/// A store keeps the first currency that it is given, and reports it to who would set another one.
pub async fn the_first_currency_is_kept(fixture: &dyn EraseFixture) {
    let store = fixture.currency().await;
    assert_eq!(succeed(store.currency(None)).await, None);
    for given in ["EUR", "EUR", "USD"] {
        let kept = succeed(store.currency(Some(currency(given)))).await;
        assert_eq!(kept, Some(currency("EUR")));
    }
    assert_eq!(succeed(store.currency(None)).await, Some(currency("EUR")));
}

/// A purchase in another currency is rejected, and the others of its batch are stored, also those
/// without a currency.
pub async fn a_purchase_in_another_currency_is_rejected(fixture: &dyn EraseFixture) {
    let store = fixture.currency().await;
    assert_eq!(insert(fixture, &[purchase(0)]).await, "i");
    succeed(store.currency(Some(currency("EUR")))).await;
    let batch = [
        purchase_in("EUR", 1),
        purchase_in("USD", 2),
        purchase(3),
        purchase_in("EUR", 4),
    ];
    assert_eq!(insert(fixture, &batch).await, "irii");
    assert_eq!(get(fixture, &id(2)).await, None);
    assert_eq!(insert(fixture, &[purchase_in("USD", 5)]).await, "r");
}

/// The same purchase with and without the currency of the store is a duplicate: the first document
/// stays.
pub async fn an_absent_currency_equals_that_of_the_store(fixture: &dyn EraseFixture) {
    let without = purchase(1);
    assert_eq!(insert_one(fixture, &without).await, "i");
    let store = fixture.currency().await;
    succeed(store.currency(Some(currency("EUR")))).await;
    let with = purchase_in("EUR", 2);
    assert_eq!(insert_one(fixture, &with).await, "i");

    let again = [purchase_in("EUR", 1), purchase(2)];
    for batch in [&again[..1], &again[1..], &again] {
        assert_eq!(insert(fixture, batch).await, "d".repeat(batch.len()));
        assert_eq!(get(fixture, &id(1)).await, Some(without.clone()));
        assert_eq!(get(fixture, &id(2)).await, Some(with.clone()));
    }
}

/// A store without a currency rejects every purchase and every refund that names one, whether or not
/// it would be stored otherwise, and stays without a currency until it is given one.
pub async fn no_record_gives_the_store_a_currency(fixture: &dyn EraseFixture) {
    let store = fixture.currency().await;
    assert_eq!(insert(fixture, &[purchase(1)]).await, "i");
    let mut refund = purchase(1).refund(None, at(1)).unwrap();
    refund.details.currency = Some(currency("ZZZ"));
    let mut contradiction = purchase_in("ZZZ", 1);
    contradiction.price = "12345".parse().unwrap();
    let records = [
        purchase_in("ZZZ", 1),
        purchase_in("ZZZ", 2),
        contradiction,
        refund,
    ];
    for record in &records {
        assert_eq!(insert(fixture, std::slice::from_ref(record)).await, "r");
        assert_eq!(succeed(store.currency(None)).await, None);
    }
    assert_eq!(insert(fixture, &records).await, "rrrr");

    // The currency of the shop is set afterwards, as if these records had never been there.
    let kept = succeed(store.currency(Some(currency("EUR")))).await;
    assert_eq!(kept, Some(currency("EUR")));
    assert_eq!(insert(fixture, &[purchase_in("EUR", 2)]).await, "i");
}
