//! One reader of a feed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures_util::{Stream, TryStreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::Source;
use super::cursor::FeedCursor;
use super::hub::{Delivery, Entry};
use super::pending::{Pending, Visible};
use crate::log::Offsets;
use crate::ports::PurchaseQuery;
use crate::{Error, ErrorKind, Purchase, Result};

/// A purchase that has become visible.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedItem {
    /// The purchase, as the store has it.
    pub purchase: Purchase,
    /// Where to continue after it.
    pub cursor: FeedCursor,
}

/// The purchases of a selection, as they become visible.
///
/// It ends when the feed is closed, when the log can no longer be followed, and when it is too slow. A new subscription
/// continues at the last cursor.
pub struct Subscription {
    query: Arc<dyn PurchaseQuery>,
    closed: CancellationToken,
    source: Source,
    pending: Pending,
    /// What has become visible. Until it is yielded, cursors lead before it.
    visible: VecDeque<Visible>,
    /// Whether the source has ended.
    has_ended: bool,
    /// The offsets behind what was taken from the source.
    read: Offsets,
    /// Where to continue after the next visible one.
    cursor: FeedCursor,
    _room: OwnedSemaphorePermit,
}

/// The next step of a subscription.
enum Step {
    Read(Option<Arc<Entry>>),
    Query,
    /// The source has ended: what is visible by now is yielded.
    EndOfSource,
    Closed,
}

impl Subscription {
    /// Yields what is pending, and what comes from `source`, which was read up to `read`.
    pub(super) fn new(
        (query, closed): (Arc<dyn PurchaseQuery>, CancellationToken),
        source: Source,
        pending: Pending,
        read: Offsets,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let cursor = FeedCursor::new(source.hub.topic(), pending.position(read.clone(), std::iter::empty()));
        Self {
            query,
            closed,
            source,
            pending,
            visible: VecDeque::new(),
            has_ended: false,
            read,
            cursor,
            _room: room,
        }
    }

    /// The next purchase that becomes visible; `None` at the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<FeedItem> {
        loop {
            if let Some(Visible { purchase, .. }) = self.visible.pop_front() {
                self.advance();
                return Some(FeedItem { purchase, cursor: self.cursor.clone() });
            }
            if self.has_ended {
                return None;
            }
            match self.step().await {
                Step::Read(Some(entry)) => self.pending.push(entry),
                Step::Read(None) => self.end_backlog(),
                Step::Query => self.visible = self.pending.query(&*self.query).await,
                Step::EndOfSource => {
                    self.visible = self.pending.query(&*self.query).await;
                    self.has_ended = true;
                }
                Step::Closed => return None,
            }
        }
    }

    /// Where to continue after what was yielded. It moves on without purchases of the selection, too.
    pub fn position(&mut self) -> &FeedCursor {
        if self.source.backlog.is_none()
            && let Some(read) = self.source.hub.read_unless_queued(&self.source.deliveries)
        {
            self.read = (*read).clone();
        }
        self.advance();
        &self.cursor
    }

    /// The same purchases as a stream.
    pub fn into_stream(self) -> impl Stream<Item = FeedItem> + Send + 'static {
        stream::unfold(self, async |mut this| Some((this.next().await?, this)))
    }

    fn advance(&mut self) {
        let unyielded = self.visible.iter().map(|visible| &visible.entry);
        let position = self.pending.position(self.read.clone(), unyielded);
        self.cursor = FeedCursor::new(self.source.hub.topic(), position);
    }

    async fn step(&mut self) -> Step {
        let Self { closed, source, pending, read, .. } = self;
        tokio::select! {
            biased;
            () = closed.cancelled() => Step::Closed,
            entry = source.next(read), if !pending.is_full() => match entry {
                Ok(entry) => Step::Read(entry),
                Err(error) => {
                    tracing::info!(error = %error.chain(), "a subscription ends");
                    Step::EndOfSource
                }
            },
            () = sleep_until(pending.next_query()), if !pending.is_empty() => Step::Query,
        }
    }

    fn end_backlog(&mut self) {
        self.source.backlog = None;
        for (partition, caught_up) in &self.source.caught_up {
            let read = self.read.entry(*partition).or_default();
            *read = (*read).max(*caught_up);
        }
    }
}

impl Source {
    /// The next entry, behind which `read` is then; `None` at the end of the backlog.
    ///
    /// # Errors
    /// When there is no further one.
    async fn next(&mut self, read: &mut Offsets) -> Result<Option<Arc<Entry>>> {
        let entry = match &mut self.backlog {
            Some(backlog) => backlog.entries.try_next().await?,
            None => {
                let ended = || {
                    Error::new(
                        ErrorKind::Closed,
                        "the log is no longer followed, or the subscription was too slow",
                    )
                };
                let Delivery { entry, read: before } = self.deliveries.recv().await.ok_or_else(ended)?;
                read.clone_from(&before);
                Some(entry)
            }
        };
        if let Some(entry) = &entry {
            read.insert(entry.partition, entry.offset + 1);
        }
        Ok(entry)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("pending", &self.pending)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}
