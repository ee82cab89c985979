//! The tests of a [`PurchaseFeed`] over any log and any store. Those of its order and its cursors are
//! in [`events`](super::events).

use super::prelude::*;
use crate::feed::{FeedCursor, FeedOptions, PurchaseFeed, Subscription};
use crate::log::{GroupPositions, ScanEnd};
use crate::record::encode;

/// Returns a feed that follows the test's group, with `faults` in its lookups.
async fn feed(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
    faults: &Faults,
    options: FeedOptions,
) -> PurchaseFeed {
    let admin = log.log();
    let query = faults.query(store.query().await);
    let positions = GroupPositions {
        log: Arc::clone(&admin),
        group: log.group(GROUP).into(),
    };
    PurchaseFeed::with_options(admin, Arc::new(positions), query, options)
}

#[track_caller]
fn subscribe<'a>(
    feed: &'a PurchaseFeed,
    selector: &'a Selector,
    after: Option<&'a FeedCursor>,
) -> impl Future<Output = Subscription> + 'a {
    succeed(feed.subscribe(selector.clone(), after))
}

/// Reads as many purchases as `expected` has, which are these, those of each user in their order.
#[track_caller]
fn assert_next(subscription: &mut Subscription, expected: &[Purchase]) -> impl Future<Output = ()> {
    soon("the purchases of a feed", async move {
        let mut found = BTreeSet::new();
        let mut newest = BTreeMap::new();
        while found.len() < expected.len() {
            let purchase = subscription
                .next()
                .await
                .expect("the feed is open")
                .purchase;
            let before = newest.insert(purchase.user_id.clone(), purchase.timestamp);
            let is_in_order = before.is_none_or(|before| before < purchase.timestamp);
            assert!(is_in_order, "{purchase:?} is not in order");
            found.insert(purchase.id);
        }
        assert_eq!(found, ids_of(expected));
    })
}

/// Appends records that no sink has stored, one after the other.
async fn append_all(log: &dyn LogFixture, purchases: &[Purchase]) {
    for purchase in purchases {
        append(log, encode(purchase).unwrap()).await;
    }
}

/// Consumes `count` records, and stores those that are among `stored`.
async fn consume(
    source: &dyn LogSource,
    store: &dyn StoreFixture,
    count: usize,
    stored: &[Purchase],
) -> Vec<Batch> {
    let batches = read(source, count).await;
    let records = batches
        .iter()
        .flat_map(|batch| batch.records.iter().map(move |record| (record, batch)));
    let mut decoded: Vec<_> = records
        .filter_map(|(record, batch)| decode(record, &batch.partition).ok())
        .map(Purchase::without_context)
        .collect();
    decoded.retain(|purchase| stored.contains(purchase));
    insert(store, &decoded).await;
    batches
}

/// Consumes `count` records, stores those that are among `stored`, and passes all.
async fn ingest(
    source: &dyn LogSource,
    store: &dyn StoreFixture,
    count: usize,
    stored: &[Purchase],
) {
    let batches = consume(source, store, count, stored).await;
    commit(source, &positions(&batches)).await;
}

/// A record that was appended before the first subscription is yielded if ingest passes it after
/// that.
pub async fn records_in_flight_at_the_first_subscription_are_yielded(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
) {
    let all = purchases(0..300);
    let source = log.source(GROUP).await;
    append_all(log, &all[..5]).await;
    ingest(&*source, store, 5, &all).await;
    append_all(log, &all[5..]).await;
    let feed = feed(log, store, &Faults::new(), FeedOptions::default()).await;
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
    append_all(log, &all).await;
    ingest(&*source, store, 40, &all).await;
    let failed = async {
        while faults.calls(Call::Query) < 16 {
            tokio::task::yield_now().await;
        }
    };
    soon("the failure of lookups", failed).await;
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
    let [following, another] = [
        feed(log, store, &Faults::new(), FeedOptions::default()).await,
        feed(log, store, &Faults::new(), FeedOptions::default()).await,
    ];
    let buyer = of_user("u1");
    let mut mine = subscribe(&following, &buyer, None).await;
    let start = mine.position();
    let listed = purchases_of("u1", 0..5);
    append_all(log, &listed[..2]).await;
    let mut never_listed = purchases_of("u1", 5..1_105);
    never_listed.push(Purchase {
        price: price("77"),
        ..listed[1].clone()
    });
    let records = never_listed
        .iter()
        .map(|purchase| encode(purchase).unwrap());
    join_all(records.map(|record| append(log, record))).await;
    let garbage = LogRecord::new(0, at(0), Some("no purchase".into()));
    append(log, garbage.with_key(Some("u1".into()))).await;
    append_all(log, &listed[2..]).await;
    ingest(&*source, store, 1_107, &listed).await;
    assert_next(&mut mine, &listed).await;
    for feed in [&following, &another] {
        let mut resumed = subscribe(feed, &buyer, Some(&start)).await;
        assert_next(&mut resumed, &listed).await;
    }
}

/// Many new subscriptions at once yield nothing that was visible before, and look nothing up. Each
/// purchase is looked up once for all of them.
pub async fn a_new_subscription_yields_nothing_old(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    let source = log.source(GROUP).await;
    let feed = feed(log, store, &faults, FeedOptions::default()).await;
    let all = purchases_of("u1", 0..52);
    let (old, new) = all.split_at(50);
    append_all(log, old).await;
    ingest(&*source, store, 50, old).await;
    let buyer = of_user("u1");
    let subscriptions = (0..200).map(|_| subscribe(&feed, &buyer, None));
    let mut subscriptions = join_all(subscriptions).await;
    append_all(log, new).await;
    ingest(&*source, store, 2, new).await;
    for subscription in &mut subscriptions {
        assert_next(subscription, new).await;
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
    let buyer = of_user("u1");
    let mut slow = subscribe(&feed, &buyer, None).await;
    let other = of_user("u2");
    let mut other = subscribe(&feed, &other, None).await;
    let all = purchases_of("u1", 0..10);
    append_all(log, &all).await;
    ingest(&*source, store, 10, &all).await;
    let tail = succeed(log.log().scan(&Offsets::new(), ScanEnd::Never)).await;
    let ends = tail
        .end
        .iter()
        .map(|(partition, end)| format!(".{partition}-{end}"));
    let end: String = ends.collect();
    let passed = async {
        while !other.position().to_string().ends_with(&end) {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the log", passed).await;

    assert_next(&mut slow, &all[..2]).await;
    assert!(
        soon("the end", slow.next()).await.is_none(),
        "its queue is full"
    );
    let mut rest = subscribe(&feed, &buyer, Some(&slow.position())).await;
    assert_next(&mut rest, &all[2..]).await;
}

/// A partition that ingest does not pass, or whose look-ups take long, delays no other one, also
/// when it has more records than are kept for it. All of them are yielded later.
pub async fn a_partition_delays_no_other_one(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    let source = log.source(GROUP).await;
    let feed = feed(log, store, &faults, FeedOptions::default().held_records(1)).await;
    let mut everything = subscribe(&feed, &Selector::All, None).await;
    let mut all = purchases_of("slow", 0..300);
    all.extend((300..320).map(|number| purchase_of(&format!("user-{number}"), number)));
    append_all(log, &all).await;
    let batches = consume(&*source, store, 320, &all).await;
    let is_slow = |batch: &&Batch| ids(std::slice::from_ref(batch)).contains(&id(0));
    let slow = batches
        .iter()
        .find(is_slow)
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
