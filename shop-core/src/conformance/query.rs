//! The tests of every [`PurchaseQuery`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::time::Instant;

use super::StoreFixture;
use super::fixture::{declared, soon, store_and_query};
use super::sample::{at, id, price, purchase, purchase_of, purchases};
use crate::ports::{
    Bucket, Cursor, ListOrder, Page, PageLimit, PageRequest, Period, PurchaseQuery,
    PurchaseQueryExt, PurchaseStore, Selector, TimeRange, Totals, TotalsRequest,
};
use crate::{ErrorKind, Purchase, Timestamp, Total};

pub use super::query_names::{
    a_reference_selects_its_purchases_only, names_are_ordered_by_their_bytes,
};

pub(super) async fn fill(store: &dyn PurchaseStore, purchases: &[Purchase]) {
    let outcomes = soon("insert", store.insert(purchases.into()))
        .await
        .expect("insert");
    assert_eq!(outcomes.len(), purchases.len());
}

async fn page(query: &dyn PurchaseQuery, selector: &Selector, request: &PageRequest) -> Page {
    soon("page", query.page(selector, request))
        .await
        .expect("page")
}

fn limit(count: u16) -> PageLimit {
    PageLimit::new(count).unwrap()
}

fn user(id: &str) -> Selector {
    Selector::User(id.parse().unwrap())
}

fn name(text: &str) -> Selector {
    Selector::Name(text.parse().unwrap())
}

/// All items of a listing, in pages of at most `count`, with the size of each page.
pub(super) async fn listed(
    query: &dyn PurchaseQuery,
    selector: &Selector,
    order: ListOrder,
    count: u16,
) -> (Vec<Purchase>, Vec<usize>) {
    /// More pages than any listing here has: one that never ends fails.
    const MAX_PAGES: usize = 5_000;
    let mut items = Vec::new();
    let mut sizes = Vec::new();
    let mut request = PageRequest::first(order, limit(count));
    for _ in 0..MAX_PAGES {
        let found = page(query, selector, &request).await;
        let next = found.next_cursor(&request).expect("the listing ends");
        sizes.push(found.items.len());
        items.extend(found.items);
        let Some(cursor) = next else {
            return (items, sizes);
        };
        request = request.with_cursor(cursor);
    }
    panic!("a listing has more than {MAX_PAGES} pages");
}

/// These selectors, and [`Selector::All`] if the backend supports it.
fn and_all(
    fixture: &dyn StoreFixture,
    selectors: impl IntoIterator<Item = Selector>,
) -> Vec<Selector> {
    let lists_everybody = declared(
        fixture.capabilities().lists_everybody,
        "listing of everybody's purchases",
    );
    selectors
        .into_iter()
        .chain(lists_everybody.then_some(Selector::All))
        .collect()
}

/// All purchases are listed and summed up, or denied.
pub async fn all_purchases_are_listed_or_unsupported(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    fill(&*store, &purchases(0..10)).await;
    let page = soon("page", query.page(&Selector::All, &PageRequest::default())).await;
    let summary = soon("summary", query.summary(&Selector::All)).await;
    if fixture.capabilities().lists_everybody {
        assert_eq!(page.expect("page").items.len(), 10);
        assert_eq!(summary.expect("summary").count, 10);
    } else {
        assert_eq!(page.expect_err("denied").kind(), ErrorKind::Denied);
        assert_eq!(summary.expect_err("denied").kind(), ErrorKind::Denied);
    }
}

/// A page contains purchases of its selector only.
pub async fn a_selector_matches_its_purchases_only(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    // One begins another, some are patterns, and two are the same character composed and
    // decomposed.
    let users = ["a", "b", "ab", "A", "a%", "a_", "a.*", "á", "a\u{301}"];
    let each = users.into_iter().cycle().zip(0..36);
    let mut all: Vec<_> = each
        .map(|(user, number)| purchase_of(user, number))
        .collect();
    // A name that is another user's id, and two users with one name.
    all[0].user_name = "b".parse().unwrap();
    all[1].user_name = "b".parse().unwrap();
    fill(&*store, &all).await;
    let names = users.map(|user| name(&format!("name of {user}")));
    let selectors = users
        .into_iter()
        .map(user)
        .chain(names)
        .chain([user("name of a"), name("b")]);
    for selector in and_all(fixture, selectors) {
        let expected: Vec<_> = all
            .iter()
            .filter(|purchase| selector.matches(purchase))
            .cloned()
            .collect();
        let (items, _) = listed(&*query, &selector, ListOrder::OldestFirst, 7).await;
        assert_eq!(items, expected, "{selector:?}");
    }
}

