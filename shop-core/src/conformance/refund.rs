//! The tests of refunds in every store.

use std::sync::Arc;

use futures_util::TryStreamExt;

use super::erase::{EraseFixture, delete_before, erase, get, insert, mark, scanned, user};
use super::fixture::soon;
pub use super::refund_model::any_order_of_calls_has_the_state_of_the_model;
use super::sample::{at, id, price, purchase, purchase_of, purchases};
use crate::log::ReasonKind;
use crate::ports::{
    InsertOutcome, ListOrder, Lookup, PageLimit, PageRequest, Period, PurchaseQueryExt,
    PurchaseStore, Selector, Summary, TimeRange, TotalsRequest, WaitingRefunds, WaitingSummary,
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

/// Sums are net in every selection and period, and counts are those of purchases. Pages and scans
/// have both.
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
        let of_day = (bought.len() as u64, sum(&bought));
        let of_next = (0, sum(&refunds));
        let summary = soon("summary", query.summary(&selector))
            .await
            .expect("summary");
        let net = of_day.1.checked_add(of_next.1).unwrap();
        assert_eq!(
            (summary.count, summary.total_spent),
            (of_day.0, net),
            "{selector:?}"
        );
        let per_day = TotalsRequest::new(TimeRange::ALL, Period::Day);
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
    assert_eq!(insert(fixture, std::slice::from_ref(&refund)).await, "w");
    let waiting = WaitingSummary::new(1, Some(at(2_000)));
    assert_eq!(summary_of_waiting(fixture).await, waiting);
    assert_eq!(state(fixture).await, (Vec::new(), Summary::default()));
    let query = fixture.query().await;
    let found = soon("look up", query.look_up(&refund.id)).await.unwrap();
    assert_eq!(found, Lookup::Waiting(refund.clone()));
    assert_eq!(get(fixture, &refund.id).await, None);

    assert_eq!(insert(fixture, std::slice::from_ref(&bought)).await, "i");
    assert_eq!(settle(fixture).await, []);
    assert_eq!(summary_of_waiting(fixture).await, WaitingSummary::default());
    let (entries, summary) = state(fixture).await;
    assert_eq!(entries, [bought, refund.clone()]);
    assert_eq!(summary, Summary::new(1, Total::from(price("8.00"))));
    assert_eq!(insert(fixture, &[refund]).await, "d");
}

/// A purchase and its refund give the same state in both orders, in one batch and in two.
pub async fn the_order_of_arrival_does_not_matter(fixture: &dyn EraseFixture) {
    let mut expected = Vec::new();
    for (number, is_one_batch, is_refund_first) in [
        (101, true, true),
        (102, true, false),
        (103, false, true),
        (105, false, false),
    ] {
        let bought = purchase(number);
        let refund = bought.refund(None, at(2_000)).unwrap();
        expected.extend([bought.clone(), refund.clone()]);
        let mut batch = [bought, refund];
        if is_refund_first {
            batch.reverse();
        }
        let size = if is_one_batch { 2 } else { 1 };
        for part in batch.chunks(size) {
            let outcomes = insert(fixture, part).await;
            assert!(
                !outcomes.contains(|code| !"iw".contains(code)),
                "{outcomes}"
            );
        }
    }
    assert_eq!(settle(fixture).await, []);

    expected.sort_by_key(|entry| (entry.timestamp, entry.id));
    let (entries, summary) = state(fixture).await;
    assert_eq!(entries, expected);
    assert_eq!(summary, Summary::new(4, Total::ZERO));
}

/// A refund that is delivered again while it waits is kept once.
pub async fn a_waiting_refund_is_kept_once(fixture: &dyn EraseFixture) {
    let refund = purchase(900).refund(None, at(2_000)).unwrap();
    let later = Purchase {
        timestamp: at(3_000),
        ..refund.clone()
    };
    assert_eq!(
        insert(fixture, &[refund.clone(), refund.clone()]).await,
        "wd"
    );
    assert_eq!(insert(fixture, &[later]).await, "d");
    assert_eq!(summary_of_waiting(fixture).await.count, 1);
    assert_eq!(insert(fixture, &[purchase(900)]).await, "i");
    assert_eq!(settle(fixture).await, []);
    assert_eq!(get(fixture, &refund.id).await, Some(refund));
}

