//! One subscription of a feed, and its backlog.
//!
//! A subscription that resumes at a cursor first yields its backlog: the selected purchases between the cursor and the
//! offsets that the hub had delivered when the subscription registered. The hub delivers what follows into the
//! subscription's channel meanwhile. The backlog comes from the hub's recent purchases or, if the cursor is older, from
//! the log.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::FeedInner;
use super::cursor::{FeedCursor, FeedPosition, advance_offsets, next_offset};
use super::hub::{Delivery, Hub, Registration};
use super::lookup::{LoggedPurchase, LookupQueue};
use crate::log::{Batch, Offsets};
use crate::ports::Selector;
use crate::{Purchase, PurchaseId, Result};

/// The number of yielded purchases that are recognized when the log contains one of them twice.
const MAX_RECENT_IDS: usize = 256;
/// How long a subscription that was too slow for the hub waits for each further purchase of its backlog.
const STALLED_BACKLOG_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of purchases of a backlog that wait for their lookups before more of the log is read.
const MAX_QUEUED: usize = 256;

/// The ids of the last purchases that a stream has yielded.
#[derive(Debug, Default)]
pub struct RecentIds(VecDeque<PurchaseId>);

impl RecentIds {
    /// Adds `id`. Returns whether it is new, that is, not among the last 256 ids.
    pub fn add(&mut self, id: PurchaseId) -> bool {
        if self.0.contains(&id) {
            return false;
        }
        self.0.push_back(id);
        if self.0.len() > MAX_RECENT_IDS {
            self.0.pop_front();
        }
        true
    }
}

/// A purchase that has become visible.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedItem {
    /// The purchase, as the store contains it.
    pub purchase: Purchase,
    /// The position behind the purchase, at which another subscription resumes.
    pub cursor: FeedCursor,
}

impl FeedItem {
    /// Creates an item, for an implementation of [`PurchaseEvents`](crate::ports::PurchaseEvents) of your own.
    #[must_use]
    pub const fn new(purchase: Purchase, cursor: FeedCursor) -> Self {
        Self { purchase, cursor }
    }
}

/// The purchases of one selector, as they become visible.
///
/// The subscription ends when the feed is closed, when the log can no longer be followed, and when it is read too
/// slowly. A new subscription resumes at the last cursor.
pub struct Subscription {
    pub(super) closed: CancellationToken,
    pub(super) hub: Arc<Hub>,
    pub(super) deliveries: mpsc::Receiver<Delivery>,
    /// The purchases to yield before the deliveries, until the last one is yielded.
    pub(super) backlog: Option<Backlog>,
    /// The position at which to resume after the last yielded purchase.
    pub(super) position: FeedPosition,
    pub(super) yielded: RecentIds,
    /// Counts this subscription towards the maximum of the feed.
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Subscription {
    /// Returns whether the subscription still yields purchases that became visible before it began.
    #[must_use]
    pub const fn is_catching_up(&self) -> bool {
        self.backlog.is_some()
    }

    /// Waits for the next purchase that becomes visible. Returns `None` when the subscription has ended.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<FeedItem> {
        let closed = self.closed.clone();
        loop {
            let logged = tokio::select! {
                biased;
                () = closed.cancelled() => return None,
                logged = self.next_logged() => logged?,
            };

            // A cursor of another process may be ahead of the purchases that this process has delivered.
            if logged.offset < next_offset(&self.position.offsets, logged.partition) {
                continue;
            }
            self.position
                .offsets
                .insert(logged.partition, logged.offset + 1);

            if let Some(purchase) = logged.visible()
                && self.yielded.add(purchase.id)
            {
                return Some(FeedItem::new(purchase.clone(), self.position.to_cursor()));
            }
        }
    }

    /// Returns the position behind the last yielded purchase, at which another subscription resumes.
    ///
    /// The position also moves forward while no purchase of the selector becomes visible.
    pub fn position(&mut self) -> FeedCursor {
        if self.backlog.is_none()
            && let Some(delivered) = self.hub.offsets_if_caught_up(&self.deliveries)
        {
            advance_offsets(&mut self.position.offsets, &delivered);
        }
        self.position.to_cursor()
    }