/// Pages are ordered by time and then by id, newest or oldest first.
pub async fn pages_are_ordered_both_ways(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    // The order of ids is opposite to that of times, and many purchases have the same time.
    let make = |number: u64| {
        let millis = i64::try_from((97 - number) / 5).unwrap();
        Purchase {
            timestamp: at(millis),
            ..purchase_of("u", number)
        }
    };
    let mut all: Vec<_> = (0..97).map(make).collect();
    fill(&*store, &all).await;
    all.sort_by_key(|purchase| (purchase.timestamp, purchase.id));
    let (oldest, _) = listed(&*query, &user("u"), ListOrder::OldestFirst, 10).await;
    assert_eq!(oldest, all);
    all.reverse();
    for selector in and_all(fixture, [user("u"), name("name of u")]) {
        let (newest, _) = listed(&*query, &selector, ListOrder::NewestFirst, 9).await;
        assert_eq!(newest, all, "{selector:?}");
    }
}

/// Purchases with the minimum and the maximum timestamp are listed in order.
pub async fn extreme_timestamps_are_ordered(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let times = [Timestamp::MIN, at(0), Timestamp::MAX];
    let make = |number: u64| Purchase {
        timestamp: times[usize::try_from(number / 4).unwrap()],
        ..purchase_of("u", number)
    };
    let mut all: Vec<_> = (0..12).map(make).collect();
    fill(&*store, &all).await;
    for order in [ListOrder::OldestFirst, ListOrder::NewestFirst] {
        for limit in [1, 3, 4, 100] {
            let (items, _) = listed(&*query, &user("u"), order, limit).await;
            assert_eq!(items, all, "{order:?} {limit}");
        }
        all.reverse();
    }
}

/// A page is filled up to its limit, and `next` is `None` exactly at the end.
pub async fn next_is_none_exactly_at_the_end(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let all: Vec<_> = (0..20).map(|number| purchase_of("u", number)).collect();
    fill(&*store, &all).await;
    for (count, sizes) in [
        (20, vec![20]),
        (10, vec![10, 10]),
        (19, vec![19, 1]),
        (7, vec![7, 7, 6]),
        (1_000, vec![20]),
    ] {
        let (items, found) = listed(&*query, &user("u"), ListOrder::NewestFirst, count).await;
        assert_eq!((items.len(), found), (20, sizes), "limit {count}");
    }
    let (none, sizes) = listed(&*query, &user("unknown"), ListOrder::NewestFirst, 10).await;
    assert_eq!((none.len(), sizes), (0, vec![0]));
}

/// Each page may have another limit.
pub async fn the_limit_may_change(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let all: Vec<_> = (0..20).map(|number| purchase_of("u", number)).collect();
    fill(&*store, &all).await;
    let mut request = PageRequest::first(ListOrder::OldestFirst, limit(3));
    let mut found = Vec::new();
    for count in [3, 1, 10, 5, 1] {
        request.limit = limit(count);
        let page = page(&*query, &user("u"), &request).await;
        assert_eq!(page.items.len(), usize::from(count));
        found.extend(page.items);
        request.cursor = page.next;
    }
    assert_eq!(found, all);
    assert_eq!(request.cursor, None);
}