/// Of several refunds that wait for one purchase, the first valid one is applied, whatever arrived
/// before it.
pub async fn the_first_valid_refund_is_applied(fixture: &dyn EraseFixture) {
    let bought = purchase(900);
    let refund_of = |amount| bought.refund(Some(price(amount)), at(2_000)).unwrap();
    let above = Purchase {
        price: price("9.01").negated(),
        ..refund_of("9")
    };
    let [first, second] = [refund_of("2"), refund_of("3")];
    let waiting = [above.clone(), first.clone(), second.clone()];
    assert_eq!(insert(fixture, &waiting).await, "www");
    assert_eq!(insert(fixture, std::slice::from_ref(&bought)).await, "i");

    let refused = settle(fixture).await;
    let expected = [(above, ReasonKind::Refused), (second, ReasonKind::Conflict)];
    assert_eq!(refused, expected);
    assert_eq!(get(fixture, &first.id).await, Some(first));
    assert_eq!(summary_of_waiting(fixture).await, WaitingSummary::default());
}

/// A refund that contradicts its purchase is returned until it is removed.
pub async fn a_contradicting_refund_is_returned_until_removed(fixture: &dyn EraseFixture) {
    let bought = purchase(900);
    let of_other = Purchase {
        user_id: user("other"),
        ..bought.refund(None, at(2_000)).unwrap()
    };
    assert_eq!(insert(fixture, std::slice::from_ref(&of_other)).await, "w");
    assert_eq!(insert(fixture, std::slice::from_ref(&bought)).await, "i");
    for _ in 0..2 {
        let refused = settle(fixture).await;
        assert_eq!(refused, [(of_other.clone(), ReasonKind::Refused)]);
    }

    let store = fixture.store().await;
    let waiting = waiting_refunds(&*store);
    let refused = soon("settle", waiting.apply_waiting(10))
        .await
        .expect("settle");
    let sequences = [refused[0].sequence, refused[0].sequence + 1_000];
    for _ in 0..2 {
        soon("remove", waiting.remove_waiting(&sequences))
            .await
            .expect("remove");
        assert_eq!(settle(fixture).await, []);
    }
    assert_eq!(state(fixture).await.0, [bought]);
}

/// A waiting refund is erased with its user, and does not come back.
pub async fn a_waiting_refund_is_erased_with_its_user(fixture: &dyn EraseFixture) {
    let [one, other] = [purchase_of("one", 900), purchase_of("other", 901)];
    let refunds = [&one, &other].map(|bought| bought.refund(None, at(2_000)).unwrap());
    assert_eq!(insert(fixture, &refunds).await, "ww");
    assert_eq!(erase(fixture, "one", 10).await, 1);
    assert_eq!(erase(fixture, "one", 10).await, 0);
    assert_eq!(summary_of_waiting(fixture).await.count, 1);
    assert_eq!(insert(fixture, &refunds).await, "ed");
}

/// A refund of an erased purchase is erased too, whether it comes before or after the mark.
pub async fn a_refund_of_an_erased_purchase_is_erased(fixture: &dyn EraseFixture) {
    let [stored, marked] = [purchase_of("one", 900), purchase_of("two", 901)];
    let refunds = [&stored, &marked].map(|bought| bought.refund(None, at(2_000)).unwrap());
    assert_eq!(insert(fixture, std::slice::from_ref(&stored)).await, "i");
    assert_eq!(erase(fixture, "one", 10).await, 1);
    assert_eq!(insert(fixture, &refunds[..1]).await, "e");

    assert_eq!(insert(fixture, &refunds[1..]).await, "w");
    assert_eq!(mark(fixture, &[marked.id]).await, 1);
    assert_eq!(summary_of_waiting(fixture).await, WaitingSummary::default());
    assert_eq!(insert(fixture, &refunds).await, "ee");
    assert_eq!(state(fixture).await, (Vec::new(), Summary::default()));
}

