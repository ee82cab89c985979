//! The tests of refunds in every store. Those of the order of calls are in
//! [`any_order_of_calls_has_the_state_of_the_model`].

use super::erase::{erase, mark};
use super::prelude::*;
pub use super::refund_model::any_order_of_calls_has_the_state_of_the_model;
use crate::ports::{InsertOutcome, WaitingRefund, WaitingRefunds, WaitingSummary};

/// A purchase is refunded once, whole or in part, in the batch of the purchase or later.
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
    for (refund, amount) in [(whole, "-9.00"), (part, "-0.10")] {
        let stored = get(fixture, &refund.id).await.expect("stored");
        assert_eq!(stored.price.to_string(), amount, "the scale is kept");
        assert_eq!(stored, refund);
    }
}

/// Sums are net in every selection and period, and counts are those of purchases. Pages and scans
/// have both.
pub async fn sums_are_net(fixture: &dyn EraseFixture) {
    const DAY: i64 = 86_400_000;
    let bought = purchases(0..20);
    let refund = |bought: &Purchase| bought.refund(Some(price("0.05")), at(DAY)).unwrap();
    let mut all = bought.clone();
    all.extend(bought[10..15].iter().map(refund));
    assert_eq!(insert(fixture, &all).await, "i".repeat(25));
    all.sort_by_key(|entry| (entry.timestamp, entry.id));

    let query = fixture.query().await;
    for selector in [Selector::All, of_user("user-1"), of_name("name of user-1")] {
        let entries = selected(&all, &selector);
        assert_listed(&query, &selector, &entries).await;
        let per_day = TotalsRequest::new(TimeRange::ALL, Period::Day);
        let days = succeed(query.totals(&selector, &per_day)).await;
        let days: Vec<_> = days.iter().map(|day| day.summary).collect();
        let bought = selected(&bought, &selector);
        let (purchases, refunds) = entries.split_at(bought.len());
        assert_eq!(
            days,
            [summary_of(purchases), summary_of(refunds)],
            "{selector:?}"
        );

        let first = PageRequest::first(ListOrder::OldestFirst, PageLimit::new(3).unwrap());
        let pages = Arc::clone(&query).pages(selector, first);
        let pages: Vec<_> = succeed(pages.map_ok(|page| page.items).try_collect()).await;
        assert_eq!(pages.concat(), entries);
    }
    assert_eq!(scanned(&query).await, ids_of(&all));
}

/// Returns the reason why each of `batch` is rejected.
async fn rejected(fixture: &dyn EraseFixture, batch: &[Purchase]) -> Vec<Option<ReasonKind>> {
    let outcomes = succeed(fixture.store().await.insert(batch.into())).await;
    let reason = |outcome: &InsertOutcome| match outcome {
        InsertOutcome::Rejected(reason) => Some(reason.kind()),
        _ => None,
    };
    outcomes.iter().map(reason).collect()
}

/// What is above the price, of another user, under another id or of a refund is refused.
pub async fn what_is_no_refund_is_refused(fixture: &dyn EraseFixture) {
    let bought = purchase(900);
    let refund = bought.refund(None, at(2_000)).unwrap();
    let above = Purchase {
        price: price("9.01").negated(),
        ..refund.clone()
    };
    let of_other = Purchase {
        user_id: user("other"),
        ..refund.clone()
    };
    let other_id = Purchase {
        id: id(8),
        ..refund.clone()
    };
    let refused = Some(ReasonKind::Refused);
    let reasons = rejected(fixture, &[bought, above, of_other, other_id]).await;
    assert_eq!(reasons, [None, refused, refused, refused]);
    assert_eq!(insert_one(fixture, &refund).await, "i");
    let mut of_refund = Purchase {
        id: id(7),
        ..refund.clone()
    };
    of_refund.details.of = Some(refund.id);
    assert_eq!(rejected(fixture, &[of_refund]).await, [refused]);
}