/// A scan yields all purchases that were stored throughout, and none twice, under concurrent
/// inserts before, at and after its position.
pub async fn a_scan_yields_purchases_present_throughout(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    // Of every three purchases, one is stored at the start, and the others are inserted during the
    // scan.
    let of = |kind: u64| {
        (0..100)
            .map(move |number| purchase_of("u", number * 3 + kind))
            .collect::<Vec<_>>()
    };
    let before = of(1);
    fill(&*store, &before).await;
    for (order, during) in [
        (ListOrder::NewestFirst, of(0)),
        (ListOrder::OldestFirst, of(2)),
    ] {
        let mut request = PageRequest::first(order, limit(4));
        let mut seen = Vec::new();
        // From both ends inwards, so that some are before and some after the position of the scan.
        let (earlier, later) = during.split_at(50);
        let mut inserts = earlier.chunks(4).zip(later.rchunks(4));
        loop {
            let found = page(&*query, &user("u"), &request).await;
            seen.extend(found.items.iter().map(|purchase| purchase.id));
            if let Some((few, others)) = inserts.next() {
                fill(&*store, few).await;
                fill(&*store, others).await;
            }
            assert!(seen.len() <= 300, "the listing ends");
            let Some(cursor) = found.next else { break };
            request = request.with_cursor(cursor);
        }
        let ids: BTreeSet<_> = seen.iter().copied().collect();
        assert_eq!(ids.len(), seen.len(), "nothing twice");
        assert!(
            before.iter().all(|purchase| ids.contains(&purchase.id)),
            "purchases stored throughout"
        );
        assert!(
            seen.len() > before.len(),
            "some concurrent inserts are seen"
        );
    }
    let scanned: Vec<_> = Arc::clone(&query)
        .scan(user("u"), ListOrder::OldestFirst)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(scanned.len(), 300);
}

/// A cursor of another selector or order, or a forged one, is invalid.
pub async fn a_foreign_cursor_is_invalid(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    fill(&*store, &purchases(0..20)).await;
    let first = PageRequest::first(ListOrder::NewestFirst, limit(2));
    let cursor = page(&*query, &user("user-1"), &first)
        .await
        .next
        .expect("there are more");
    let of_another_order =
        PageRequest::first(ListOrder::OldestFirst, limit(2)).with_cursor(cursor.clone());
    let made_up = Cursor::from_text("bm9ib2R5IGdhdmUgdGhpcyBvdXQ".into());
    for (selector, request) in [
        (user("user-2"), first.clone().with_cursor(cursor.clone())),
        (name("user-1"), first.clone().with_cursor(cursor.clone())),
        (user("user-1"), of_another_order),
        (user("user-1"), first.clone().with_cursor(made_up)),
    ]
    .into_iter()
    .chain(
        and_all(fixture, [])
            .into_iter()
            .map(|all| (all, first.clone().with_cursor(cursor.clone()))),
    ) {
        let error = soon("page", query.page(&selector, &request))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{selector:?}: {error}");
    }
}

fn range(from: Option<i64>, to: Option<i64>) -> TimeRange {
    TimeRange::new(from.map(at), to.map(at)).unwrap()
}

/// A listing has the purchases from the start of its range to before its end, in both orders and
/// across pages.
pub async fn a_range_selects_by_time(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    // Two purchases at each millisecond from 0 to 9.
    let make = |number: u64| {
        let timestamp = at(i64::try_from(number / 2).unwrap());
        Purchase {
            timestamp,
            ..purchase_of(["a", "b"][usize::from(number % 4 == 3)], number)
        }
    };
    let mut all: Vec<_> = (0..20).map(make).collect();
    fill(&*store, &all).await;
    let ranges = [
        (None, None),
        (Some(3), Some(7)),
        (Some(0), Some(1)),
        (None, Some(5)),
        (Some(9), None),
        (Some(10), None),
    ];
    for order in [ListOrder::OldestFirst, ListOrder::NewestFirst] {
        for selector in and_all(fixture, [user("a"), name("name of b")]) {
            for ((from, to), count) in ranges
                .iter()
                .flat_map(|range| [(*range, 1), (*range, 3), (*range, 100)])
            {
                let range = range(from, to);
                let is_selected = |purchase: &&Purchase| {
                    selector.matches(purchase) && range.contains(purchase.timestamp)
                };
                let expected: Vec<_> = all.iter().filter(is_selected).cloned().collect();
                let request = PageRequest::first(order, limit(count)).with_range(range);
                let pages = Arc::clone(&query).pages(selector.clone(), request);
                let pages: Vec<_> = soon("pages", pages.try_collect()).await.expect("pages");
                let items: Vec<_> = pages.into_iter().flat_map(|page| page.items).collect();
                assert_eq!(items, expected, "{selector:?} {order:?} {range:?} {count}");
            }
        }
        all.reverse();
    }
}

