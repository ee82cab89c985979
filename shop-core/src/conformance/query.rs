//! The tests of every [`PurchaseQuery`].

use tokio::time::Instant;
use uuid::Uuid;

use super::prelude::*;
use crate::Details;
use crate::ports::{Bucket, Cursor, Page, Totals};

fn limit(count: u16) -> PageLimit {
    PageLimit::new(count).unwrap()
}

fn range(from: Option<i64>, to: Option<i64>) -> TimeRange {
    TimeRange::new(from.map(at), to.map(at)).unwrap()
}

/// Returns all items of a listing, in pages of at most `count`, with the size of each page.
#[track_caller]
fn pages(
    query: &Arc<dyn PurchaseQuery>,
    selector: &Selector,
    first: PageRequest,
) -> impl Future<Output = (Vec<Purchase>, Vec<usize>)> {
    succeed(async move {
        let pages: Vec<Page> = Arc::clone(query)
            .pages(selector.clone(), first)
            .try_collect()
            .await?;
        let sizes = pages.iter().map(|page| page.items.len()).collect();
        let items = pages.into_iter().flat_map(|page| page.items).collect();
        Ok((items, sizes))
    })
}

/// Returns these selectors, and [`Selector::All`] if the backend supports it.
fn and_all(
    fixture: &dyn StoreFixture,
    selectors: impl IntoIterator<Item = Selector>,
) -> Vec<Selector> {
    let lists_everybody = declared(
        fixture.capabilities().lists_everybody,
        "listing of everybody's purchases",
    );
    let all = lists_everybody.then_some(Selector::All);
    selectors.into_iter().chain(all).collect()
}

/// Pages, sums and totals are those of the purchases of a selector only, and empty without any. The
/// purchases of everybody are denied if the backend does not list them.
pub async fn a_selector_matches_its_purchases_only(fixture: &dyn StoreFixture) {
    // One begins another, some are patterns, and two are the same character composed and
    // decomposed.
    let users = ["a", "b", "ab", "A", "a%", "a_", "a.*", "á", "a\u{301}"];
    let references = ["order-7", "ORDER-7", "order-70"];
    let mut all = Vec::new();
    for (number, user) in (0..36).zip(users.into_iter().cycle()) {
        let mut purchase = purchase_of(user, number);
        if number < 30 {
            let reference = references[usize::try_from(number / 3 % 3).unwrap()];
            purchase.details.reference = Some(reference.parse().unwrap());
        }
        all.push(purchase);
    }
    // A name that is another user's id, and two users with one name.
    all[0].user_name = "b".parse().unwrap();
    all[1].user_name = "b".parse().unwrap();
    insert(fixture, &all).await;

    let mut selectors = vec![
        of_user("name of a"),
        of_user("unknown"),
        of_name("b"),
        of_name("unknown"),
    ];
    for user in users {
        selectors.push(of_user(user));
        selectors.push(of_name(&format!("name of {user}")));
    }
    for (reference, of) in [
        ("order-7", None),
        ("order-7", Some("b")),
        ("order-7", Some("c")),
        ("order", None),
    ] {
        selectors.push(Selector::Reference(
            reference.parse().unwrap(),
            of.map(user),
        ));
    }
    let query = fixture.query().await;
    for selector in and_all(fixture, selectors) {
        assert_listed(&query, &selector, &selected(&all, &selector)).await;
    }
    if !fixture.capabilities().lists_everybody {
        let page = fail(query.page(&Selector::All, &PageRequest::default())).await;
        let summary = fail(query.summary(&Selector::All)).await;
        assert_eq!([page.kind(), summary.kind()], [ErrorKind::Denied; 2]);
    }
}

