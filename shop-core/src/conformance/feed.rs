//! The tests of a [`PurchaseFeed`] over any log and any store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::fixture::soon;
use super::log_calls::{commit, positions, read};
use super::pipeline_calls::{GROUP, Running, publish};
use super::sample::{at, id, price, purchase_of, purchases};
use super::{LogFixture, StoreFixture};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::feed::{FeedCursor, FeedItem, FeedOptions, PurchaseFeed, Subscription};
use crate::log::{Batch, GroupPositions, LogRecord, LogSource, Offsets};
use crate::ports::Selector;
use crate::record::{decode, encode};
use crate::{Purchase, PurchaseId};

/// A feed that follows the test's group, with `faults` in its lookups.
async fn feed(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
    faults: &Faults,
    options: FeedOptions,
) -> PurchaseFeed {
    let admin = log.log().admin();
    let query = faults.query(store.query().await);
    let positions = GroupPositions {
        log: Arc::clone(&admin),
        group: log.group(GROUP).into(),
    };
    PurchaseFeed::with_options(admin, Arc::new(positions), query, options)
}

async fn default_feed(log: &dyn LogFixture, store: &dyn StoreFixture) -> PurchaseFeed {
    feed(log, store, &Faults::new(), FeedOptions::default()).await
}

async fn subscribe(
    feed: &PurchaseFeed,
    selector: &Selector,
    after: Option<&FeedCursor>,
) -> Subscription {
    soon("subscribe", feed.subscribe(selector.clone(), after))
        .await
        .expect("a subscription")
}

fn of(user: &str) -> Selector {
    Selector::User(user.parse().unwrap())
}

/// The next `count` purchases. Checks that those of each user are in their order.
async fn next(subscription: &mut Subscription, count: usize) -> Vec<FeedItem> {
    let mut items = Vec::new();
    let mut newest = BTreeMap::new();
    while items.len() < count {
        let item = soon("a purchase", subscription.next())
            .await
            .expect("the feed is open");
        let Purchase {
            user_id, timestamp, ..
        } = item.purchase.clone();
        let before = newest.insert(user_id, timestamp);
        assert!(
            before.is_none_or(|before| before < timestamp),
            "{:?} is not in order",
            item.purchase
        );
        items.push(item);
    }
    items
}

fn ids<'a>(purchases: impl IntoIterator<Item = &'a Purchase>) -> BTreeSet<PurchaseId> {
    purchases.into_iter().map(|purchase| purchase.id).collect()
}

/// Reads as many purchases as `expected` has, which are these.
async fn assert_next(subscription: &mut Subscription, expected: &[Purchase]) {
    let items = next(subscription, expected.len()).await;
    assert_eq!(ids(items.iter().map(|item| &item.purchase)), ids(expected));
}

/// Appends records that no sink has stored.
async fn append(log: &dyn LogFixture, purchases: &[Purchase]) {
    let writer = log.log().writer();
    for purchase in purchases {
        soon("append", writer.append(encode(purchase).unwrap()))
            .await
            .expect("append");
    }
}

/// The purchases in `batches`.
fn decoded(batches: &[Batch]) -> Vec<Purchase> {
    let decoded = batches.iter().flat_map(|batch| {
        batch
            .records
            .iter()
            .filter_map(|record| decode(record, &batch.partition).ok())
    });
    decoded.map(Purchase::without_context).collect()
}

/// Consumes `count` records, and stores those that are among `stored`.
async fn consume(
    source: &dyn LogSource,
    store: &dyn StoreFixture,
    count: usize,
    stored: &[Purchase],
) -> Vec<Batch> {
    let batches = read(source, count).await;
    let stored: Vec<_> = decoded(&batches)
        .into_iter()
        .filter(|it| stored.contains(it))
        .collect();
    drop(
        soon("insert", store.store().await.insert(stored.into()))
            .await
            .expect("insert"),
    );
    batches
}

/// The same, and passes them.
async fn ingest(
    source: &dyn LogSource,
    store: &dyn StoreFixture,
    count: usize,
    stored: &[Purchase],
) {
    let batches = consume(source, store, count, stored).await;
    commit(source, &positions(&batches)).await;
}

/// Every purchase is yielded once, in order per user, also when the log has duplicates.
pub async fn purchases_are_yielded_in_order_and_once(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
) {
    let running = Running::start(log, store, &Faults::new()).await;
    let feed = default_feed(log, store).await;
    let mut everything = subscribe(&feed, &Selector::All, None).await;
    let mut one = subscribe(&feed, &of("user-1"), None).await;
    let mut named = subscribe(
        &feed,
        &Selector::Name("name of user-1".parse().unwrap()),
        None,
    )
    .await;
    let all = purchases(0..60);
    for some in all.chunks(10) {
        publish(log, some).await;
        publish(log, &some[9..]).await;
    }
    assert_next(&mut everything, &all).await;
    publish(log, &purchases(60..65)).await;
    assert_next(&mut everything, &purchases(60..65)).await;
    let of_one: Vec<_> = (0..13)
        .map(|number| purchase_of("user-1", number * 5 + 1))
        .collect();
    for subscription in [&mut one, &mut named] {
        assert_next(subscription, &of_one).await;
    }
    running.end().await;
}

