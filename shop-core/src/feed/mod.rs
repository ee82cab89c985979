//! Purchases as they become visible.
//!
//! A [`PurchaseFeed`] follows the log, and yields each purchase once the store has it. All subscriptions of a process
//! share one reader of the log, which runs while there are any.

mod cursor;
#[cfg(test)]
mod feed_test;
mod hub;
mod options;
mod pending;
mod subscription;

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::log::{LogAdmin, Offsets, TailStart};
use crate::ports::{PurchaseQuery, Selector};
use crate::{Error, ErrorKind, Result};
use hub::{Delivery, Entry, Hub, Registered};
use pending::Pending;

pub use cursor::{FeedCursor, InvalidFeedCursor};
pub use options::FeedOptions;
pub use subscription::{FeedItem, Subscription};

/// Follows the purchases of a log as they become visible in a store. Clones share the reader of the log.
///
/// A purchase is yielded in the order in which purchases become visible, at least once: after a resumption, some may be
/// repeated, with the same ids. Those that are written to the store without the log are not yielded.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::feed::PurchaseFeed;
/// use shop_core::ingest::{Ingest, IngestOptions};
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_core::ports::Selector;
/// use shop_core::{NewPurchase, Shop};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let (source, dead_letters) = (Arc::new(log.source("group")), Arc::new(log.dead_letters()));
/// let ingest = Ingest::new(source, Arc::new(store.clone()), dead_letters, IngestOptions::default());
/// tokio::spawn(ingest.run(std::future::pending()));
///
/// let feed = PurchaseFeed::new(Arc::new(log.clone()), Arc::new(store.clone()));
/// let mut purchases = feed.subscribe(Selector::User("u1".parse()?), None).await?;
/// let bought = Shop::of(log.sink(), store).buy(NewPurchase::of("u1").named("ada").priced("29.99")?).await?;
/// let item = purchases.next().await.expect("the feed is open");
/// assert_eq!(item.purchase.id, bought.purchase.id);
/// // Continues behind this purchase, also in another process.
/// let resumed = feed.subscribe(Selector::User("u1".parse()?), Some(&item.cursor)).await?;
/// # drop(resumed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PurchaseFeed {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    log: Arc<dyn LogAdmin>,
    query: Arc<dyn PurchaseQuery>,
    options: FeedOptions,
    /// The reader of the log, if it was started.
    hub: tokio::sync::Mutex<Option<Arc<Hub>>>,
    room: Arc<Semaphore>,
    /// Room for those that read the log by themselves.
    catching_up: Arc<Semaphore>,
    closed: CancellationToken,
}

/// Records between a cursor and the present.
struct Backlog {
    entries: BoxStream<'static, Result<Arc<Entry>>>,
    /// Held while the log is read for them.
    _room: Option<OwnedSemaphorePermit>,
}

/// Where a subscription has its records from: first the backlog, then what the hub delivers.
struct Source {
    hub: Arc<Hub>,
    deliveries: mpsc::Receiver<Delivery>,
    backlog: Option<Backlog>,
    /// The offsets behind the backlog.
    caught_up: Offsets,
}

impl PurchaseFeed {
    /// The purchases of `log` that are visible to `query`.
    #[must_use]
    pub fn new(log: Arc<dyn LogAdmin>, query: Arc<dyn PurchaseQuery>) -> Self {
        Self::with_options(log, query, FeedOptions::default())
    }

    /// As [`new`](Self::new), with other limits.
    #[must_use]
    pub fn with_options(log: Arc<dyn LogAdmin>, query: Arc<dyn PurchaseQuery>, options: FeedOptions) -> Self {
        let room = Arc::new(Semaphore::new(options.max_subscriptions.min(Semaphore::MAX_PERMITS)));
        let catching_up = Arc::new(Semaphore::new(options.max_catch_ups.clamp(1, Semaphore::MAX_PERMITS)));
        let (hub, closed) = (tokio::sync::Mutex::default(), CancellationToken::new());
        Self { shared: Arc::new(Shared { log, query, options, hub, room, catching_up, closed }) }
    }