/// A refund takes the user name, the currency and the reference of its purchase, and is not earlier
/// than that.
pub async fn a_refund_takes_name_and_reference_from_its_purchase(fixture: &dyn EraseFixture) {
    let bought = purchase(901);
    assert!(bought.details.reference.is_some());
    let expected = bought.refund(Some(price("1")), at(901)).unwrap();
    let mut other = Purchase {
        user_name: "another name".parse().unwrap(),
        timestamp: at(500),
        ..expected.clone()
    };
    other.details.reference = Some("another reference".parse().unwrap());

    assert_eq!(insert(fixture, &[bought, other.clone()]).await, "ii");
    assert_eq!(get(fixture, &expected.id).await, Some(expected.clone()));
    assert_eq!(insert(fixture, &[expected, other]).await, "dd");
}

/// A refund whose purchase is not stored is in no listing, no sum and no scan. It is found as
/// waiting by its id, and is applied when its purchase is inserted.
pub async fn a_refund_waits_for_its_purchase(fixture: &dyn EraseFixture) {
    let bought = purchase(900);
    let refund = bought.refund(Some(price("1")), at(2_000)).unwrap();
    let query = fixture.query().await;
    assert_eq!(insert_one(fixture, &refund).await, "w");
    assert_eq!(
        summary_of_waiting(fixture).await,
        WaitingSummary::new(1, Some(at(2_000)))
    );
    assert_listed(&query, &Selector::All, &[]).await;
    assert_eq!(scanned(&query).await, BTreeSet::new());
    assert_eq!(
        succeed(query.look_up(&refund.id)).await,
        Lookup::Waiting(refund.clone())
    );
    assert_eq!(get(fixture, &refund.id).await, None);

    assert_eq!(insert_one(fixture, &bought).await, "i");
    assert_eq!(settle(fixture).await, []);
    assert_eq!(summary_of_waiting(fixture).await, WaitingSummary::default());
    let both = [bought, refund];
    assert_listed(&query, &Selector::All, &both).await;
    assert_eq!(scanned(&query).await, ids_of(&both));
    assert_eq!(insert(fixture, &both).await, "dd");
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
    assert_eq!(insert_one(fixture, &bought).await, "i");

    let [above, of_other, _, second] = waiting;
    for _ in 0..2 {
        let refused: Vec<_> = settle(fixture)
            .await
            .into_iter()
            .map(|entry| {
                let reason = entry.refusal.expect("a refused refund has a reason");
                (entry.refund.without_context(), reason.kind())
            })
            .collect();
        let expected = [
            (above.clone(), ReasonKind::Refused),
            (of_other.clone(), ReasonKind::Refused),
            (second.clone(), ReasonKind::Conflict),
        ];
        assert_eq!(refused, expected);
    }
    assert_eq!(summary_of_waiting(fixture).await, WaitingSummary::default());

    let store = fixture.store().await;
    let mut sequences: Vec<_> = settle(fixture)
        .await
        .iter()
        .map(|entry| entry.sequence)
        .collect();
    sequences.push(sequences[0] + 1_000);
    for _ in 0..2 {
        succeed(waiting_refunds(&*store).remove_waiting(&sequences)).await;
        assert_eq!(settle(fixture).await, []);
    }
    assert_listed(&fixture.query().await, &Selector::All, &[bought, first]).await;
}

/// A refund of an erased purchase is erased too, whether it comes before or after the mark.
pub async fn a_refund_of_an_erased_purchase_is_erased(fixture: &dyn EraseFixture) {
    let [stored, marked] = [purchase_of("one", 900), purchase_of("two", 901)];
    let refunds = [&stored, &marked].map(|bought| bought.refund(None, at(2_000)).unwrap());
    assert_eq!(insert(fixture, &[stored]).await, "i");
    assert_eq!(erase(fixture, "one", 10).await, 1);
    assert_eq!(insert(fixture, &refunds).await, "ew");
    assert_eq!(mark(fixture, &[marked.id]).await, 1);
    assert_eq!(summary_of_waiting(fixture).await, WaitingSummary::default());
    assert_eq!(insert(fixture, &refunds).await, "ee");
    assert_listed(&fixture.query().await, &Selector::All, &[]).await;
}

/// Returns the port of the refunds that wait in `store`.
pub(super) fn waiting_refunds(store: &dyn PurchaseStore) -> &dyn WaitingRefunds {
    store
        .waiting_refunds()
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
pub(super) fn settle(fixture: &dyn EraseFixture) -> impl Future<Output = Vec<WaitingRefund>> {
    succeed(async move {
        waiting_refunds(&*fixture.store().await)
            .apply_waiting(10)
            .await
    })
}