/// A record that was appended before the first subscription is yielded if ingest passes it after
/// that.
pub async fn records_in_flight_at_the_first_subscription_are_yielded(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
) {
    let all = purchases(0..300);
    let source = log.source(GROUP).await;
    append(log, &all[..5]).await;
    ingest(&*source, store, 5, &all).await;
    append(log, &all[5..]).await;
    let feed = default_feed(log, store).await;
    let mut everything = subscribe(&feed, &Selector::All, None).await;
    ingest(&*source, store, 295, &all).await;
    assert_next(&mut everything, &all[5..]).await;
}

/// While the store cannot be read, nothing is yielded or skipped, neither for an open subscription
/// nor for one that continues.
pub async fn an_error_of_the_store_skips_nothing(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    let source = log.source(GROUP).await;
    let feed = feed(log, store, &faults, FeedOptions::default().kept_records(0)).await;
    let mut everything = subscribe(&feed, &Selector::All, None).await;
    let start = everything.position();
    faults.always(Call::Query, Fault::unavailable());
    let all = purchases(0..40);
    append(log, &all).await;
    ingest(&*source, store, 40, &all).await;
    let failed = async |count: u64| {
        while faults.calls(Call::Query) < count {
            tokio::task::yield_now().await;
        }
    };
    soon("fail", failed(16)).await;
    let mut resumed = subscribe(&feed, &Selector::All, Some(&start)).await;
    faults.clear(Call::Query);
    assert_next(&mut everything, &all).await;
    for _ in 0..10 {
        faults.once(Call::Query, Fault::unavailable());
    }
    assert_next(&mut resumed, &all).await;
    let mut from_log = subscribe(&feed, &Selector::All, Some(&start)).await;
    assert_next(&mut from_log, &all).await;
}

/// More than 1,000 purchases that ingest has passed and the store does not have delay no other one,
/// and neither do records that are no purchases or have other content than the store.
pub async fn purchases_that_are_never_listed_delay_nothing(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
) {
    let source = log.source(GROUP).await;
    let feed = default_feed(log, store).await;
    let mut mine = subscribe(&feed, &of("u1"), None).await;
    let start = mine.position();
    let listed: Vec<_> = (0..5).map(|number| purchase_of("u1", number)).collect();
    append(log, &listed[..2]).await;
    let writer = log.log().writer();
    let never = (5..1_105).map(|number| encode(&purchase_of("u1", number)).unwrap());
    let never: Vec<_> = never.map(|record| writer.append(record)).collect();
    assert!(
        soon("append", join_all(never))
            .await
            .iter()
            .all(Result::is_ok)
    );
    append(
        log,
        &[Purchase {
            price: price("77"),
            ..listed[1].clone()
        }],
    )
    .await;
    let garbage = LogRecord::new(0, at(0), Some(Bytes::from_static(b"no purchase")));
    soon(
        "append",
        writer.append(garbage.with_key(Some(Bytes::from_static(b"u1")))),
    )
    .await
    .expect("append");
    append(log, &listed[2..]).await;
    ingest(&*source, store, 1_107, &listed).await;
    assert_next(&mut mine, &listed).await;
    for feed in [&feed, &default_feed(log, store).await] {
        let mut resumed = subscribe(feed, &of("u1"), Some(&start)).await;
        assert_next(&mut resumed, &listed).await;
    }
}

