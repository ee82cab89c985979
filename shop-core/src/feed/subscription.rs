//! One reader of a feed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use super::cursor::{FeedCursor, Place};
use super::hub::{Delivery, Hub};
use super::waiting::Entry;
use crate::{Purchase, PurchaseId};

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
    #[doc(hidden)]
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
