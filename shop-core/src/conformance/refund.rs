//! The tests of refunds in every store. Those of the order of calls are in
//! [`any_order_of_calls_has_the_state_of_the_model`].

use super::erase::delete_before;
use super::prelude::*;
pub use super::refund_model::any_order_of_calls_has_the_state_of_the_model;
use crate::ports::{WaitingRefund, WaitingRefunds, WaitingSummary};

/// A purchase is refunded once, whole or in part, in the batch of the purchase or later. A refund is
/// not refunded.
pub async fn a_purchase_is_refunded_once(fixture: &dyn EraseFixture) {
    let [first, second] = [purchase(900), purchase(1_001)];
    let whole = first.refund(None, at(2_000)).unwrap();
    let mut part = second.refund(Some(price("0.10")), at(2_000)).unwrap();
    part.details.reason = Some("broken".parse().unwrap());
    let other = second.refund(None, at(3_000)).unwrap();
    let batch = [
        first,
        whole.clone(),
        second,
        part.clone(),
        part.clone(),
        other.clone(),
    ];
    assert_eq!(insert(fixture, &batch).await, "iiiidc");
    let later = Purchase {
        timestamp: at(4_000),
        ..whole.clone()
    };
    assert_eq!(insert(fixture, &[later, other, part.clone()]).await, "dcd");
    let mut of_refund = Purchase {
        id: id(7),
        ..whole.clone()
    };
    of_refund.details.of = Some(whole.id);
    assert_eq!(insert_one(fixture, &of_refund).await, "r");
    for (refund, amount) in [(whole, "-9.00"), (part, "-0.10")] {
        let stored = get(fixture, &refund.id).await.expect("stored");
        assert_eq!(stored.price.to_string(), amount, "the scale is kept");
        assert_eq!(stored, refund);
    }
}

/// A refund takes the user name, the currency and the reference of its purchase, and keeps its own
/// time.
pub async fn a_refund_takes_name_and_reference_from_its_purchase(fixture: &dyn EraseFixture) {
    let bought = purchase(901);
    assert!(bought.details.reference.is_some());
    let expected = bought.refund(Some(price("1")), at(2_000)).unwrap();
    let mut other = Purchase {
        user_name: "another name".parse().unwrap(),
        ..expected.clone()
    };
    other.details.reference = Some("another reference".parse().unwrap());

    assert_eq!(insert(fixture, &[bought, other.clone()]).await, "ii");
    assert_eq!(get(fixture, &expected.id).await, Some(expected.clone()));
    assert_eq!(insert(fixture, &[expected, other]).await, "dd");
}

/// A refund that is earlier than the purchase under its id is refused, whichever arrives first. Its
/// time is not changed. So a refund that waits for a purchase which retention has deleted does not
/// refund a later purchase that takes the id again.
pub async fn a_refund_is_never_of_a_later_purchase(fixture: &dyn EraseFixture) {
    let deleted = purchase(900);
    let refund = deleted.refund(None, at(2_000)).unwrap();
    assert_eq!(insert_one(fixture, &deleted).await, "i");
    assert_eq!(delete_before(fixture, at(1_000), 10).await, 1);
    assert_eq!(insert_one(fixture, &refund).await, "w");

    let later = Purchase {
        timestamp: at(2_001),
        ..deleted
    };
    assert_eq!(insert_one(fixture, &later).await, "i");
    let refused = settle(fixture).await;
    let kinds: Vec<_> = refused
        .iter()
        .map(|entry| entry.refusal.as_ref().map(Reason::kind))
        .collect();
    assert_eq!(kinds, [Some(ReasonKind::Refused)]);
    assert_eq!(refused[0].refund, refund, "the time is the refund's own");
    let store = fixture.store().await;
    let sequences = [refused[0].sequence];
    let left = succeed(waiting_refunds(&*store).apply_waiting(&sequences, 10)).await;
    assert_eq!(left, []);
    assert_listed(
        &fixture.query().await,
        &Selector::All,
        std::slice::from_ref(&later),
    )
    .await;

    assert_eq!(insert_one(fixture, &refund).await, "r");
    let at_its_time = later.refund(None, later.timestamp).unwrap();
    assert_eq!(insert_one(fixture, &at_its_time).await, "i");
}

/// The number of refunds that wait for a purchase which does not exist. It is above the numbers that
/// a store reads at once.
const ORPHANS: u64 = 1_200;

