//! Tests of the feed on the log and the store in memory, in paused time. The kit has those of all
//! logs and stores.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout};

use super::{FeedCursor, FeedOptions, PurchaseFeed, Subscription};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::{IngestPositions, LogRecord, Offsets};
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use crate::ports::{PurchaseSink, PurchaseStore, Selector};
use crate::{ErrorKind, Purchase, Result, Timestamp};

/// Positions as a test sets them.
#[async_trait]
impl IngestPositions for Mutex<Offsets> {
    async fn positions(&self) -> Result<Offsets> {
        Ok(self.lock().unwrap().clone())
    }
}

#[derive(Default)]
struct Fixture {
    log: InMemoryLog,
    store: InMemoryStore,
    /// The faults of look-ups in the store.
    faults: Faults,
    positions: Arc<Mutex<Offsets>>,
}

fn purchase(number: u64) -> Purchase {
    let id = format!("018f0000-0000-7000-8000-{number:012}")
        .parse()
        .unwrap();
    let time = Timestamp::from_millis(1_700_000_000_000).unwrap();
    Purchase::new(
        id,
        "u1".parse().unwrap(),
        "ada".parse().unwrap(),
        "1.50".parse().unwrap(),
        time,
    )
}

impl Fixture {
    fn with_partitions(count: u32) -> Self {
        Self {
            log: InMemoryLog::new(InMemoryLogOptions::default().partitions(count)),
            ..Self::default()
        }
    }

    fn feed(&self, options: FeedOptions) -> PurchaseFeed {
        let log = Arc::new(self.log.clone());
        let store = self.faults.query(Arc::new(self.store.clone()));
        PurchaseFeed::with_options(log, Arc::clone(&self.positions) as _, store, options)
    }

    async fn buy(&self, purchase: &Purchase) {
        let position = self
            .log
            .sink()
            .publish(purchase)
            .await
            .unwrap()
            .position
            .unwrap();
        self.store
            .insert(Arc::from([purchase.clone()]))
            .await
            .unwrap();
        self.positions
            .lock()
            .unwrap()
            .insert(position.partition, position.offset + 1);
    }
}

/// The next purchase. The time is paused: it waits for nothing that happens by itself.
async fn next(subscription: &mut Subscription) -> Option<Purchase> {
    Some(
        timeout(Duration::from_secs(600), subscription.next())
            .await
            .ok()??
            .purchase,
    )
}

async fn assert_next(subscription: &mut Subscription, number: u64) {
    assert_eq!(next(subscription).await, Some(purchase(number)));
}

