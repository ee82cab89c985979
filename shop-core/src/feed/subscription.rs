//! One subscription of a feed, and its backlog.
//!
//! A subscription that resumes at a cursor first yields its backlog: the selected purchases between
//! the cursor and the offsets that the hub had delivered when the subscription registered.
//! Meanwhile the hub delivers the purchases from these offsets on into the channel of the
//! subscription. The backlog comes from the hub's recent purchases or, if the cursor is older, from
//! the log.

use std::collections::VecDeque;
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
use crate::log::{Batch, Offsets, ScanEnd};
use crate::macros::format_as;
use crate::ports::Selector;
use crate::record::RecordDecoders;
use crate::{Purchase, PurchaseId, Result};

/// The number of yielded purchases that are remembered, to recognize one that the log contains
/// twice.
const MAX_RECENT_IDS: usize = 256;
/// The timeout of each further purchase of a backlog, once the subscription was too slow for the
/// hub.
const STALLED_BACKLOG_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of purchases of a backlog that wait for their lookups before more of the log
/// is read.
const MAX_QUEUED: usize = 256;

/// The ids of the last purchases that a stream yielded, so that it does not yield a repeated record
/// again.
#[derive(Debug, Default)]
pub struct RecentIds(VecDeque<PurchaseId>);

impl RecentIds {
    /// Adds `id`, and drops the oldest of more than 256 ids. Returns `false` if `id` was among them
    /// already.
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

/// A purchase that became visible.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedItem {
    /// The purchase, as the store contains it.
    pub purchase: Purchase,
    /// The position behind the purchase, at which another subscription can resume.
    pub cursor: FeedCursor,
}

impl FeedItem {
    /// Creates an item, for an implementation of [`PurchaseEvents`](crate::ports::PurchaseEvents)
    /// of your own.
    #[must_use]
    pub const fn new(purchase: Purchase, cursor: FeedCursor) -> Self {
        Self { purchase, cursor }
    }
}

/// The purchases of one selector, as they become visible.
///
/// The subscription ends when the feed is closed, when the log can no longer be followed, and when
/// it is read too slowly. A new subscription resumes at the last cursor.
pub struct Subscription {
    pub(super) closed: CancellationToken,
    pub(super) hub: Arc<Hub>,
    pub(super) deliveries: mpsc::Receiver<Delivery>,
    /// The purchases to yield before the deliveries. `None` once every one is yielded, or without a
    /// cursor.
    pub(super) backlog: Option<Backlog>,
    /// The position at which another subscription can resume: every purchase before this position
    /// is yielded.
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

    /// Waits for the next purchase that becomes visible. Returns `None` after the end of the
    /// subscription.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<FeedItem> {
        let feed_closed = self.closed.clone();
        loop {
            let logged_purchase = tokio::select! {
                biased;
                () = feed_closed.cancelled() => return None,
                logged_purchase = self.next_logged_purchase() => logged_purchase?,
            };

            // A cursor of another process may be ahead of this process. The hub then delivers
            // purchases that the other process has already yielded.
            let partition = logged_purchase.partition;
            if logged_purchase.offset < next_offset(&self.position.offsets, partition) {
                continue;
            }
            self.position
                .offsets
                .insert(partition, logged_purchase.offset + 1);

            // The log may contain a purchase twice, and the store then answers both lookups.
            if let Some(purchase) = logged_purchase.visible_purchase()
                && self.yielded.add(purchase.id)
            {
                return Some(FeedItem::new(purchase.clone(), self.position.to_cursor()));
            }
        }
    }

    /// Returns the position behind the last yielded purchase, at which another subscription can
    /// resume.
    ///
    /// The position does not expire while the subscription runs: it also moves forward when no
    /// purchase of the selector becomes visible.
    pub fn position(&mut self) -> FeedCursor {
        if self.backlog.is_none()
            && let Some(delivered) = self.hub.offsets_if_caught_up(&self.deliveries)
        {
            advance_offsets(&mut self.position.offsets, &delivered);
        }
        self.position.to_cursor()
    }

    /// Waits for the next purchase of the backlog or, after the backlog, of the deliveries.
    ///
    /// Returns `None` after the end of the subscription. The purchase need not be visible.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn next_logged_purchase(&mut self) -> Option<Arc<LoggedPurchase>> {
        if let Some(backlog) = &mut self.backlog {
            // The channel is closed if it filled up during the backlog, or if the reader of the log
            // ended. The subscription then ends after the deliveries that are in the channel.
            let is_ending = self.deliveries.is_closed();
            let backlog_result = tokio::select! {
                biased;
                result = backlog.next_purchase() => result,
                // A subscription that ends anyway does not wait for a store or a log that does not
                // answer.
                () = sleep(STALLED_BACKLOG_TIMEOUT), if is_ending => return None,
            };
            match backlog_result {
                Ok(Some(logged_purchase)) => return Some(logged_purchase),
                Ok(None) => advance_offsets(&mut self.position.offsets, &backlog.end_offsets),
                Err(error) => {
                    tracing::info!(error = %error.chain(), "a subscription ends");
                    // The deliveries would skip the rest of the backlog. So a new channel replaces
                    // theirs. Its sender is dropped here, and it yields nothing.
                    let (_dropped_sender, closed_channel) = mpsc::channel(1);
                    self.deliveries = closed_channel;
                }
            }
            self.backlog = None;
        }

        let delivery = self.deliveries.recv().await?;
        advance_offsets(&mut self.position.offsets, &delivery.delivered_before);
        Some(delivery.logged_purchase)
    }
}

