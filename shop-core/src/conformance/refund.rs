//! The tests of refunds in every store.

use std::sync::Arc;

use futures_util::TryStreamExt;

use super::erase::{EraseFixture, delete_before, erase, get, insert, scanned, user};
use super::fixture::soon;
use super::sample::{at, id, price, purchase, purchases};
use crate::log::ReasonKind;
use crate::ports::{
    InsertOutcome, ListOrder, PageLimit, PageRequest, Period, PurchaseQueryExt, Selector, Summary,
    TimeRange, TotalsRequest,
};
use crate::{Purchase, Total};

/// The reason why each of `batch` is rejected.
async fn rejected(fixture: &dyn EraseFixture, batch: &[Purchase]) -> Vec<Option<ReasonKind>> {
    let outcomes = soon("insert", fixture.store().await.insert(batch.into()))
        .await
        .expect("insert");
    let reason = |outcome: &InsertOutcome| match outcome {
        InsertOutcome::Rejected(reason) => Some(reason.kind()),
        _ => None,
    };
    outcomes.iter().map(reason).collect()
}

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

/// Sums are net in every selection and period, and counts are those of purchases. Pages and scans have both.
pub async fn sums_are_net(fixture: &dyn EraseFixture) {
    const DAY: i64 = 86_400_000;
    let refund = |bought: &Purchase| bought.refund(Some(price("0.05")), at(DAY)).unwrap();
    let mut all = purchases(0..20);
    all.extend(purchases(10..15).iter().map(refund));
    assert_eq!(insert(fixture, &all).await, "i".repeat(25));
    all.sort_by_key(|entry| (entry.timestamp, entry.id));
    let query = fixture.query().await;
    let name = Selector::Name("name of user-1".parse().unwrap());
    for selector in [Selector::All, Selector::User(user("user-1")), name] {
        let selected: Vec<_> = all
            .iter()
            .filter(|entry| selector.matches(entry))
            .cloned()
            .collect();
        let (refunds, bought): (Vec<_>, Vec<_>) = selected
            .iter()
            .partition(|entry| entry.details.of.is_some());
        let sum = |entries: &[&Purchase]| {
            Total::checked_sum(entries.iter().map(|entry| entry.price)).unwrap()
        };
        let (of_day, of_next) = ((bought.len() as u64, sum(&bought)), (0, sum(&refunds)));
        let summary = soon("summary", query.summary(&selector))
            .await
            .expect("summary");
        let net = of_day.1.checked_add(of_next.1).unwrap();
        assert_eq!(
            (summary.count, summary.total_spent),
            (of_day.0, net),
            "{selector:?}"
        );
        let per_day = TotalsRequest::of(TimeRange::ALL, Period::Day);
        let days = soon("totals", query.totals(&selector, &per_day))
            .await
            .expect("totals");
        let days: Vec<_> = days
            .iter()
            .map(|day| (day.summary.count, day.summary.total_spent))
            .collect();
        assert_eq!(days, [of_day, of_next], "{selector:?}");
        let first = PageRequest::first(ListOrder::OldestFirst, PageLimit::new(3).unwrap());
        let pages = Arc::clone(&query)
            .pages(selector, first)
            .map_ok(|page| page.items)
            .try_collect();
        let pages: Vec<Vec<Purchase>> = soon("pages", pages).await.expect("pages");
        assert_eq!(pages.concat(), selected);
    }
    let mut ids: Vec<_> = all.iter().map(|entry| entry.id).collect();
    ids.sort();
    assert_eq!(scanned(query).await, ids);
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
    assert_eq!(insert(fixture, std::slice::from_ref(&refund)).await, "i");
    let mut of_refund = Purchase {
        id: id(7),
        ..refund.clone()
    };
    of_refund.details.of = Some(refund.id);
    assert_eq!(
        rejected(fixture, &[of_refund]).await,
        [Some(ReasonKind::Refused)]
    );
}

/// A refund whose purchase is not stored is parked. It is stored when the purchase is.
pub async fn a_refund_before_its_purchase_is_parked(fixture: &dyn EraseFixture) {
    let bought = purchase(900);
    let refund = [bought.refund(None, at(2_000)).unwrap()];
    assert_eq!(rejected(fixture, &refund).await, [Some(ReasonKind::Parked)]);
    assert_eq!(get(fixture, &refund[0].id).await, None);
    assert_eq!(insert(fixture, &[bought]).await, "i");
    assert_eq!(insert(fixture, &refund).await, "i");
}

/// A refund is erased with the purchases of its user. It is a duplicate also when its purchase was deleted since.
pub async fn a_refund_is_erased_with_its_purchase(fixture: &dyn EraseFixture) {
    let [old, new] = [purchase(100), purchase(900)];
    let [of_old, of_new] = [&old, &new].map(|bought| bought.refund(None, at(2_000)).unwrap());
    let all = [old, new, of_old, of_new];
    assert_eq!(insert(fixture, &all).await, "iiii");
    assert_eq!(delete_before(fixture, at(500), 10).await, 1);
    assert_eq!(insert(fixture, &all[2..]).await, "dd");
    assert_eq!(erase(fixture, "user-0", 10).await, 3);
    assert_eq!(insert(fixture, &all[1..]).await, "eee");
    let summary = soon("summary", fixture.query().await.summary(&Selector::All))
        .await
        .expect("summary");
    assert_eq!(summary, Summary::default());
}
