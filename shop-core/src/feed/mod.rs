//! Purchases as they become visible.
//!
//! A [`PurchaseFeed`] follows the log, and yields each purchase once ingest has passed its record and the store has it.
//! All subscriptions of a process share one reader of the log, which runs while there are any.

mod cursor;
#[cfg(test)]
mod feed_test;
mod hub;
pub(crate) mod port;
mod reader;
mod subscription;
mod waiting;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::log::{GroupPositions, IngestPositions, LogAdmin, Offsets};
use crate::ports::{PurchaseQuery, Selector};
use crate::{Error, ErrorKind, Result, options};
use cursor::Place;
use hub::{Hub, Registered};
use reader::Reader;
use subscription::Backlog;

pub use cursor::FeedCursor;
pub use subscription::FeedItem;
#[doc(hidden)]
pub use subscription::{RecentIds, Subscription};

/// Follows the purchases of a log as they become visible in a store. Clones share the reader of the log.
///
/// Each purchase that came through the log is yielded once the position of ingest has passed its record and the store
/// has it with this content: per partition in the order of the log, and once; a repetition far behind it in the log, or
/// after a resumption, may be yielded again, with the same id. A look-up that fails is retried and delays its partition
/// alone. What is never listed, such as a dead letter or an erased purchase, delays nothing. Purchases that are written
/// to the store without the log are not yielded. Nor is a refund whose record comes before that of its purchase, which can
/// happen in a file that is imported newest first, or when partitions are added: it is listed once the purchase is.
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
/// let (source, dead_letters) = (Arc::new(log.source("group")), Arc::new(log.dead_letters()));
/// let ingest = Ingest::new(source, Arc::new(store.clone()), dead_letters, IngestOptions::default());
/// tokio::spawn(ingest.run(std::future::pending()));
///
/// let feed = PurchaseFeed::new(Arc::new(log.clone()), "group", Arc::new(store.clone()));
/// let ada = Selector::User("u1".parse()?);
/// let mut purchases = feed.events(&ada, None).await?;
/// let bought = Shop::of(log.sink(), store).buy(NewPurchase::of("u1").named("ada").priced("29.99")?).await?;
/// let item = purchases.next().await.expect("the feed is open")?;
/// assert_eq!(item.purchase.id, bought.purchase.id);
/// // Continues behind this purchase, also in another process.
/// let resumed = feed.events(&ada, Some(item.cursor)).await?;
/// # drop(resumed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PurchaseFeed {
    shared: Arc<Shared>,
}

options! {
    /// Limits of a [`PurchaseFeed`].
    #[derive(Debug, Clone)]
    #[doc(hidden)]
    pub struct FeedOptions {
        /// The maximum number of subscriptions (default 1,000).
        pub max_subscriptions: usize = 1_000,
        /// The maximum number of records behind the newest one at which a subscription continues (default 1,000,000).
        pub max_catch_up: u64 = 1_000_000,
        /// The maximum number of subscriptions that read old records of the log at a time (default 16). More wait.
        pub max_catch_ups: usize = 16,
        /// The number of records that are kept for subscriptions that continue (default 4,096).
        pub kept_records: usize = 4_096,
        /// The number of records that are kept until ingest passes them (default 65,536), in equal parts for the
        /// partitions. Later ones are read again.
        pub held_records: usize = 65_536,
        /// How many purchases may wait for a subscription (default 1,024). One that is slower is ended, and can
        /// continue.
        pub queue: usize = 1_024,
    }
}

#[derive(Debug)]
struct Shared {
    log: Arc<dyn LogAdmin>,
    positions: Arc<dyn IngestPositions>,
    query: Arc<dyn PurchaseQuery>,
    options: FeedOptions,
    /// The reader of the log, if it was started.
    hub: tokio::sync::Mutex<Option<Arc<Hub>>>,
    room: Arc<Semaphore>,
    /// Room for those that read the log by themselves.
    catching_up: Arc<Semaphore>,
    /// Room for look-ups: listings need the store, too.
    looking_up: Semaphore,
    closed: CancellationToken,
}

/// The number of concurrent look-ups.
const LOOK_UPS: usize = 16;