/// Refunds whose purchase never arrives do not keep others from being applied. The others began to
/// wait last, at another handle of the store than the one that stores their purchases.
pub async fn refunds_of_unknown_purchases_hold_up_no_others(fixture: &dyn EraseFixture) {
    let refund_of = |number: u64| purchase(number).refund(None, at(100_000)).unwrap();
    let orphans: Vec<Purchase> = (10_000..10_000 + ORPHANS).map(refund_of).collect();
    let bought = purchases(20_000..20_020);
    let refunds: Vec<Purchase> = (20_000..20_020).map(refund_of).collect();

    // A store may remember that no refund waits, and then not look for any.
    assert_eq!(settle(fixture).await, []);
    let reopened = soon("reopen", fixture.reopen()).await;
    let other: &dyn StoreFixture = match &reopened {
        Some(reopened) => &**reopened,
        None => fixture,
    };
    assert_eq!(insert(other, &orphans).await, "w".repeat(orphans.len()));
    assert_eq!(insert(other, &refunds).await, "w".repeat(refunds.len()));
    assert_eq!(insert(fixture, &bought).await, "i".repeat(bought.len()));

    // A call may look at a limited number of refunds. The next one goes on behind them.
    for _ in 0..3 {
        assert_eq!(settle(fixture).await, []);
    }
    for refund in refunds {
        assert_eq!(get(fixture, &refund.id).await, Some(refund));
    }
    assert_eq!(summary_of_waiting(fixture).await.count, ORPHANS);
}

/// Of several refunds that wait for one purchase, the first valid one is applied, whatever arrived
/// before it. The others are returned with their reason until they are removed.
pub async fn a_contradicting_refund_is_returned_until_removed(fixture: &dyn EraseFixture) {
    let bought = purchase(900);
    let refund_of = |amount| bought.refund(Some(price(amount)), at(2_000)).unwrap();
    let [first, second] = [refund_of("2"), refund_of("3")];
    let above = Purchase {
        price: price("9.01").negated(),
        ..first.clone()
    };
    let of_other = Purchase {
        user_id: user("other"),
        ..first.clone()
    };
    let waiting = [above, of_other, first.clone(), second];
    assert_eq!(insert(fixture, &waiting).await, "wwww");
    assert_eq!(get(fixture, &first.id).await, None);
    assert_eq!(insert_one(fixture, &bought).await, "i");

    let [above, of_other, _, second] = waiting;
    let expected = [
        (above, Some(ReasonKind::Refused)),
        (of_other, Some(ReasonKind::Refused)),
        (second, Some(ReasonKind::Conflict)),
    ];
    let mut sequences = Vec::new();
    for _ in 0..2 {
        let settled = settle(fixture).await;
        sequences = settled.iter().map(|entry| entry.sequence).collect();
        let refusal = |entry: WaitingRefund| {
            let kind = entry.refusal.map(|reason| reason.kind());
            (entry.refund.without_context(), kind)
        };
        let refused: Vec<_> = settled.into_iter().map(refusal).collect();
        assert_eq!(refused, expected);
    }
    assert_eq!(summary_of_waiting(fixture).await, WaitingSummary::default());

    let store = fixture.store().await;
    sequences.push(sequences[0] + 1_000);
    for _ in 0..2 {
        let left = succeed(waiting_refunds(&*store).apply_waiting(&sequences, 10)).await;
        assert_eq!(left, []);
        assert_eq!(settle(fixture).await, []);
    }
    assert_listed(&fixture.query().await, &Selector::All, &[bought, first]).await;
}

/// Returns the port of the refunds that wait in `store`.
pub(super) fn waiting_refunds(store: &dyn PurchaseStore) -> &dyn WaitingRefunds {
    store
        .info()
        .waiting_refunds
        .expect("a store of `refund_suite!` has waiting refunds")
}

#[track_caller]
pub(super) fn summary_of_waiting(
    fixture: &dyn EraseFixture,
) -> impl Future<Output = WaitingSummary> {
    succeed(async move {
        waiting_refunds(&*fixture.store().await)
            .waiting_summary()
            .await
    })
}

/// Settles waiting refunds. Returns those that the store refuses.
#[track_caller]
fn settle(fixture: &dyn EraseFixture) -> impl Future<Output = Vec<WaitingRefund>> {
    succeed(async move {
        waiting_refunds(&*fixture.store().await)
            .apply_waiting(&[], 10)
            .await
    })
}