    /// Waits for the next purchase of the backlog and then of the deliveries. Returns `None` at the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn next_logged(&mut self) -> Option<Arc<LoggedPurchase>> {
        if let Some(backlog) = &mut self.backlog {
            let is_too_slow = self.deliveries.is_closed();
            let next_of_backlog = tokio::select! {
                biased;
                next = backlog.next() => next,
                // The store does not answer, and a purchase after the backlog is lost to this subscription in any case.
                () = sleep(STALLED_BACKLOG_TIMEOUT), if is_too_slow => return None,
            };
            match next_of_backlog {
                Ok(Some(logged)) => return Some(logged),
                Ok(None) => advance_offsets(&mut self.position.offsets, &backlog.until),
                Err(error) => {
                    tracing::info!(error = %error.chain(), "a subscription ends");
                    // Deliveries behind the rest of the backlog would skip it, so an empty closed channel replaces them.
                    self.deliveries = mpsc::channel(1).1;
                }
            }
            self.backlog = None;
        }

        let delivery = self.deliveries.recv().await?;
        advance_offsets(&mut self.position.offsets, &delivery.delivered_before);
        Some(delivery.logged)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// The selected purchases between a cursor and the offsets that the hub had delivered.
pub(super) struct Backlog {
    selector: Selector,
    /// The end of the backlog: the offsets from which on the hub delivers.
    until: Offsets,
    batches: BoxStream<'static, Result<Batch>>,
    /// The end of each partition that is not read to its end in `batches`.
    unread: Offsets,
    lookups: LookupQueue,
    looked_up: VecDeque<Arc<LoggedPurchase>>,
    /// Counts this backlog towards the maximum of concurrent readers of the log.
    log_permit: Option<OwnedSemaphorePermit>,
}

impl Backlog {
    /// Opens the backlog of a subscription to `selector` that resumes at `start`, and that `registration` describes.
    ///
    /// # Errors
    /// [`Expired`](crate::ErrorKind::Expired) if the log no longer contains the records from `start` on. Errors of the
    /// log, unchanged.
    pub(super) async fn open(
        feed: &Arc<FeedInner>,
        selector: Selector,
        start: &FeedPosition,
        registration: &Registration,
    ) -> Result<Self> {
        let mut backlog = Self {
            selector,
            until: registration.delivered_offsets.clone(),
            batches: stream::empty().boxed(),
            unread: Offsets::new(),
            lookups: LookupQueue::new(feed),
            looked_up: VecDeque::new(),
            log_permit: None,
        };

        if registration.is_recent(start) {
            let recent = registration.recent.iter();
            let after_start = recent
                .filter(|logged| logged.offset >= next_offset(&start.offsets, logged.partition));
            backlog.enqueue(after_start.cloned());
            return Ok(backlog);
        }

        // The semaphore is never closed.
        let log_permits = Arc::clone(&feed.log_permits);
        backlog.log_permit = log_permits.acquire_owned().await.ok();

        let tail = feed.log.tail(&start.offsets).await?;
        start.check_log_start(&tail.start)?;
        backlog.batches = tail.batches;
        backlog.unread = backlog.until.clone();
        backlog
            .unread
            .retain(|partition, end| tail.start.get(partition).is_some_and(|start| start < end));
        Ok(backlog)
    }

    /// Waits for the next purchase of the backlog, which is looked up. Returns `None` at the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn next(&mut self) -> Result<Option<Arc<LoggedPurchase>>> {
        while self.looked_up.is_empty() {
            self.lookups.start_lookups(&self.until, |_purchase| true);
            let reads_log = !self.unread.is_empty() && self.lookups.queued() < MAX_QUEUED;
            tokio::select! {
                Some(purchases) = self.lookups.next() => self.looked_up.extend(purchases),
                batch = self.batches.try_next(), if reads_log => match batch? {
                    Some(batch) => self.enqueue_batch(&batch),
                    None => self.unread.clear(),
                },
                else => return Ok(None),
            }
        }
        Ok(self.looked_up.pop_front())
    }

    /// Queues the selected purchases of `batch`, and notes whether its partition is read to the end of the backlog.
    fn enqueue_batch(&mut self, batch: &Batch) {
        let Some(last) = batch.records.last() else {
            return;
        };
        self.unread
            .retain(|partition, end| *partition != batch.partition.index || last.offset + 1 < *end);
        self.enqueue(LoggedPurchase::decode_batch(batch));
    }

    /// Queues the selected ones of `purchases` that are before the end of the backlog.
    fn enqueue(&mut self, purchases: impl Iterator<Item = Arc<LoggedPurchase>>) {
        self.lookups.push(purchases.filter(|logged| {
            logged.offset < next_offset(&self.until, logged.partition)
                && self.selector.matches(&logged.purchase)
        }));
    }
}