format_as!(Subscription: |this| Debug = Debug(format_args!("Subscription({:?})", this.position)));

/// The selected purchases between a cursor and the delivered offsets of the hub, which a resuming
/// subscription yields.
pub(super) struct Backlog {
    selector: Selector,
    /// The end of the backlog: the offsets from which on the hub delivers to the subscription.
    end_offsets: Offsets,
    /// The records of the log. Empty if the hub's recent purchases contain the backlog.
    batches: BoxStream<'static, Result<Batch>>,
    /// The partitions that `batches` has not yet returned up to the end of the backlog, and these
    /// ends.
    unread_ends: Offsets,
    lookups: LookupQueue,
    decoders: RecordDecoders,
    /// The purchases to yield next.
    looked_up: VecDeque<Arc<LoggedPurchase>>,
    /// Counts this backlog towards the maximum of concurrent readers of the log.
    log_permit: Option<OwnedSemaphorePermit>,
}

impl Backlog {
    /// Opens the backlog between the position `start` and the position of the hub at the
    /// registration.
    ///
    /// The purchases come from the registration if the hub had kept all of them. If not, they are
    /// read from the log. The number of backlogs that read the log concurrently is limited, so this
    /// function may wait for a permit.
    ///
    /// # Errors
    /// - [`Expired`](crate::ErrorKind::Expired) if the log no longer contains the records from
    ///   `start` on
    /// - Errors of the log, unchanged
    pub(super) async fn open(
        feed: &Arc<FeedInner>,
        selector: Selector,
        start: &FeedPosition,
        registration: &Registration,
    ) -> Result<Self> {
        let mut backlog = Self {
            selector,
            end_offsets: registration.delivered.offsets.clone(),
            batches: stream::empty().boxed(),
            unread_ends: Offsets::new(),
            lookups: LookupQueue::new(feed),
            decoders: feed.options.decoders.clone(),
            looked_up: VecDeque::new(),
            log_permit: None,
        };

        if registration.recent_covers(start) {
            let purchases_after_start = registration
                .recent
                .iter()
                .filter(|logged| logged.offset >= next_offset(&start.offsets, logged.partition));
            backlog.enqueue(purchases_after_start.cloned());
            return Ok(backlog);
        }

        // The semaphore is never closed, so there is no error.
        backlog.log_permit = Arc::clone(&feed.log_permits).acquire_owned().await.ok();

        let tail = feed.log.scan(&start.offsets, ScanEnd::Never).await?;
        start.check_tail_start(&tail.start)?;
        backlog.batches = tail.batches;
        // The backlog waits only for partitions with records before their ends. It must not wait for
        // a partition that the log lacks, because no record of that partition would ever arrive.
        backlog.unread_ends = backlog.end_offsets.clone();
        backlog
            .unread_ends
            .retain(|partition, end| tail.start.get(partition).is_some_and(|start| start < end));
        Ok(backlog)
    }

    /// Waits for the next purchase of the backlog, and returns it with the result of its lookup.
    ///
    /// Returns `None` at the end of the backlog.
    ///
    /// # Errors
    /// Returns the errors of the log.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn next_purchase(&mut self) -> Result<Option<Arc<LoggedPurchase>>> {
        while self.looked_up.is_empty() {
            // The hub delivered up to the end of the backlog, so ingest processed every record
            // before this end. Only selected purchases are queued.
            self.lookups
                .start_lookups(&self.end_offsets, |_purchase| true);
            let reads_log =
                !self.unread_ends.is_empty() && self.lookups.total_queued_weight() < MAX_QUEUED;
            tokio::select! {
                Some(purchases) = self.lookups.next_group() => self.looked_up.extend(purchases),
                batch = self.batches.try_next(), if reads_log => match batch? {
                    Some(batch) => self.enqueue_batch(&batch),
                    None => self.unread_ends.clear(),
                },
                // Everything is read, and nothing is queued, because each queued purchase would now
                // be in lookup.
                else => return Ok(None),
            }
        }
        Ok(self.looked_up.pop_front())
    }

    /// Queues the selected purchases of `batch`. If the batch reaches the end of the backlog in its
    /// partition, the partition counts as read.
    fn enqueue_batch(&mut self, batch: &Batch) {
        let Some(last) = batch.records.last() else {
            return;
        };
        self.unread_ends
            .retain(|partition, end| *partition != batch.partition.index || last.offset + 1 < *end);
        let purchases: Vec<_> = LoggedPurchase::decode_batch(batch, &self.decoders).collect();
        self.enqueue(purchases.into_iter());
    }

    /// Queues those of `purchases` that the subscription selects, and that are before the end of the
    /// backlog.
    ///
    /// A batch of the log may reach beyond the end of the backlog. The hub delivers the purchases
    /// behind the end.
    fn enqueue(&mut self, purchases: impl Iterator<Item = Arc<LoggedPurchase>>) {
        self.lookups.push(purchases.filter(|logged_purchase| {
            logged_purchase.offset < next_offset(&self.end_offsets, logged_purchase.partition)
                && self.selector.matches(&logged_purchase.purchase)
        }));
    }
}