/// A cursor of another range is invalid.
pub async fn a_cursor_belongs_to_its_range(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let all: Vec<_> = (0..20).map(|number| purchase_of("u", number)).collect();
    fill(&*store, &all).await;
    let first =
        PageRequest::first(ListOrder::OldestFirst, limit(2)).with_range(range(Some(5), Some(15)));
    let cursor = page(&*query, &user("u"), &first)
        .await
        .next
        .expect("a next page");
    for other in [
        range(None, None),
        range(Some(5), None),
        range(Some(5), Some(16)),
        range(Some(4), Some(15)),
    ] {
        let request = first.clone().with_range(other).with_cursor(cursor.clone());
        let error = soon("page", query.page(&user("u"), &request))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{other:?}: {error}");
    }
}

/// The exact totals of `purchases`, by the definition.
fn added_up<'a>(
    purchases: impl IntoIterator<Item = &'a Purchase>,
    request: TotalsRequest,
) -> Vec<Bucket> {
    let mut totals = Totals::new(request);
    for purchase in purchases {
        if request.range.contains(purchase.timestamp) {
            totals
                .add_purchase(purchase.timestamp, purchase.price)
                .unwrap();
        }
    }
    totals.into_buckets()
}

/// The minutes of an hour and of a day.
const MINUTES: [i64; 2] = [60, 24 * 60];

/// Purchases around the ends of hours, days and months, also before 1970, with prices that binary
/// numbers do not have.
fn around_ends_of_periods() -> Vec<Purchase> {
    let days = [-20_500, -20_457, -1, 0, 1, 30, 31, 58, 59, 400];
    let times = days.into_iter().flat_map(|day| {
        let minutes = [
            0,
            1,
            MINUTES[0] - 1,
            MINUTES[0],
            5 * MINUTES[0] + 30,
            MINUTES[1] - 1,
        ];
        minutes.map(|minute| (day * MINUTES[1] + minute) * 60_000)
    });
    let prices = ["0.1", "0.2", "29.99", "0.00000001", "1000000000000000"];
    let make = |(number, millis): (u64, i64)| Purchase {
        timestamp: at(millis - i64::from(number.is_multiple_of(3))),
        price: price(prices[usize::try_from(number % 5).unwrap()]),
        ..purchase_of(["a", "b"][usize::from(number.is_multiple_of(7))], number)
    };
    (0..).zip(times).map(make).collect()
}

/// The totals of a period are those of the purchases in it, exactly, and together the summary of
/// the range.
pub async fn totals_are_exact_per_period(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let all = around_ends_of_periods();
    fill(&*store, &all).await;
    let day = 24 * 60 * 60_000;
    for selector in and_all(fixture, [user("a"), name("name of b"), user("unknown")]) {
        for (from, to) in [
            (None, None),
            (Some(0), Some(31 * day)),
            (None, Some(1)),
            (Some(day + 1), None),
        ] {
            let range = range(from, to);
            let whole = TotalsRequest::new(range, Period::Whole);
            let selected: Vec<_> = all
                .iter()
                .filter(|purchase| selector.matches(purchase))
                .collect();
            for per in [Period::Whole, Period::Hour, Period::Day, Period::Month] {
                let request = TotalsRequest::new(range, per);
                let buckets = soon("totals", query.totals(&selector, &request))
                    .await
                    .expect("totals");
                assert_eq!(
                    buckets,
                    added_up(selected.iter().copied(), request),
                    "{selector:?} {request:?}"
                );
                let sum = buckets.iter().try_fold(Total::ZERO, |sum, bucket| {
                    sum.checked_add(bucket.summary.total_spent)
                });
                let expected = added_up(selected.iter().copied(), whole);
                assert_eq!(
                    sum.unwrap(),
                    expected
                        .first()
                        .map_or(Total::ZERO, |whole| whole.summary.total_spent)
                );
            }
        }
        let whole = query
            .totals(&selector, &TotalsRequest::default())
            .await
            .unwrap();
        let summary = query.summary(&selector).await.unwrap();
        assert_eq!(
            whole
                .first()
                .map(|bucket| bucket.summary)
                .unwrap_or_default(),
            summary
        );
    }
}