impl PurchaseFeed {
    /// The purchases of `log` that `group` has ingested into the store of `query`.
    #[must_use]
    pub fn new(log: Arc<dyn LogAdmin>, group: &str, query: Arc<dyn PurchaseQuery>) -> Self {
        let positions = GroupPositions {
            log: Arc::clone(&log),
            group: group.into(),
        };
        Self::with_options(log, Arc::new(positions), query, FeedOptions::default())
    }

    /// As [`new`](Self::new), with other limits, and with the positions of ingest as another service reports them.
    #[must_use]
    #[doc(hidden)]
    pub fn with_options(
        log: Arc<dyn LogAdmin>,
        positions: Arc<dyn IngestPositions>,
        query: Arc<dyn PurchaseQuery>,
        options: FeedOptions,
    ) -> Self {
        let max_subscriptions = options.max_subscriptions.min(Semaphore::MAX_PERMITS);
        let max_catch_ups = options.max_catch_ups.clamp(1, Semaphore::MAX_PERMITS);
        let shared = Shared {
            log,
            positions,
            query,
            options,
            hub: Default::default(),
            room: Arc::new(Semaphore::new(max_subscriptions)),
            catching_up: Arc::new(Semaphore::new(max_catch_ups)),
            looking_up: Semaphore::new(LOOK_UPS),
            closed: CancellationToken::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The purchases of `selector` that become visible from now on, or since `after` was yielded.
    ///
    /// # Errors
    /// [`Overloaded`](ErrorKind::Overloaded) at the maximum number of subscriptions; [`Expired`](ErrorKind::Expired)
    /// when the log cannot continue at `after`, which is too far behind or of another log: list, and subscribe without
    /// it; [`Invalid`](ErrorKind::Invalid) when `after` is not a cursor of a feed.
    /// [`Unsupported`](ErrorKind::Unsupported) when the log cannot be followed or does not report positions;
    /// [`Unavailable`](ErrorKind::Unavailable) when it cannot be reached; [`Closed`](ErrorKind::Closed) after
    /// [`close`](Self::close).
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    #[doc(hidden)]
    pub async fn subscribe(
        &self,
        selector: Selector,
        after: Option<&FeedCursor>,
    ) -> Result<Subscription> {
        let shared = &self.shared;
        if shared.closed.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the feed is closed"));
        }
        let after = after.map(Place::of).transpose()?;
        let full = |_taken| {
            Error::new(
                ErrorKind::Overloaded,
                "the feed has its maximum of subscriptions",
            )
        };
        let room = Arc::clone(&shared.room).try_acquire_owned().map_err(full)?;
        let registered = self.register(&selector).await?;
        let mut subscription = Subscription {
            closed: shared.closed.clone(),
            cursor: Place {
                log: registered.hub.log,
                offsets: registered.passed.clone(),
            },
            hub: registered.hub,
            deliveries: registered.deliveries,
            backlog: None,
            yielded: RecentIds::default(),
            _room: room,
        };
        if let Some(after) = after {
            let passed = registered.passed;
            after.check(&subscription.cursor, shared.options.max_catch_up)?;
            let is_recent = passed.iter().all(|(partition, passed)| {
                let from = registered
                    .recent_from
                    .get(partition)
                    .copied()
                    .unwrap_or_default();
                (from..=*passed).contains(&after.offset(*partition))
            });
            let mut backlog = Backlog::new(shared, selector, passed);
            if is_recent {
                let recent = registered.recent.into_iter();
                backlog
                    .extend(recent.filter(|entry| entry.offset >= after.offset(entry.partition)));
            } else {
                backlog.read_log(&after).await?;
            }
            subscription.backlog = Some(backlog);
            subscription.cursor = after;
        }
        Ok(subscription)
    }

    /// The positions of ingest, for other services.
    ///
    /// # Errors
    /// As [`IngestPositions::positions`].
    pub async fn positions(&self) -> Result<Offsets> {
        self.shared.positions.positions().await
    }

    /// Ends all streams of events. Call it when the process begins to shut down.
    pub fn close(&self) {
        self.shared.closed.cancel();
    }

    /// Registers a subscription with the reader of the log, which is started if it does not run.
    async fn register(&self, selector: &Selector) -> Result<Registered> {
        let mut running = self.shared.hub.lock().await;
        if let Some(registered) = running.as_ref().and_then(|hub| hub.register(selector)) {
            return Ok(registered);
        }
        let registered = Reader::start(&self.shared, selector).await?;
        *running = Some(Arc::clone(&registered.hub));
        Ok(registered)
    }
}
