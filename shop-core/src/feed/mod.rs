//! The feed of purchases as they become visible, for any number of subscribers.
//!
//! The *position of ingest* in a partition is the offset of the next record that ingest processes.
//! A purchase is *visible* once ingest commits a position behind its record, and the store contains
//! it with the content of the record. A [`PurchaseFeed`] follows the log and yields each purchase
//! when it becomes visible. All subscriptions of a process share one task that reads the log, which
//! runs while there is a subscription.
//!
//! ```text
//!                  One task for all subscriptions                  Each subscription
//!               ┌─────────────────────────────────┐            ┌───────────────────────────────┐
//! log ─────────▶│ Reader ──▶ LookupQueue ──▶ Hub ─┼─ channel ─▶│ deliveries ──(second)─┐       │
//! positions of ▶│                 ▲           │   │            │                       ├▶ next ┼─▶ caller
//! ingest        └─────────────────┼───────────┼───┘            │ Backlog ──────(first)─┘       │
//!                               store         └─ recent ──────▶│    ▲                          │
//!                                                purchases     └────┼──────────────────────────┘
//!                                                     log and store, if the cursor is older
//! ```
//!
//! | Part | Responsibility |
//! |---|---|
//! | `reader` | Reads the log and the positions of ingest, and decides which purchases are looked up |
//! | `lookup` | Queues the purchases of each partition, and looks them up in the store |
//! | `hub` | Delivers looked up purchases to the subscribers, and keeps the recent ones |
//! | `subscription` | Yields the backlog of a cursor, and then the deliveries |
//! | `cursor` | Positions in the log, and their text |
//! | `port` | [`PurchaseEvents`](crate::ports::PurchaseEvents), whose streams resume by themselves |
//!
//! - **Overrun**: where ingest is far behind the end of the log, the queue of a partition fills.
//!   The reader drops the rest, and opens the log again at the first dropped record when half of
//!   the queue is free.
//! - **Slow subscriber**: the hub never waits. A subscriber whose channel is full is removed, and
//!   its subscription ends after the deliveries that are in the channel. A new subscription resumes
//!   at its last cursor.
//! - **Failing store**: a lookup is retried until the store answers. Its partition waits, and the
//!   others do not.
//! - **Restored log**: cursors and the hub carry a digest of the log, which a restoration from a
//!   backup changes. The reader compares the digest whenever it opens the log again, and ends all
//!   subscriptions if the digest differs. A cursor from before the restoration is refused as
//!   [`Expired`](crate::ErrorKind::Expired).

mod cursor;
#[cfg(test)]
mod feed_test;
mod hub;
mod lookup;
pub(crate) mod port;
mod reader;
mod subscription;

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::log::{GroupPositions, IngestPositions, Log, Offsets};
use crate::ports::{PurchaseQuery, Selector};
use crate::record::RecordDecoders;
use crate::{Error, ErrorKind, Result, options};
use cursor::FeedPosition;
use hub::{Hub, Registration};
use reader::Reader;
use subscription::Backlog;

pub use cursor::FeedCursor;
pub use subscription::FeedItem;
pub use subscription::{RecentIds, Subscription};

/// A feed of the purchases of a log, as they become visible in a store. Clones share the reader of
/// the log.
///
/// # What is yielded
/// - Each purchase that came through the log is yielded once, in the order of the log within its
///   partition, after the position of ingest passes its record and the store contains it with the
///   same content.
/// - A purchase that the log contains twice may be yielded again, with the same id, if its records
///   are far apart or the stream resumed between them.
/// - A purchase that is never listed, such as a dead letter or an erased purchase, is not yielded,
///   and delays no other purchase.
/// - A lookup that fails is retried, and delays its partition alone.
/// - A purchase that was written to the store without the log is not yielded.
/// - A refund whose record precedes the record of its purchase is not yielded, but listed once the
///   purchase is. This happens in a file that is imported newest first, or when partitions are
///   added.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::feed::PurchaseFeed;
/// use shop_core::ingest::{Ingest, IngestOptions};
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_core::ports::{PurchaseEvents, Selector};
/// use shop_core::{NewPurchase, Shop, StreamExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let source = Arc::new(log.source("group"));
/// let ingest = Ingest::new(source, Arc::new(store.clone()), Arc::new(log.clone()), IngestOptions::default());
/// tokio::spawn(ingest.run(std::future::pending()));
///
/// let feed = PurchaseFeed::new(Arc::new(log.clone()), "group", Arc::new(store.clone()));
/// let ada = Selector::User("u1".parse()?);
/// let mut purchases = feed.events(&ada, None).await?;
/// let bought = Shop::new(log.sink(), store).buy(NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?).await?;
/// let item = purchases.next().await.expect("the feed is open")?;
/// assert_eq!(item.purchase.id, bought.purchase.id);
/// // Resumes behind this purchase, also in another process.
/// let resumed = feed.events(&ada, Some(item.cursor)).await?;
/// # drop(resumed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PurchaseFeed {
    inner: Arc<FeedInner>,
}