/// Pages are ordered by time, from the minimum to the maximum timestamp, and then by id, newest or
/// oldest first. They have the purchases from the start of the range to before its end. Each is
/// filled up to its limit, which may change, and `next` is `None` exactly at the end.
pub async fn pages_are_ordered_both_ways(fixture: &dyn StoreFixture) {
    // The order of ids is opposite to that of times, and four purchases have the same time.
    let times = [Timestamp::MAX, at(2), at(1), at(0), Timestamp::MIN];
    let mut all = purchases_of("u", 0..20);
    for (four, time) in all.chunks_mut(4).zip(times) {
        for purchase in four {
            purchase.timestamp = time;
        }
    }
    insert(fixture, &all).await;
    insert(fixture, &[purchase_of("other", 20)]).await;
    all.sort_by_key(|purchase| (purchase.timestamp, purchase.id));
    let query = fixture.query().await;
    for order in [ListOrder::OldestFirst, ListOrder::NewestFirst] {
        for (from, to) in [
            (None, None),
            (Some(0), Some(2)),
            (Some(1), Some(2)),
            (None, Some(1)),
            (Some(2), None),
            (Some(3), Some(4)),
        ] {
            let range = range(from, to);
            let mut expected = all.clone();
            expected.retain(|purchase| range.contains(purchase.timestamp));
            for selector in [of_user("u"), of_name("name of u")] {
                for count in [1, 3, 4, 19, 20, 1_000] {
                    let first = PageRequest::first(order, limit(count)).with_range(range);
                    let (items, sizes) = pages(&query, &selector, first).await;
                    assert_eq!(items, expected, "{selector:?} {order:?} {range:?} {count}");
                    let full_and_last = expected.chunks(count.into()).map(<[_]>::len);
                    let is_filled = sizes == [0] || full_and_last.eq(sizes);
                    assert!(is_filled, "{selector:?} {order:?} {range:?} {count}");
                }
            }
        }

        let mut request = PageRequest::first(order, limit(3));
        let mut rest = &all[..];
        for count in [3, 1, 10, 5, 1] {
            request.limit = limit(count);
            let page = succeed(query.page(&of_user("u"), &request)).await;
            let (expected, later) = rest.split_at(count.into());
            assert_eq!(page.items, expected);
            rest = later;
            request.cursor = page.next;
        }
        assert_eq!(request.cursor, None);
        all.reverse();
    }
}

/// A scan yields all purchases that were stored throughout, and none twice, under concurrent
/// inserts before, at and after its position.
pub async fn a_scan_yields_purchases_present_throughout(fixture: &dyn StoreFixture) {
    // Of every three purchases, one is stored at the start, and the others are inserted during the
    // scan.
    let of = |kind: u64| -> Vec<Purchase> {
        (0..100)
            .map(|number| purchase_of("u", number * 3 + kind))
            .collect()
    };
    let before = of(1);
    insert(fixture, &before).await;
    let query = fixture.query().await;
    for (order, during) in [
        (ListOrder::NewestFirst, of(0)),
        (ListOrder::OldestFirst, of(2)),
    ] {
        // From both ends inwards, so that some are before and some after the position of the scan.
        let (earlier, later) = during.split_at(50);
        let mut inserts = earlier.chunks(4).zip(later.rchunks(4));
        let first = PageRequest::first(order, limit(4));
        let mut scan = std::pin::pin!(Arc::clone(&query).pages(of_user("u"), first));
        let mut seen = Vec::new();
        while let Some(page) = succeed(scan.try_next()).await {
            seen.extend(page.items.iter().map(|purchase| purchase.id));
            assert!(seen.len() <= 300, "the listing ends");
            if let Some((few, others)) = inserts.next() {
                insert(fixture, few).await;
                insert(fixture, others).await;
            }
        }
        let ids: BTreeSet<_> = seen.iter().copied().collect();
        assert_eq!(ids.len(), seen.len(), "nothing twice");
        assert!(
            ids.is_superset(&ids_of(&before)),
            "purchases stored throughout"
        );
        assert!(ids.len() > before.len(), "some concurrent inserts are seen");
    }
    assert_eq!(listed(&query, &of_user("u")).await.len(), 300);
}

/// A cursor of another selector, order or range, or a forged one, is invalid.
pub async fn a_foreign_cursor_is_invalid(fixture: &dyn StoreFixture) {
    insert(fixture, &purchases_of("u", 0..20)).await;
    let query = fixture.query().await;
    let first =
        PageRequest::first(ListOrder::NewestFirst, limit(2)).with_range(range(Some(5), Some(15)));
    let page = succeed(query.page(&of_user("u"), &first)).await;
    let next = first.with_cursor(page.next.expect("there are more"));
    let made_up = Cursor::from_text("bm9ib2R5IGdhdmUgdGhpcyBvdXQ".into());
    let oldest_first = PageRequest {
        order: ListOrder::OldestFirst,
        ..next.clone()
    };
    let mut foreign = vec![
        (of_user("u"), next.clone().with_cursor(made_up)),
        (of_user("u"), oldest_first),
    ];
    for selector in and_all(fixture, [of_user("other"), of_name("u")]) {
        foreign.push((selector, next.clone()));
    }
    for (from, to) in [
        (None, None),
        (Some(5), None),
        (Some(5), Some(16)),
        (Some(4), Some(15)),
    ] {
        foreign.push((of_user("u"), next.clone().with_range(range(from, to))));
    }
    for (selector, request) in foreign {
        let error = fail(query.page(&selector, &request)).await;
        assert_eq!(
            error.kind(),
            ErrorKind::Invalid,
            "{selector:?}: {request:?}"
        );
    }
}

