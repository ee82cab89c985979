//! Tests of the feed on the log and the store in memory, in paused time. The kit has those of all
//! logs and stores.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout};

use super::{FeedOptions, PurchaseFeed, Subscription};
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
    fn feed(&self, options: FeedOptions) -> PurchaseFeed {
        let log = Arc::new(self.log.clone());
        let store = Arc::new(self.store.clone());
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

#[tokio::test(start_paused = true)]
async fn a_cursor_may_be_ahead_of_the_known_positions() {
    let fixture = Fixture::default();
    let feed = fixture.feed(FeedOptions::default());
    let mut first = feed.subscribe(Selector::All, None).await.unwrap();
    fixture.buy(&purchase(1)).await;
    let cursor = first.next().await.unwrap().cursor;
    let positions = std::mem::take(&mut *fixture.positions.lock().unwrap());
    let another = fixture.feed(FeedOptions::default());
    let mut behind = another
        .subscribe(Selector::All, Some(&cursor))
        .await
        .unwrap();
    assert_eq!(next(&mut behind).await, None);
    *fixture.positions.lock().unwrap() = positions;
    fixture.buy(&purchase(2)).await;
    assert_eq!(next(&mut behind).await, Some(purchase(2)));
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
    let mut first = feed.subscribe(Selector::All, None).await.unwrap();
    let start = first.position();
    let refused = feed.subscribe(Selector::All, None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    for number in 1..=4 {
        fixture.buy(&purchase(number)).await;
        assert_eq!(next(&mut first).await, Some(purchase(number)));
    }
    drop(first);
    let lost = feed
        .subscribe(Selector::All, Some(&start))
        .await
        .unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Expired, "4 records behind");
    let mut open = feed.subscribe(Selector::All, None).await.unwrap();
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
    drop(feed.subscribe(Selector::All, None).await.unwrap());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
        0
    );
    let mut again = feed.subscribe(Selector::All, None).await.unwrap();
    fixture.buy(&purchase(1)).await;
    assert_eq!(next(&mut again).await, Some(purchase(1)));
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
        let mut all = fixture
            .feed(FeedOptions::default())
            .subscribe(Selector::All, None)
            .await
            .unwrap();
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
        assert_eq!(next(&mut all).await, Some(purchase(1)));
        assert!(
            begun.elapsed() <= Duration::from_secs(seconds),
            "{:?}",
            begun.elapsed()
        );
    }
}
