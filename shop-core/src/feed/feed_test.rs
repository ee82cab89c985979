//! Tests of the feed on the log and the store in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{FeedCursor, FeedOptions, PurchaseFeed, Subscription};
use crate::log::{LogRecord, LogWriter};
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use crate::ports::{PurchaseSink, PurchaseStore, Selector};
use crate::{Bytes, ErrorKind, Purchase, Timestamp};

struct Fixture {
    log: InMemoryLog,
    store: InMemoryStore,
}

fn purchase(number: u64, user: &str) -> Purchase {
    let id = format!("018f0000-0000-7000-8000-{number:012}").parse().unwrap();
    let time = Timestamp::from_millis(1_700_000_000_000).unwrap();
    Purchase::new(id, user.parse().unwrap(), "ada".parse().unwrap(), "1.50".parse().unwrap(), time)
}

fn of(user: &str) -> Selector {
    Selector::User(user.parse().unwrap())
}

impl Fixture {
    fn new() -> Self {
        let options = InMemoryLogOptions::default().partitions(3);
        Self { log: InMemoryLog::new(options), store: InMemoryStore::new() }
    }

    fn feed(&self, options: FeedOptions) -> PurchaseFeed {
        PurchaseFeed::with_options(Arc::new(self.log.clone()), Arc::new(self.store.clone()), options)
    }

    async fn publish(&self, purchase: &Purchase) {
        self.log.sink().publish(purchase).await.unwrap();
    }

    async fn store(&self, purchase: &Purchase) {
        let outcomes = self.store.insert(Arc::from([purchase.clone()])).await.unwrap();
        assert_eq!(outcomes.len(), 1);
    }

    async fn buy(&self, purchase: &Purchase) {
        self.publish(purchase).await;
        self.store(purchase).await;
    }
}

/// The next purchase. The time is paused: it waits for nothing that happens by itself.
async fn next(subscription: &mut Subscription) -> Option<Purchase> {
    let item = timeout(Duration::from_secs(600), subscription.next()).await.ok()?;
    item.map(|item| item.purchase)
}