options! {
    /// The limits of a [`PurchaseFeed`].
    #[derive(Debug, Clone)]
    pub struct FeedOptions {
        /// The maximum number of subscriptions (default 1,000).
        pub max_subscriptions: usize = 1_000,
        /// The maximum number of records between a cursor and the newest delivered record (default
        /// 1,000,000). A subscription cannot resume at an older cursor.
        pub max_catch_up: u64 = 1_000_000,
        /// The maximum number of subscriptions that read old records of the log concurrently
        /// (default 16). Further ones wait.
        pub max_catch_ups: usize = 16,
        /// The number of delivered purchases that are kept for subscriptions that resume (default
        /// 4,096).
        pub kept_records: usize = 4_096,
        /// The number of records that are queued until ingest passes them (default 65,536), in
        /// equal parts for the partitions. Further records are read again later.
        pub held_records: usize = 65_536,
        /// The number of purchases that may wait for one subscription (default 1,024). A slower
        /// subscription ends, and another one can resume at its cursor.
        pub queue: usize = 1_024,
        /// The decoders of the records of the log (default: that of purchases alone).
        pub decoders: RecordDecoders = RecordDecoders::default(),
    }
}

/// The state that the clones of a feed, its reader and its subscriptions share.
#[derive(Debug)]
struct FeedInner {
    log: Arc<dyn Log>,
    positions: Arc<dyn IngestPositions>,
    query: Arc<dyn PurchaseQuery>,
    options: FeedOptions,
    /// The hub of the last reader, if one was started.
    hub: Mutex<Option<Arc<Hub>>>,
    subscription_permits: Arc<Semaphore>,
    /// Limits the backlogs that read old records of the log concurrently.
    log_permits: Arc<Semaphore>,
    /// Limits concurrent lookups, so that they leave room in the store for listings.
    lookup_permits: Semaphore,
    /// Cancelled when the feed is closed.
    closed: CancellationToken,
}

/// The maximum number of concurrent lookups.
const MAX_LOOKUPS: usize = 16;