/// Hours, days and months begin in the zone of the request.
pub async fn totals_follow_the_zone(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let all = around_ends_of_periods();
    fill(&*store, &all).await;
    let mut days = BTreeSet::new();
    for zone in ["Z", "+05:30", "-03:00", "+00:01", "-23:59"] {
        for per in [Period::Hour, Period::Day, Period::Month] {
            let request = TotalsRequest::new(TimeRange::ALL, per).with_zone(zone.parse().unwrap());
            let buckets = soon("totals", query.totals(&user("a"), &request))
                .await
                .expect("totals");
            let of_user = all.iter().filter(|purchase| user("a").matches(purchase));
            assert_eq!(buckets, added_up(of_user, request), "{zone} {per:?}");
            days.extend(
                buckets
                    .into_iter()
                    .filter(|_| per == Period::Day)
                    .map(|bucket| bucket.from),
            );
        }
    }
    assert!(
        days.len() > 20,
        "the days of different zones begin at different times"
    );
}

/// Totals of more than 1,000 periods with purchases are invalid; 1,000 are not.
pub async fn too_many_buckets_are_invalid(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let hourly = |number: u64| {
        let timestamp = at(i64::try_from(number).unwrap() * 60 * 60_000);
        Purchase {
            timestamp,
            ..purchase_of("u", number)
        }
    };
    fill(&*store, &(0..1_001).map(hourly).collect::<Vec<_>>()).await;
    let request = |from| TotalsRequest::new(range(from, None), Period::Hour);
    let error = soon("totals", query.totals(&user("u"), &request(None)))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.context("field")),
        (ErrorKind::Invalid, Some("per")),
        "{error}"
    );
    assert_eq!(
        query
            .totals(&user("u"), &request(Some(1)))
            .await
            .unwrap()
            .len(),
        1_000
    );
    let days = query
        .totals(&user("u"), &TotalsRequest::new(TimeRange::ALL, Period::Day))
        .await
        .unwrap();
    assert_eq!(
        days.iter().map(|bucket| bucket.summary.count).sum::<u64>(),
        1_001
    );
}

/// Sums are exact, and include all purchases of their selector.
pub async fn sums_are_exact(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    let prices = ["0.1", "0.2", "1000000000000000", "0.00000001", "29.99"];
    let mut all = purchases(0..10);
    for (number, purchase) in all.iter_mut().enumerate() {
        purchase.price = price(prices[number % 5]);
        purchase.user_id = ["a", "b"][number / 5].parse().unwrap();
    }
    fill(&*store, &all).await;
    let exact: Total = "1000000000000030.29000001".parse().unwrap();
    let twice: Total = "2000000000000060.58000002".parse().unwrap();
    let everybody = and_all(fixture, []).into_iter().map(|all| (all, 10, twice));
    for (selector, count, total) in [(user("a"), 5, exact), (user("b"), 5, exact)]
        .into_iter()
        .chain(everybody)
    {
        let summary = soon("summary", query.summary(&selector))
            .await
            .expect("summary");
        assert_eq!(
            (summary.count, summary.total_spent),
            (count, total),
            "{selector:?}"
        );
    }
    let summary = query.summary(&name("name of user-0")).await.unwrap();
    assert_eq!(
        (summary.count, summary.total_spent),
        (2, "0.2".parse().unwrap())
    );
    // Very small sums are exact as well.
    for (user, text) in [("d", "0.00000001"), ("e", "0.00000000")] {
        fill(
            &*store,
            &[Purchase {
                price: price(text),
                ..purchase_of(user, u64::from(user.as_bytes()[0]))
            }],
        )
        .await;
        let summary = query.summary(&self::user(user)).await.unwrap();
        assert_eq!(
            (summary.count, summary.total_spent),
            (1, text.parse().unwrap())
        );
    }
    // A zero with decimals does not change a sum.
    let free = |number: u64, text: &str| Purchase {
        price: price(text),
        ..purchase_of("c", number)
    };
    fill(
        &*store,
        &[free(20, "5"), free(21, "0.00"), free(22, "0.000")],
    )
    .await;
    let summary = query.summary(&user("c")).await.unwrap();
    assert_eq!(
        (summary.count, summary.total_spent),
        (3, "5".parse().unwrap())
    );
    // The text does not depend on how a backend adds.
    let quarters: Vec<_> = (30..34)
        .map(|number| Purchase {
            price: price("1.25"),
            ..purchase_of("quarters", number)
        })
        .collect();
    fill(&*store, &quarters).await;
    let texts = [
        (user("quarters"), "5"),
        (user("c"), "5"),
        (user("e"), "0"),
        (user("b"), "1000000000000030.29000001"),
    ];
    for (selector, text) in texts {
        let summary = soon("summary", query.summary(&selector))
            .await
            .expect("summary");
        assert_eq!(summary.total_spent.to_string(), text, "{selector:?}");
    }
}