    /// The purchases of `selector` that become visible from now on, or since `after` was yielded.
    ///
    /// # Errors
    /// [`Overloaded`](ErrorKind::Overloaded) at the maximum number of subscriptions; [`Invalid`](ErrorKind::Invalid)
    /// when the log cannot continue at `after`, which is too far behind or of another log: list, and subscribe without it;
    /// [`Unsupported`](ErrorKind::Unsupported) when the log cannot be followed; [`Unavailable`](ErrorKind::Unavailable)
    /// when it cannot be reached; [`Closed`](ErrorKind::Closed) after [`close`](Self::close).
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn subscribe(&self, selector: Selector, after: Option<&FeedCursor>) -> Result<Subscription> {
        let shared = &self.shared;
        if shared.closed.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the feed is closed"));
        }
        let full = |_taken| Error::new(ErrorKind::Overloaded, "the feed has its maximum of subscriptions");
        let room = Arc::clone(&shared.room).try_acquire_owned().map_err(full)?;
        let Registered { hub, deliveries, read, mut recent, recent_from } = self.register(&selector).await?;
        let mut pending = Pending::new(shared.options.skip_after);
        let mut next = read.clone();
        let mut backlog = None;
        if let Some(after) = after {
            after.check(hub.topic(), &read, shared.options.max_catch_up)?;
            next = after.offsets().clone();
            backlog =
                Some(if recent_from.iter().all(|(partition, from)| after.offset(*partition) >= *from) {
                    recent.retain(|entry| entry.offset >= after.offset(entry.partition));
                    Backlog { entries: stream::iter(recent.into_iter().map(Ok)).boxed(), _room: None }
                } else {
                    self.backlog(&selector, after, read.clone()).await?
                });
        } else {
            pending.push_old(recent);
            // What is visible now is not yielded.
            let _visible = pending.query(&*shared.query).await;
        }
        let source = Source { hub, deliveries, backlog, caught_up: read };
        let ports = (Arc::clone(&shared.query), shared.closed.clone());
        Ok(Subscription::new(ports, source, pending, next, room))
    }

    /// Ends all subscriptions. Call it when the process begins to shut down.
    pub fn close(&self) {
        self.shared.closed.cancel();
    }

    /// Registers a subscription with the reader of the log, which is started if it does not run.
    async fn register(&self, selector: &Selector) -> Result<Registered> {
        let mut running = self.shared.hub.lock().await;
        if let Some(registered) = running.as_ref().and_then(|hub| hub.register(selector)) {
            return Ok(registered);
        }
        let closed = self.shared.closed.clone();
        let registered = Hub::start(&self.shared.log, &self.shared.options, closed, selector).await?;
        *running = Some(Arc::clone(&registered.hub));
        Ok(registered)
    }

    /// The records from `after` until `until` that `selector` selects.
    async fn backlog(&self, selector: &Selector, after: &FeedCursor, until: Offsets) -> Result<Backlog> {
        // The semaphore is never closed.
        let room = Arc::clone(&self.shared.catching_up).acquire_owned().await.map_err(|error| {
            Error::new(ErrorKind::Internal, "the feed has no room to read the log").with_source(error)
        })?;
        let tail = self.shared.log.tail(&TailStart::At(after.offsets().clone())).await?;
        after.check_start(&tail.start)?;
        let (selector, mut left) = (selector.clone(), until);
        left.retain(|partition, until| tail.start.get(partition).is_some_and(|start| start < until));
        let batches = stream::try_unfold((tail.batches, left), |(mut batches, mut left)| async move {
            if left.is_empty() {
                return Ok(None);
            }
            let Some(batch) = batches.try_next().await? else { return Ok(None) };
            let last = batch.records.last().map_or(0, |last| last.offset + 1);
            left.retain(|partition, until| *partition != batch.partition.index || last < *until);
            Ok::<_, Error>(Some((batch, (batches, left))))
        });
        let entries = batches.map_ok(move |batch| {
            let selected = Entry::all_of(&batch).filter(|entry| selector.matches(&entry.purchase));
            stream::iter(selected.map(Arc::new).map(Ok).collect::<Vec<_>>())
        });
        Ok(Backlog { entries: entries.try_flatten().boxed(), _room: Some(room) })
    }
}