#[tokio::test(start_paused = true)]
async fn a_purchase_is_yielded_when_it_is_visible() {
    let fixture = Fixture::new();
    let feed = fixture.feed(FeedOptions::default());
    let before = purchase(1, "u1");
    fixture.buy(&before).await;
    let in_flight = purchase(2, "u1");
    fixture.publish(&in_flight).await;
    let mut mine = feed.subscribe(of("u1"), None).await.unwrap();
    let mut all = feed.subscribe(Selector::All, None).await.unwrap();
    let mut named = feed.subscribe(Selector::Name("ada".parse().unwrap()), None).await.unwrap();
    assert_eq!(next(&mut mine).await, None, "neither the visible one nor the one in flight");
    fixture.store(&in_flight).await;
    for subscription in [&mut mine, &mut all, &mut named] {
        assert_eq!(next(subscription).await, Some(in_flight.clone()));
    }
    let (later, of_another) = (purchase(3, "u1"), purchase(4, "u2"));
    fixture.publish(&later).await;
    fixture.buy(&of_another).await;
    assert_eq!(next(&mut mine).await, None);
    assert_eq!(next(&mut all).await, Some(of_another), "it does not wait for the one before");
    fixture.store(&later).await;
    assert_eq!(next(&mut all).await, Some(later.clone()));
    assert_eq!(next(&mut mine).await, Some(later));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_continues_at_a_cursor() {
    for options in [FeedOptions::default(), FeedOptions::default().lookback(0).kept_records(0)] {
        let fixture = Fixture::new();
        let feed = fixture.feed(options.clone());
        let mut first = feed.subscribe(of("u1"), None).await.unwrap();
        let start = first.position().clone();
        let bought = [purchase(1, "u1"), purchase(2, "u1"), purchase(3, "u1")];
        let mut cursors = Vec::new();
        for purchase in &bought {
            fixture.buy(purchase).await;
            let item = first.next().await.unwrap();
            assert_eq!(item.purchase, *purchase);
            cursors.push(item.cursor.to_string().parse::<FeedCursor>().unwrap());
        }
        fixture.buy(&purchase(9, "u2")).await;
        // Another process has another feed.
        for feed in [&feed, &fixture.feed(options)] {
            let mut whole = feed.subscribe(of("u1"), Some(&start)).await.unwrap();
            for purchase in &bought {
                assert_eq!(next(&mut whole).await.as_ref(), Some(purchase));
            }
            assert_eq!(next(&mut whole).await, None);
            let mut rest = feed.subscribe(of("u1"), Some(&cursors[1])).await.unwrap();
            assert_eq!(next(&mut rest).await.as_ref(), Some(&bought[2]));
            assert_eq!(next(&mut rest).await, None);
            let at_end = rest.position().clone();
            assert_eq!(next(&mut feed.subscribe(Selector::All, Some(&at_end)).await.unwrap()).await, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_waits_for_what_is_not_visible() {
    let fixture = Fixture::new();
    let feed = fixture.feed(FeedOptions::default());
    let mut first = feed.subscribe(of("u1"), None).await.unwrap();
    let (in_flight, later) = (purchase(1, "u1"), purchase(2, "u1"));
    fixture.publish(&in_flight).await;
    fixture.buy(&later).await;
    let item = first.next().await.unwrap();
    assert_eq!(item.purchase, later, "it does not wait for the one before");
    let at_end = first.position().clone();
    fixture.store(&in_flight).await;
    for cursor in [item.cursor, at_end] {
        let mut rest = feed.subscribe(of("u1"), Some(&cursor)).await.unwrap();
        assert_eq!(next(&mut rest).await.as_ref(), Some(&in_flight));
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_skipped_and_duplicates_are_yielded_once() {
    let fixture = Fixture::new();
    let feed = fixture.feed(FeedOptions::default());
    let mut mine = feed.subscribe(of("u1"), None).await.unwrap();
    let start = mine.position().clone();
    let never = purchase(1, "u1");
    fixture.publish(&never).await;
    let garbage = LogRecord::new(0, Timestamp::MIN, Some(Bytes::from_static(b"no purchase")));
    LogWriter::append(&fixture.log, garbage).await.unwrap();
    let twice = purchase(2, "u1");
    fixture.publish(&twice).await;
    fixture.publish(&twice).await;
    let conflict = Purchase { price: "7".parse().unwrap(), ..twice.clone() };
    fixture.publish(&conflict).await;
    fixture.store(&twice).await;
    assert_eq!(next(&mut mine).await, Some(twice));
    assert_eq!(next(&mut mine).await, None);
    let at_end = mine.position().clone();
    assert!(at_end != start, "it no longer waits for the first one");
    let mut later = feed.subscribe(of("u1"), Some(&at_end)).await.unwrap();
    fixture.store(&never).await;
    assert_eq!(next(&mut later).await, None, "the first one is behind the cursor");
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_limited() {
    let fixture = Fixture::new();
    let feed = fixture.feed(FeedOptions::default().max_subscriptions(1).queue(2).max_catch_up(3));
    let mut slow = feed.subscribe(of("u1"), None).await.unwrap();
    let start = slow.position().clone();
    let refused = feed.subscribe(of("u1"), None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    for number in 1..=4 {
        fixture.buy(&purchase(number, "u1")).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(next(&mut slow).await, Some(purchase(1, "u1")));
    assert_eq!(next(&mut slow).await, Some(purchase(2, "u1")));
    assert!(slow.next().await.is_none(), "its queue was full");
    drop(slow);
    let lost = feed.subscribe(of("u1"), Some(&start)).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Invalid, "4 records behind");
    let mut open = feed.subscribe(of("u1"), None).await.unwrap();
    feed.close();
    assert!(open.next().await.is_none());
    assert_eq!(feed.subscribe(of("u1"), None).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_log_is_read_only_while_there_are_subscriptions() {
    let fixture = Fixture::new();
    let feed = fixture.feed(FeedOptions::default());
    drop(feed.subscribe(of("u1"), None).await.unwrap());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    let mut again = feed.subscribe(of("u1"), None).await.unwrap();
    fixture.buy(&purchase(1, "u1")).await;
    assert_eq!(next(&mut again).await, Some(purchase(1, "u1")));
}