/// A subscription that continues at a cursor yields what was yielded after it, in this process and
/// in another one.
pub async fn a_cursor_yields_exactly_the_rest(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let source = log.source(GROUP).await;
    let first = default_feed(log, store).await;
    let mut everything = subscribe(&first, &Selector::All, None).await;
    let start = everything.position();
    let mut all = purchases(0..40);
    append(log, &all).await;
    ingest(&*source, store, 40, &all).await;
    let items = next(&mut everything, 40).await;
    let cursors: Vec<FeedCursor> = items
        .iter()
        .map(|item| item.cursor.to_string().parse().expect("a cursor"))
        .collect();
    let nothing_kept = feed(
        log,
        store,
        &Faults::new(),
        FeedOptions::default().kept_records(0),
    )
    .await;
    let another = default_feed(log, store).await;
    for (number, feed) in (40..).zip([&first, &nothing_kept, &another]) {
        let mut subscriptions = Vec::new();
        for yielded in [0_usize, 1, 13, 40] {
            let cursor = yielded.checked_sub(1).map_or(&start, |last| &cursors[last]);
            let before = ids(items[..yielded].iter().map(|item| &item.purchase));
            subscriptions.push((before, subscribe(feed, &Selector::All, Some(cursor)).await));
        }
        // Nothing is repeated before the next one.
        let later = purchases(number..number + 1);
        append(log, &later).await;
        ingest(&*source, store, 1, &later).await;
        all.extend(later);
        for (before, subscription) in &mut subscriptions {
            let rest: Vec<_> = all
                .iter()
                .filter(|purchase| !before.contains(&purchase.id))
                .cloned()
                .collect();
            assert_next(subscription, &rest).await;
        }
    }
}

/// Many new subscriptions at once yield nothing that was visible before, and look nothing up. Each
/// purchase is looked up once for all of them.
pub async fn a_new_subscription_yields_nothing_old(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    let source = log.source(GROUP).await;
    let feed = feed(log, store, &faults, FeedOptions::default()).await;
    let old: Vec<_> = (0..50).map(|number| purchase_of("u1", number)).collect();
    append(log, &old).await;
    ingest(&*source, store, 50, &old).await;
    let user = of("u1");
    let mut subscriptions = join_all((0..200).map(|_| subscribe(&feed, &user, None))).await;
    let new = [purchase_of("u1", 50), purchase_of("u1", 51)];
    append(log, &new).await;
    ingest(&*source, store, 2, &new).await;
    for subscription in &mut subscriptions {
        assert_next(subscription, &new).await;
    }
    assert_eq!(faults.calls(Call::Query), 2);
}

/// A subscription that is not read ends when its queue is full, and another one continues at its
/// cursor.
pub async fn a_slow_subscription_ends_and_continues(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
) {
    let source = log.source(GROUP).await;
    let feed = feed(log, store, &Faults::new(), FeedOptions::default().queue(2)).await;
    let mut slow = subscribe(&feed, &of("u1"), None).await;
    let mut other = subscribe(&feed, &of("u2"), None).await;
    let all: Vec<_> = (0..10).map(|number| purchase_of("u1", number)).collect();
    append(log, &all).await;
    ingest(&*source, store, 10, &all).await;
    let tail = soon("tail", log.log().admin().tail(&Offsets::new()))
        .await
        .expect("tail");
    let end: String = tail
        .end
        .iter()
        .map(|(partition, end)| format!(".{partition}-{end}"))
        .collect();
    let passed = async {
        while !other.position().to_string().ends_with(&end) {
            tokio::task::yield_now().await;
        }
    };
    soon("pass everything", passed).await;
    let mut items = Vec::new();
    while let Some(item) = soon("end", slow.next()).await {
        items.push(item);
    }
    assert_eq!(items.len(), 2, "the size of its queue");
    assert_eq!(
        slow.position(),
        items[1].cursor,
        "the position is that of the last yielded purchase"
    );
    let mut rest = subscribe(&feed, &of("u1"), Some(&items[1].cursor)).await;
    assert_next(&mut rest, &all[2..]).await;
    assert_eq!(items[0].purchase.id, id(0));
}

/// A partition that ingest does not pass, or whose look-ups take long, delays no other one, also
/// when it has more records than are kept for it. All of them are yielded later.
pub async fn a_partition_delays_no_other_one(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    let source = log.source(GROUP).await;
    let feed = feed(log, store, &faults, FeedOptions::default().held_records(1)).await;
    let mut everything = subscribe(&feed, &Selector::All, None).await;
    let mut all: Vec<_> = (0..300).map(|number| purchase_of("slow", number)).collect();
    all.extend((300..320).map(|number| purchase_of(&format!("user-{number}"), number)));
    append(log, &all).await;
    let batches = consume(&*source, store, 320, &all).await;
    let is_slow = |batch: &Batch| {
        decoded(std::slice::from_ref(batch))
            .iter()
            .any(|it| all[..300].contains(it))
    };
    let slow = batches
        .iter()
        .find(|batch| is_slow(batch))
        .expect("a batch")
        .partition
        .index;
    let (slow, others): (Vec<_>, Vec<_>) = batches
        .into_iter()
        .partition(|batch| batch.partition.index == slow);
    commit(&*source, &positions(&others)).await;
    assert_next(&mut everything, &decoded(&others)).await;
    faults.once(Call::Query, Fault::Delay(Duration::from_secs(3_600)));
    commit(&*source, &positions(&slow)).await;
    assert_next(&mut everything, &decoded(&slow)).await;
}