async fn subscribe_all(feed: &PurchaseFeed, after: Option<&FeedCursor>) -> Subscription {
    feed.subscribe(Selector::All, after).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_cursor_may_be_ahead_of_the_known_positions() {
    let fixture = Fixture::default();
    let feed = fixture.feed(FeedOptions::default());
    let mut first = subscribe_all(&feed, None).await;
    fixture.buy(&purchase(1)).await;
    let cursor = first.next().await.unwrap().cursor;
    let positions = std::mem::take(&mut *fixture.positions.lock().unwrap());
    let another = fixture.feed(FeedOptions::default());
    let mut behind = subscribe_all(&another, Some(&cursor)).await;
    assert_eq!(next(&mut behind).await, None);
    *fixture.positions.lock().unwrap() = positions;
    fixture.buy(&purchase(2)).await;
    assert_next(&mut behind, 2).await;
    let ahead = cursor.to_string().replace(".0-1", ".0-9").parse().unwrap();
    let refused = feed
        .subscribe(Selector::All, Some(&ahead))
        .await
        .unwrap_err();
    assert_eq!(
        refused.kind(),
        ErrorKind::Expired,
        "the log does not have these records"
    );
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_limited() {
    let fixture = Fixture::default();
    let feed = fixture.feed(FeedOptions::default().max_subscriptions(1).max_catch_up(3));
    let mut first = subscribe_all(&feed, None).await;
    let start = first.position();
    let refused = feed.subscribe(Selector::All, None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    for number in 1..=4 {
        fixture.buy(&purchase(number)).await;
        assert_next(&mut first, number).await;
    }
    drop(first);
    let lost = feed
        .subscribe(Selector::All, Some(&start))
        .await
        .unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Expired, "4 records behind");
    let mut open = subscribe_all(&feed, None).await;
    feed.close();
    assert!(open.next().await.is_none());
    assert_eq!(
        feed.subscribe(Selector::All, None)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Closed
    );
}

#[tokio::test(start_paused = true)]
async fn the_log_is_read_only_while_there_are_subscriptions() {
    let fixture = Fixture::default();
    let feed = fixture.feed(FeedOptions::default());
    drop(subscribe_all(&feed, None).await);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
        0
    );
    let mut again = subscribe_all(&feed, None).await;
    fixture.buy(&purchase(1)).await;
    assert_next(&mut again, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_added_is_read() {
    let log = || InMemoryLog::new(InMemoryLogOptions::default().partitions(64));
    let added = log()
        .sink()
        .publish(&purchase(1))
        .await
        .unwrap()
        .position
        .unwrap()
        .partition;
    // The positions are read while there is something to wait for.
    for (is_waiting, seconds) in [(true, 2), (false, 31)] {
        let fixture = Fixture {
            log: log(),
            ..Fixture::default()
        };
        fixture
            .log
            .shared
            .state
            .lock()
            .unwrap()
            .partitions
            .remove(&added)
            .unwrap();
        let mut all = subscribe_all(&fixture.feed(FeedOptions::default()), None).await;
        let begun = Instant::now();
        fixture.buy(&purchase(1)).await;
        if is_waiting {
            assert_ne!(
                fixture
                    .log
                    .append(LogRecord::new(0, Timestamp::MIN, None))
                    .partition,
                added
            );
        }
        assert_next(&mut all, 1).await;
        assert!(
            begun.elapsed() <= Duration::from_secs(seconds),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_yields_what_is_not_kept() {
    let fixture = Fixture::default();
    let feed = fixture.feed(FeedOptions::default().kept_records(0));
    let mut live = subscribe_all(&feed, None).await;
    let start = live.position();
    fixture.buy(&purchase(1)).await;
    assert_next(&mut live, 1).await;
    let mut resumed = subscribe_all(&feed, Some(&start)).await;
    assert!(resumed.is_catching_up());
    assert_next(&mut resumed, 1).await;

    // A record that is no purchase only moves the position.
    drop(fixture.log.append(LogRecord::new(0, Timestamp::MIN, None)));
    fixture.positions.lock().unwrap().insert(0, 2);
    assert_eq!(next(&mut resumed).await, None);
    assert!(!resumed.is_catching_up());
    assert!(resumed.position().as_str().ends_with(".0-2"));
}

#[tokio::test(start_paused = true)]
async fn a_resumed_subscription_has_caught_up_at_the_end_of_each_partition() {
    let fixture = Fixture::with_partitions(2);
    let feed = fixture.feed(FeedOptions::default().kept_records(0));
    let mut live = subscribe_all(&feed, None).await;
    let start = live.position();
    fixture.buy(&purchase(1)).await;
    assert_next(&mut live, 1).await;

    // One partition has the purchase, and the other has no record to read.
    let mut resumed = subscribe_all(&feed, Some(&start)).await;
    assert_next(&mut resumed, 1).await;
    assert_eq!(next(&mut resumed).await, None);
    assert!(!resumed.is_catching_up());

    let other_user = Selector::User("u2".parse().unwrap());
    let mut of_other_user = feed.subscribe(other_user, Some(&start)).await.unwrap();
    assert_eq!(next(&mut of_other_user).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_record_is_yielded_once() {
    let fixture = Fixture::default();
    let mut all = subscribe_all(&fixture.feed(FeedOptions::default()), None).await;
    for _ in 0..2 {
        fixture.buy(&purchase(1)).await;
    }
    assert_next(&mut all, 1).await;
    assert_eq!(next(&mut all).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_begins_during_a_lookup_misses_nothing() {
    let fixture = Fixture::default();
    let feed = fixture.feed(FeedOptions::default());
    let of_other = Purchase {
        user_id: "u2".parse().unwrap(),
        ..purchase(2)
    };
    let mut first = feed
        .subscribe(Selector::User(purchase(1).user_id), None)
        .await
        .unwrap();
    fixture.faults.always(Call::Query, Fault::unavailable());
    fixture.buy(&purchase(1)).await;
    fixture.buy(&of_other).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    // Each purchase that is selected is looked up about once a second.
    assert!(fixture.faults.calls(Call::Query) < 70);
    let mut later = feed
        .subscribe(Selector::User(of_other.user_id.clone()), None)
        .await
        .unwrap();
    fixture.faults.clear(Call::Query);
    assert_next(&mut first, 1).await;
    assert_eq!(next(&mut later).await, Some(of_other));
}

#[tokio::test(start_paused = true)]
async fn records_beyond_the_queue_are_read_later_or_end_the_subscription() {
    let fixture = Fixture::with_partitions(2);
    let feed = fixture.feed(FeedOptions::default().held_records(128));
    let mut all = subscribe_all(&feed, None).await;
    // Buys 200 purchases of one partition that ingest does not pass. The feed queues the first 100,
    // and drops the others.
    let overrun = async |first: u64| {
        for first in [first, first + 100] {
            let purchases: Vec<_> = (first..first + 100).map(purchase).collect();
            drop(fixture.log.sink().publish_many(&purchases).await);
            fixture.store.insert(purchases.into()).await.unwrap();
            // The log is opened again meanwhile, which makes no room in the queue.
            tokio::time::sleep(Duration::from_secs(40)).await;
        }
    };

    overrun(0).await;
    let begun = Instant::now();
    *fixture.positions.lock().unwrap() = [(0, 200), (1, 200)].into();
    for number in 0..200 {
        assert_next(&mut all, number).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5));

    overrun(200).await;
    for partition in 0..2 {
        fixture.log.delete_before(partition, 350);
    }
    let end = timeout(Duration::from_secs(60), all.next()).await;
    assert_eq!(end, Ok(None), "records that were not read are gone");
}