impl PurchaseFeed {
    /// Creates a feed of the purchases of `log` that the consumer group `group` ingests into the
    /// store of `query`.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, group: &str, query: Arc<dyn PurchaseQuery>) -> Self {
        Self::of_group(log, group, query, FeedOptions::default())
    }

    /// Creates a feed with `options`, which reads the positions of `group` from `log`.
    pub(crate) fn of_group(
        log: Arc<dyn Log>,
        group: &str,
        query: Arc<dyn PurchaseQuery>,
        options: FeedOptions,
    ) -> Self {
        let positions = GroupPositions {
            log: Arc::clone(&log),
            group: group.into(),
        };
        Self::with_options(log, Arc::new(positions), query, options)
    }

    /// Creates a feed of the purchases of `log` that an ingest service writes to the store of
    /// `query`.
    ///
    /// `positions` reports how far ingest processed the log. It may ask another service, unlike in
    /// [`new`](Self::new), which reads the positions of a consumer group from the log. `options`
    /// sets the limits.
    #[must_use]
    pub fn with_options(
        log: Arc<dyn Log>,
        positions: Arc<dyn IngestPositions>,
        query: Arc<dyn PurchaseQuery>,
        options: FeedOptions,
    ) -> Self {
        let max_subscriptions = options.max_subscriptions.min(Semaphore::MAX_PERMITS);
        // Without a single permit, a subscription that reads old records would wait for ever.
        let max_catch_ups = options.max_catch_ups.clamp(1, Semaphore::MAX_PERMITS);
        let inner = FeedInner {
            log,
            positions,
            query,
            options,
            hub: Mutex::default(),
            subscription_permits: Arc::new(Semaphore::new(max_subscriptions)),
            log_permits: Arc::new(Semaphore::new(max_catch_ups)),
            lookup_permits: Semaphore::new(MAX_LOOKUPS),
            closed: CancellationToken::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Subscribes to the purchases of `selector` that become visible from now on.
    ///
    /// `after` is the cursor of a purchase that an earlier subscription yielded. With `after`, the
    /// new subscription resumes behind this purchase: it first yields the purchases that became
    /// visible in between.
    ///
    /// # Errors
    /// - [`Overloaded`](ErrorKind::Overloaded) at the maximum number of subscriptions
    /// - [`Expired`](ErrorKind::Expired) if `after` is too far behind or of another log: list the
    ///   purchases, and subscribe without a cursor
    /// - [`Invalid`](ErrorKind::Invalid) if `after` is not a cursor of a feed
    /// - [`Unsupported`](ErrorKind::Unsupported) if the log cannot be followed or does not report
    ///   positions
    /// - [`Unavailable`](ErrorKind::Unavailable) if the log cannot be reached
    /// - [`Closed`](ErrorKind::Closed) after [`close`](Self::close)
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn subscribe(
        &self,
        selector: Selector,
        after: Option<&FeedCursor>,
    ) -> Result<Subscription> {
        let feed = &self.inner;
        if feed.closed.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the feed is closed"));
        }
        let resume_position = after.map(FeedPosition::from_cursor).transpose()?;
        let Ok(permit) = Arc::clone(&feed.subscription_permits).try_acquire_owned() else {
            return Err(Error::new(
                ErrorKind::Overloaded,
                "the feed has its maximum of subscriptions",
            ));
        };

        // From the registration on, the hub delivers new purchases into the channel of the
        // subscription. So nothing is lost while the backlog, which ends at the registration, is
        // opened and read.
        let registration = self.register(&selector).await?;
        let mut backlog = None;
        if let Some(start) = &resume_position {
            start.check_resumable(&registration.delivered, feed.options.max_catch_up)?;
            backlog = Some(Backlog::open(feed, selector, start, &registration).await?);
        }

        Ok(Subscription {
            closed: feed.closed.clone(),
            hub: registration.hub,
            deliveries: registration.deliveries,
            backlog,
            position: resume_position.unwrap_or(registration.delivered),
            yielded: RecentIds::default(),
            _permit: permit,
        })
    }

    /// Returns the positions of ingest: the next offset in each partition that ingest processes.
    ///
    /// A service that runs ingest reports these positions to services whose feed follows the same
    /// log.
    ///
    /// # Errors
    /// Returns the errors of [`IngestPositions::positions`].
    pub async fn positions(&self) -> Result<Offsets> {
        self.inner.positions.positions().await
    }

    /// Ends all subscriptions and streams of events of this feed, and refuses new ones.
    ///
    /// Call this function when the process begins to shut down.
    pub fn close(&self) {
        self.inner.closed.cancel();
    }

    /// Registers a subscriber to the purchases of `selector` with the reader of the log, and starts
    /// a reader if none is running.
    ///
    /// # Errors
    /// Returns the errors of [`Reader::start`].
    async fn register(&self, selector: &Selector) -> Result<Registration> {
        // The lock is held while a reader starts, so that concurrent callers do not start a second
        // one.
        let mut hub = self.inner.hub.lock().await;
        if let Some(last_hub) = hub.as_ref()
            && let Some(registration) = last_hub.register(selector)
        {
            return Ok(registration);
        }

        // No reader was started yet, or the last one ended and closed its hub.
        let registration = Reader::start(&self.inner, selector).await?;
        *hub = Some(Arc::clone(&registration.hub));
        Ok(registration)
    }
}
