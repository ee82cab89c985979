//! One reader of a feed, and what it yields before that which the hub passes on.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::cursor::{FeedCursor, Place};
use super::hub::{Delivery, Hub};
use super::waiting::{Entry, Waiting};
use crate::log::{Batch, Offsets};
use crate::ports::Selector;
use crate::{Purchase, PurchaseId, Result};

/// The number of yielded purchases that are recognized: the log may have one twice.
const REMEMBERED: usize = 256;
/// How long a subscription that the hub has ended waits for the rest of its backlog.
const STALLED: Duration = Duration::from_secs(1);

/// The last purchases of a stream.
#[derive(Debug, Default)]
pub struct RecentIds(VecDeque<PurchaseId>);

impl RecentIds {
    /// Whether `id` is not among the last ones. It is from then on.
    pub fn add(&mut self, id: PurchaseId) -> bool {
        let is_new = !self.0.contains(&id);
        if is_new {
            self.0.push_back(id);
        }
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
        is_new
    }
}

/// A purchase that has become visible.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedItem {
    /// The purchase, as the store has it.
    pub purchase: Purchase,
    /// Where to continue after it.
    pub cursor: FeedCursor,
}

impl FeedItem {
    /// An event, for your own [`PurchaseEvents`](crate::ports::PurchaseEvents).
    #[must_use]
    pub const fn new(purchase: Purchase, cursor: FeedCursor) -> Self {
        Self { purchase, cursor }
    }
}

/// The purchases of a selection, as they become visible.
///
/// It ends when the feed is closed, when the log can no longer be followed, and when it is too slow. A new subscription
/// continues at the last cursor.
pub struct Subscription {
    pub(super) closed: CancellationToken,
    pub(super) hub: Arc<Hub>,
    pub(super) deliveries: mpsc::Receiver<Delivery>,
    /// What is yielded before the deliveries.
    pub(super) backlog: Option<Backlog>,
    /// Where to continue after the last yielded purchase.
    pub(super) cursor: Place,
    pub(super) yielded: RecentIds,
    pub(super) _room: OwnedSemaphorePermit,
}

impl Subscription {
    /// Whether it still yields what was there before it.
    #[must_use]
    pub const fn is_catching_up(&self) -> bool {
        self.backlog.is_some()
    }

    /// The next purchase that becomes visible; `None` at the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<FeedItem> {
        let closed = self.closed.clone();
        loop {
            let entry = tokio::select! {
                biased;
                () = closed.cancelled() => None,
                entry = self.next_entry() => entry,
            }?;
            if entry.offset < self.cursor.offset(entry.partition) {
                // The cursor was ahead of what this process had passed on.
                continue;
            }
            self.cursor.advance(entry.partition, entry.offset + 1);
            if let Some(purchase) = entry
                .visible()
                .filter(|purchase| self.yielded.add(purchase.id))
            {
                return Some(FeedItem::new(purchase.clone(), self.cursor.cursor()));
            }
        }
    }

    /// Where to continue after the last yielded purchase. It moves on without purchases of the selection, too.
    pub fn position(&mut self) -> FeedCursor {
        if self.backlog.is_none()
            && let Some(passed) = self.hub.passed_unless_queued(&self.deliveries)
        {
            self.cursor.advance_to(&passed);
        }
        self.cursor.cursor()
    }

    /// The next entry, which is looked up. Dropping the future loses nothing.
    async fn next_entry(&mut self) -> Option<Arc<Entry>> {
        if let Some(backlog) = &mut self.backlog {
            let is_ended = self.deliveries.is_closed();
            let entry = tokio::select! {
                biased;
                entry = backlog.next() => entry,
                // Its queue was full, and the store cannot be read.
                () = sleep(STALLED), if is_ended => return None,
            };
            match entry {
                Ok(Some(entry)) => return Some(entry),
                Ok(None) => self.cursor.advance_to(&backlog.until),
                Err(error) => {
                    tracing::info!(error = %error.chain(), "a subscription ends");
                    self.deliveries = mpsc::channel(1).1;
                }
            }
            self.backlog = None;
        }
        let (entry, passed) = self.deliveries.recv().await?;
        self.cursor.advance_to(&passed);
        Some(entry)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

/// The maximum number of entries that wait for their look-ups before more of the log is read.
const MAX_WAITING: usize = 256;

/// The selected entries between a cursor and what the hub had passed on.
pub(super) struct Backlog {
    shared: Arc<Shared>,
    selector: Selector,
    /// The offsets behind it.
    until: Offsets,
    batches: BoxStream<'static, Result<Batch>>,
    /// The ends of the partitions that are still read.
    left: Offsets,
    waiting: Waiting,
    looked_up: VecDeque<Arc<Entry>>,
    /// Held while the log is read.
    room: Option<OwnedSemaphorePermit>,
}

impl Backlog {
    pub(super) fn new(shared: &Arc<Shared>, selector: Selector, until: Offsets) -> Self {
        Self {
            shared: Arc::clone(shared),
            selector,
            until,
            batches: stream::empty().boxed(),
            left: Offsets::new(),
            waiting: Waiting::new(shared),
            looked_up: VecDeque::new(),
            room: None,
        }
    }

    /// Reads the entries from `after` on from the log.
    pub(super) async fn read_log(&mut self, after: &Place) -> Result<()> {
        // The semaphore is never closed.
        self.room = Arc::clone(&self.shared.catching_up)
            .acquire_owned()
            .await
            .ok();
        let tail = self.shared.log.tail(&after.offsets).await?;
        after.check_start(&tail.start)?;
        self.left = self.until.clone();
        self.left.retain(|partition, until| {
            tail.start.get(partition).is_some_and(|start| start < until)
        });
        self.batches = tail.batches;
        Ok(())
    }

    /// Adds those of `entries` that are selected.
    pub(super) fn extend(&mut self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        for entry in entries {
            let until = self.until.get(&entry.partition);
            let is_before = until.is_some_and(|until| entry.offset < *until);
            if is_before && self.selector.matches(&entry.purchase) {
                self.waiting.push(entry);
            }
        }
    }

    /// The next entry, which is looked up; `None` at the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn next(&mut self) -> Result<Option<Arc<Entry>>> {
        while self.looked_up.is_empty() {
            self.waiting.start(&self.until, |_entry| true);
            let is_read = !self.left.is_empty() && self.waiting.count() < MAX_WAITING;
            tokio::select! {
                Some(entries) = self.waiting.next() => self.looked_up.extend(entries),
                batch = self.batches.try_next(), if is_read => match batch? {
                    Some(batch) => {
                        let index = batch.partition.index;
                        let last = batch.records.last();
                        let next = last.map_or(0, |last| last.offset + 1);
                        self.left.retain(|partition, until| *partition != index || next < *until);
                        self.extend(Entry::all_of(&batch).map(Arc::new));
                    }
                    None => self.left.clear(),
                },
                else => return Ok(None),
            }
        }
        Ok(self.looked_up.pop_front())
    }
}