/// Returns the exact totals of `purchases`, by the definition.
fn added_up(purchases: &[Purchase], request: TotalsRequest) -> Vec<Bucket> {
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

/// Returns purchases around the ends of hours, days and months, also before 1970, with prices that
/// binary numbers do not have, and one that is free and has decimals.
fn around_ends_of_periods() -> Vec<Purchase> {
    const HOUR: i64 = 60;
    const DAY: i64 = 24 * HOUR;
    let prices = ["0.1", "0.2", "29.99", "0.00000001", "1000000000000000"];
    let mut all = Vec::new();
    for day in [-20_500, -20_457, -1, 0, 1, 30, 31, 58, 59, 400] {
        for minute in [0, 1, HOUR - 1, HOUR, 5 * HOUR + 30, DAY - 1] {
            let number = all.len();
            let millis = (day * DAY + minute) * 60_000 - i64::from(number.is_multiple_of(3));
            let buyer = if number.is_multiple_of(7) { "b" } else { "a" };
            all.push(Purchase {
                timestamp: at(millis),
                price: price(prices[number % 5]),
                ..purchase_of(buyer, number as u64)
            });
        }
    }
    all.push(Purchase {
        price: price("0.00000000"),
        ..purchase_of("free", 60)
    });
    all
}

/// The totals of a period are those of the purchases in it, exactly, and together the summary of
/// the range. Hours, days and months begin in the zone of the request.
pub async fn totals_are_exact_per_period(fixture: &dyn StoreFixture) {
    const DAY: i64 = 24 * 60 * 60_000;
    let all = around_ends_of_periods();
    insert(fixture, &all).await;
    let query = fixture.query().await;
    let of_utc = [
        range(None, None),
        range(Some(0), Some(31 * DAY)),
        range(None, Some(1)),
        range(Some(DAY + 1), None),
    ];
    let of_zones = ["+05:30", "-03:00", "+00:01", "-23:59"].map(|zone| (TimeRange::ALL, zone));
    let requests = of_utc.map(|range| (range, "Z")).into_iter().chain(of_zones);
    let mut starts_of_days = BTreeSet::new();
    for (range, zone) in requests {
        for selector in and_all(
            fixture,
            [of_user("a"), of_name("name of b"), of_user("free")],
        ) {
            let mut expected = selected(&all, &selector);
            let summary = succeed(query.summary(&selector)).await;
            assert_eq!(summary, summary_of(&expected), "{selector:?}");
            expected.retain(|purchase| range.contains(purchase.timestamp));
            for per in [Period::Whole, Period::Hour, Period::Day, Period::Month] {
                let request = TotalsRequest::new(range, per).with_zone(zone.parse().unwrap());
                let buckets = succeed(query.totals(&selector, &request)).await;
                assert_eq!(
                    buckets,
                    added_up(&expected, request),
                    "{selector:?} {request:?}"
                );
                let mut sum = Summary::default();
                for bucket in &buckets {
                    sum = sum.checked_add(bucket.summary).unwrap();
                }
                assert_eq!(sum, summary_of(&expected), "{selector:?} {request:?}");
                if per == Period::Day {
                    starts_of_days.extend(buckets.iter().map(|bucket| bucket.from));
                }
            }
        }
    }
    assert!(starts_of_days.len() > 20, "days begin at different times");
}

/// Totals of more than 1,000 periods with purchases are invalid; 1,000 are not.
pub async fn too_many_buckets_are_invalid(fixture: &dyn StoreFixture) {
    let hourly = |number: u64| Purchase {
        timestamp: at(number.cast_signed() * 60 * 60_000),
        ..purchase_of("u", number)
    };
    let all: Vec<_> = (0..1_001).map(hourly).collect();
    insert(fixture, &all).await;
    let query = fixture.query().await;
    let hours_from = |from| TotalsRequest::new(range(from, None), Period::Hour);
    let error = fail(query.totals(&of_user("u"), &hours_from(None))).await;
    assert_eq!(
        (error.kind(), error.context("field")),
        (ErrorKind::Invalid, Some("per")),
        "{error}"
    );
    assert_eq!(
        succeed(query.totals(&of_user("u"), &hours_from(Some(1))))
            .await
            .len(),
        1_000
    );
    let per_day = TotalsRequest::new(TimeRange::ALL, Period::Day);
    let days = succeed(query.totals(&of_user("u"), &per_day)).await;
    assert_eq!(days, added_up(&all, per_day));
}

/// A scan of the whole store yields what was stored throughout, once, while more is stored.
pub async fn scan_batches_yield_everything_once(fixture: &dyn StoreFixture) {
    if and_all(fixture, []).is_empty() {
        return;
    }
    let before = purchases(0..2_500);
    for chunk in before.chunks(500) {
        insert(fixture, chunk).await;
    }
    let query = fixture.query().await;
    let mut found = Vec::new();
    let mut batches = 0;
    let mut scan = std::pin::pin!(query.scan_batches());
    while let Some(batch) = succeed(scan.try_next()).await {
        assert_eq!(batch.unreadable, []);
        found.extend(batch.purchases.into_iter().map(|purchase| purchase.id));
        batches += 1;
        assert!(batches < 100, "the scan ends");
        insert(fixture, &[purchase(5_000 + batches)]).await;
    }
    let unique: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!(unique.len(), found.len(), "nothing is yielded twice");
    assert!(
        unique.is_superset(&ids_of(&before)),
        "{} were yielded",
        found.len()
    );
}

/// A page and a batch of a scan end with the purchase with which their unknown members have 4 MiB,
/// and are not shorter than that. So memory does not depend on what is in the purchases.
pub async fn pages_and_batches_end_by_their_bytes(fixture: &dyn StoreFixture) {
    const BYTES_EACH: usize = 50_000;
    let more = format!(r#"{{"gift":"{}"}}"#, "x".repeat(BYTES_EACH));
    let mut all = purchases_of("u", 0..100);
    // Most rows of the second page are short again.
    for (number, purchase) in all.iter_mut().enumerate() {
        if !(90..98).contains(&number) {
            purchase.details = Details::from_json(more.as_bytes(), &[]).unwrap();
        }
        purchase.timestamp = at(number as i64);
    }
    for chunk in all.chunks(20) {
        insert(fixture, chunk).await;
    }
    if !declared(
        fixture.capabilities().unknown_members,
        "unknown members in a listing",
    ) {
        return;
    }
    let query = fixture.query().await;
    let unknown_bytes = |items: &[Purchase]| -> usize {
        items.iter().map(|item| item.details.unknown_bytes()).sum()
    };

    for order in [ListOrder::OldestFirst, ListOrder::NewestFirst] {
        for selector in and_all(fixture, [of_user("u"), of_name("name of u")]) {
            let first = PageRequest::first(order, PageLimit::MAX);
            let mut pages = std::pin::pin!(Arc::clone(&query).pages(selector, first));
            let mut lengths = Vec::new();
            let mut items = Vec::new();
            while let Some(page) = succeed(pages.try_next()).await {
                let (_last, before) = page.items.split_last().expect("a page is not empty");
                assert!(unknown_bytes(before) < Page::MAX_UNKNOWN_BYTES, "it ended");
                let is_full = unknown_bytes(&page.items) >= Page::MAX_UNKNOWN_BYTES;
                assert_eq!(page.next.is_some(), is_full, "it is filled");
                lengths.push(page.items.len());
                items.extend(page.items);
            }
            if order == ListOrder::NewestFirst {
                items.reverse();
            }
            assert_eq!(items, all, "{order:?}");
            assert_eq!(lengths.len(), 2, "{order:?}: {lengths:?}");
        }
    }

    if and_all(fixture, []).is_empty() {
        return;
    }
    let mut scanned = Vec::new();
    let mut scan = std::pin::pin!(query.scan_batches());
    while let Some(batch) = succeed(scan.try_next()).await {
        assert!(unknown_bytes(&batch.purchases) < 3 * Page::MAX_UNKNOWN_BYTES);
        scanned.extend(batch.purchases);
    }
    scanned.sort_by_key(|purchase| purchase.timestamp);
    assert_eq!(scanned, all);
}

/// `wait_for` returns when the purchase is stored, or after the timeout.
pub async fn wait_for_returns_when_stored(fixture: &dyn StoreFixture) {
    /// Only a failing test waits as long.
    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(20);
    let query = fixture.query().await;
    let start = Instant::now();
    assert!(!succeed(query.wait_for(&id(0), Duration::ZERO)).await);
    assert!(!succeed(query.wait_for(&id(0), SHORT)).await);
    assert!(start.elapsed() >= SHORT);
    let insert_later = async {
        tokio::time::sleep(SHORT).await;
        insert(fixture, &[purchase(0)]).await;
    };
    let awaited = id(0);
    let (is_stored, ()) = tokio::join!(succeed(query.wait_for(&awaited, LONG)), insert_later);
    assert!(is_stored);
    assert!(succeed(query.wait_for(&id(0), Duration::ZERO)).await);
    assert!(start.elapsed() < LONG, "the wait ends early");
}

/// Each step leads to the least name that is not less than a text, in the order of bytes.
pub async fn names_are_ordered_by_their_bytes(fixture: &dyn StoreFixture) {
    let query = fixture.query().await;
    let user_names = query.info().user_names;
    declared(user_names.is_some(), "finding the names of the users");
    let Some(user_names) = user_names else {
        return;
    };
    let first = succeed(user_names.next_name("")).await;
    assert_eq!(first, None, "the store is empty");
    // None has a character from U+E000 to U+FFFF: servers that only speak MongoDB's protocol sort
    // these after 😀.
    let mut names = [
        "ada", "Ada", "ada b", "ad", "adz", "Zoë", "Zoe", "ädä", "名前", "😀", "%_", "5",
    ];
    // Each name has several purchases, one of them two users.
    let mut all = purchases_of("u", 0..36);
    for (purchase, name) in all.iter_mut().zip(names.iter().cycle()) {
        purchase.user_name = name.parse().unwrap();
    }
    all[names.len()].user_id = user("v");
    insert(fixture, &all).await;
    names.sort_unstable();

    let next = async |from: &str| succeed(user_names.next_name(from)).await;
    let mut found = Vec::new();
    let mut from = String::new();
    while let Some(name) = next(&from).await {
        // No name has a control character.
        from = format!("{name}\u{1}");
        found.push(name);
        assert!(found.len() <= names.len(), "the names end: {found:?}");
    }
    assert_eq!(found, names);
    for (from, name) in [
        ("ada", Some("ada")),
        ("Adb", Some("Zoe")),
        ("adaa", Some("adz")),
        ("😁", None),
    ] {
        assert_eq!(next(from).await.as_deref(), name, "{from}");
    }
}

/// A store that keeps how imported files were read keeps the last reading of each file, also for
/// the next process that opens it. Listings and sums do not contain the files.
pub async fn the_last_reading_of_a_file_is_kept(fixture: &dyn StoreFixture) {
    let mut query = fixture.query().await;
    declared(
        query.info().imported_files.is_some(),
        "keeping how imported files were read",
    );
    let [first, second] = [1, 2].map(Uuid::from_u128);
    {
        let Some(files) = query.info().imported_files else {
            return;
        };
        assert_eq!(succeed(files.last_reading(first, None)).await, None);
        for (file, reading) in [(first, "a"), (second, "b"), (first, "c")] {
            let kept = succeed(files.last_reading(file, Some(reading))).await;
            assert_eq!(kept.as_deref(), Some(reading));
        }
    }

    let reopened = soon("reopen", fixture.reopen()).await;
    if let Some(reopened) = &reopened {
        query = reopened.query().await;
    }
    let Some(files) = query.info().imported_files else {
        panic!("the next process does not keep imported files");
    };
    assert_eq!(succeed(files.last_reading(first, None)).await.unwrap(), "c");
    assert_eq!(
        succeed(files.last_reading(second, None)).await.unwrap(),
        "b"
    );
    assert_listed(&query, &Selector::All, &[]).await;
}