/// A scan of the whole store yields what was stored throughout, once, while more is stored.
pub async fn scan_batches_yield_everything_once(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    if and_all(fixture, []).is_empty() {
        return;
    }
    let before = purchases(0..2_500);
    for chunk in before.chunks(500) {
        fill(&*store, chunk).await;
    }
    let mut found = Vec::new();
    let mut batches = 0;
    let mut scan = std::pin::pin!(query.scan_batches());
    while let Some(batch) = soon("scan", scan.try_next()).await.expect("scan") {
        assert_eq!(batch.unreadable, []);
        found.extend(batch.purchases.into_iter().map(|purchase| purchase.id));
        batches += 1;
        assert!(batches < 100, "the scan ends");
        fill(&*store, &purchases(5_000 + batches..5_001 + batches)).await;
    }
    let unique: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!(unique.len(), found.len(), "nothing is yielded twice");
    assert!(
        before.iter().all(|purchase| unique.contains(&purchase.id)),
        "{} were yielded",
        found.len()
    );
}

/// A user without purchases has an empty page and a sum of zero.
pub async fn an_unknown_user_has_an_empty_summary(fixture: &dyn StoreFixture) {
    let query = fixture.query().await;
    for selector in and_all(fixture, [user("unknown"), name("unknown")]) {
        let summary = soon("summary", query.summary(&selector))
            .await
            .expect("summary");
        assert_eq!((summary.count, summary.total_spent), (0, Total::ZERO));
        let first = page(&*query, &selector, &PageRequest::default()).await;
        assert_eq!((first.items.len(), first.next), (0, None));
    }
}

/// A purchase is found by its id, and an unknown one is not.
pub async fn get_finds_by_id(fixture: &dyn StoreFixture) {
    let (store, query) = store_and_query(fixture).await;
    fill(&*store, &purchases(0..10)).await;
    for number in 0..10 {
        assert_eq!(
            query.get(&id(number)).await.unwrap(),
            Some(purchase(number))
        );
    }
    assert_eq!(query.get(&id(10)).await.unwrap(), None);
}

/// `wait_for` returns when the purchase is stored, or after the timeout.
pub async fn wait_for_returns_when_stored(fixture: &dyn StoreFixture) {
    /// Only a failing test waits as long.
    const LONG: Duration = Duration::from_secs(30);
    let (store, query) = store_and_query(fixture).await;
    let start = Instant::now();
    assert!(
        !soon("wait_for", query.wait_for(&id(0), Duration::ZERO))
            .await
            .unwrap()
    );
    assert!(
        !soon(
            "wait_for",
            query.wait_for(&id(0), Duration::from_millis(20))
        )
        .await
        .unwrap()
    );
    assert!(start.elapsed() >= Duration::from_millis(20));
    let insert = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        fill(&*store, &purchases(0..1)).await;
    };
    let awaited = id(0);
    let (stored, ()) = futures_util::future::join(query.wait_for(&awaited, LONG), insert).await;
    assert!(stored.unwrap());
    assert!(
        soon("wait_for", query.wait_for(&id(0), Duration::ZERO))
            .await
            .unwrap()
    );
    assert!(start.elapsed() < LONG, "the wait ends early");
}