/// A refund that waits in vain is deleted by its own time: its purchase would be older.
pub async fn an_old_waiting_refund_is_deleted(fixture: &dyn EraseFixture) {
    let [old, new] =
        [100, 900].map(|time| purchase(time).refund(None, at(time.cast_signed())).unwrap());
    assert_eq!(insert(fixture, &[old.clone(), new]).await, "ww");
    assert_eq!(delete_before(fixture, at(500), 10).await, 1);
    assert_eq!(delete_before(fixture, at(500), 10).await, 0);
    assert_eq!(summary_of_waiting(fixture).await.count, 1);
    assert_eq!(insert(fixture, &[old]).await, "w");
}

/// A refund is deleted with its purchase, whose time decides: no sum becomes negative. Both may be
/// stored again.
pub async fn a_refund_is_deleted_with_its_purchase(fixture: &dyn EraseFixture) {
    let [old, new] = [purchase(100), purchase(900)];
    let [of_old, of_new] = [&old, &new].map(|bought| bought.refund(None, at(2_000)).unwrap());
    let all = [old, new, of_old, of_new];
    assert_eq!(insert(fixture, &all).await, "iiii");
    assert_eq!(delete_before(fixture, at(500), 1).await, 2);
    assert_eq!(delete_before(fixture, at(500), 1).await, 0);
    let (entries, summary) = state(fixture).await;
    assert_eq!(entries, [all[1].clone(), all[3].clone()]);
    assert_eq!(summary, Summary::new(1, Total::ZERO));
    let per_day = TotalsRequest::new(TimeRange::ALL, Period::Day);
    let days = soon(
        "totals",
        fixture.query().await.totals(&Selector::All, &per_day),
    )
    .await
    .expect("totals");
    assert_eq!(days.len(), 1);
    assert_eq!(days[0].summary, summary);

    // A purchase with this id is a new one, which can be refunded by another amount.
    let again = Purchase {
        price: price("5.00"),
        ..all[0].clone()
    };
    let part = again.refund(Some(price("1.00")), at(3_000)).unwrap();
    assert_eq!(insert(fixture, &[again, part.clone()]).await, "ii");
    assert_eq!(get(fixture, &part.id).await, Some(part));
}

/// A refund is erased with the purchases of its user.
pub async fn a_refund_is_erased_with_its_purchase(fixture: &dyn EraseFixture) {
    let bought = purchase(900);
    let refund = bought.refund(None, at(2_000)).unwrap();
    let all = [bought, refund];
    assert_eq!(insert(fixture, &all).await, "ii");
    assert_eq!(erase(fixture, "user-0", 10).await, 2);
    assert_eq!(insert(fixture, &all).await, "ee");
    assert_eq!(state(fixture).await, (Vec::new(), Summary::default()));
}

/// Returns the port of the refunds that wait in `store`.
pub(super) fn waiting_refunds(store: &dyn PurchaseStore) -> &dyn WaitingRefunds {
    store
        .waiting_refunds()
        .expect("a store of `refund_suite!` has waiting refunds")
}

async fn summary_of_waiting(fixture: &dyn EraseFixture) -> WaitingSummary {
    let store = fixture.store().await;
    soon("summary", waiting_refunds(&*store).waiting_summary())
        .await
        .expect("summary")
}

/// Settles waiting refunds. Returns those that the store refuses, with the kind of their reason.
async fn settle(fixture: &dyn EraseFixture) -> Vec<(Purchase, ReasonKind)> {
    let store = fixture.store().await;
    let refused = soon("settle", waiting_refunds(&*store).apply_waiting(10))
        .await
        .expect("settle");
    refused
        .into_iter()
        .map(|entry| {
            let reason = entry.refusal.expect("a refused refund has a reason");
            (entry.refund.without_context(), reason.kind())
        })
        .collect()
}

/// Returns all entries, oldest first, and the summary of all. A scan finds the same entries.
async fn state(fixture: &dyn EraseFixture) -> (Vec<Purchase>, Summary) {
    let query = fixture.query().await;
    let request = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
    let page = soon("page", query.page(&Selector::All, &request))
        .await
        .expect("page");
    let summary = soon("summary", query.summary(&Selector::All))
        .await
        .expect("summary");
    let mut ids: Vec<_> = page.items.iter().map(|entry| entry.id).collect();
    ids.sort();
    assert_eq!(scanned(query).await, ids);
    (page.items, summary)
}
