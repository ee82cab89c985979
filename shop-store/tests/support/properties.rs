//! Properties of ranges and totals, for any purchases.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::sync::Arc;

use futures_util::TryStreamExt;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use shop_core::memory::InMemoryStore;
use shop_core::ports::{
    ListOrder, PageLimit, PageRequest, Period, PurchaseQuery, PurchaseQueryExt, PurchaseStore,
    Selector, TimeRange, TotalsRequest, UtcOffset,
};
use shop_core::{Purchase, Timestamp, Total};
use shop_store::embedded::{EmbeddedStore, EmbeddedStoreOptions};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Two months around the start of 1970, in milliseconds: periods before and after it.
const SPAN: i64 = 62 * 24 * 3_600_000;
/// Many purchases share a millisecond, an hour, or the end of a period.
const STEP: i64 = 600_000;

fn times() -> impl Strategy<Value = Timestamp> {
    let millis = prop_oneof![
        -SPAN..SPAN,
        (-SPAN / STEP..SPAN / STEP).prop_map(|step| step * STEP)
    ];
    millis.prop_map(|millis| Timestamp::from_millis(millis).unwrap())
}

/// Purchases of two users, some with the same time.
fn purchases() -> impl Strategy<Value = Vec<Purchase>> {
    let one = (
        any::<u128>(),
        times(),
        0..10_000_000_u64,
        0..2_usize,
        0..9_usize,
    );
    let made = one.prop_map(|(id, time, units, user, scale)| {
        let price = price(units, scale);
        let user = ["a", "b"][user];
        let id = Uuid::from_u128(id).to_string().parse().unwrap();
        Purchase::new(
            id,
            user.parse().unwrap(),
            "ada".parse().unwrap(),
            price.parse().unwrap(),
            time,
        )
    });
    prop::collection::vec(made, 0..40)
}

fn price(units: u64, scale: usize) -> String {
    let digits = format!("{units:0>width$}", width = scale + 1);
    let (whole, decimals) = digits.split_at(digits.len() - scale);
    if decimals.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{decimals}")
    }
}

fn ranges() -> impl Strategy<Value = TimeRange> {
    let bound = || prop::option::of(times());
    (bound(), bound()).prop_filter_map("the start is not before the end", |(from, to)| {
        TimeRange::new(from, to).ok()
    })
}

/// The count and the sum of `purchases`.
fn sum<'a>(purchases: impl Iterator<Item = &'a Purchase>) -> (u64, Total) {
    purchases.fold((0, Total::ZERO), |(count, sum), purchase| {
        (count + 1, sum.checked_add_price(purchase.price).unwrap())
    })
}

async fn check(
    store: &Arc<dyn PurchaseQuery>,
    all: &[Purchase],
    range: TimeRange,
    zone: UtcOffset,
) {
    let everybody = [
        Selector::User("a".parse().unwrap()),
        Selector::Name("ada".parse().unwrap()),
        Selector::All,
    ];
    for selector in everybody {
        let is_in =
            |purchase: &&Purchase| selector.matches(purchase) && range.contains(purchase.timestamp);
        let expected = sum(all.iter().filter(is_in));
        for per in [Period::Hour, Period::Day, Period::Month, Period::Whole] {
            let request = TotalsRequest::new(range, per).with_zone(zone);
            let buckets = store.totals(&selector, &request).await.unwrap();
            assert!(
                buckets.is_sorted_by(|one, next| one.to <= next.from),
                "{buckets:?}"
            );
            let mut together = (0, Total::ZERO);
            for bucket in &buckets {
                let of_bucket = TimeRange::new(Some(bucket.from), Some(bucket.to)).unwrap();
                let inside = all
                    .iter()
                    .filter(is_in)
                    .filter(|purchase| of_bucket.contains(purchase.timestamp));
                let inside = sum(inside);
                if per != Period::Whole {
                    assert_eq!(
                        (bucket.summary.count, bucket.summary.total_spent),
                        inside,
                        "{bucket:?}"
                    );
                }
                let total = together.1.checked_add(bucket.summary.total_spent).unwrap();
                together = (together.0 + bucket.summary.count, total);
            }
            assert_eq!(together, expected, "{per:?} of {selector:?} in {range:?}");
        }
        let limit = PageLimit::new(3).unwrap();
        let request = PageRequest::first(ListOrder::NewestFirst, limit).with_range(range);
        let listed: Vec<Purchase> = Arc::clone(store)
            .pages(selector.clone(), request)
            .try_fold(Vec::new(), async |mut listed, page| {
                listed.extend(page.items);
                Ok(listed)
            })
            .await
            .unwrap();
        let mut of_range: Vec<_> = all.iter().filter(is_in).cloned().collect();
        of_range.sort_by_key(|purchase| std::cmp::Reverse((purchase.timestamp, purchase.id)));
        assert_eq!(listed, of_range, "{selector:?} in {range:?}");
    }
}

#[test]
fn totals_are_those_of_the_pages_of_a_range() {
    let runtime = Runtime::new().unwrap();
    let zones = (-1_439..1_440_i16).prop_map(|minutes| UtcOffset::from_minutes(minutes).unwrap());
    let cases = (purchases(), prop::collection::vec((ranges(), zones), 4));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..Default::default()
    });
    let result = runner.run(&cases, |(mut all, requests)| {
        all.sort_by_key(|purchase| purchase.id);
        all.dedup_by_key(|purchase| purchase.id);
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let embedded = EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default())
                .await
                .unwrap();
            let memory = InMemoryStore::new();
            for store in [&embedded as &dyn PurchaseStore, &memory] {
                store.insert(all.clone().into()).await.unwrap();
            }
            for store in [
                Arc::new(embedded) as Arc<dyn PurchaseQuery>,
                Arc::new(memory),
            ] {
                for (range, zone) in &requests {
                    check(&store, &all, *range, *zone).await;
                }
            }
        });
        Ok(())
    });
    result.unwrap();
}
