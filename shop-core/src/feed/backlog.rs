//! What a subscription that continues yields before that which the hub passes on.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use super::cursor::Place;
use super::waiting::{Entry, Waiting};
use crate::Result;
use crate::log::{Batch, Offsets};
use crate::ports::Selector;

/// The maximum number of entries that wait for their look-ups before more of the log is read.
const MAX_WAITING: usize = 256;

/// The selected entries between a cursor and what the hub had passed on.
pub(super) struct Backlog {
    shared: Arc<Shared>,
    selector: Selector,
    /// The offsets behind it.
    pub(super) until: Offsets,
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
        let (batches, waiting) = (stream::empty().boxed(), Waiting::new(shared));
        let (shared, left, looked_up) = (Arc::clone(shared), Offsets::new(), VecDeque::new());
        Self {
            shared,
            selector,
            until,
            batches,
            left,
            waiting,
            looked_up,
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
        let is_left = |(partition, until): &(&u32, &u64)| {
            tail.start.get(partition).is_some_and(|start| start < until)
        };
        self.left = self
            .until
            .iter()
            .filter(is_left)
            .map(|(partition, until)| (*partition, *until))
            .collect();
        self.batches = tail.batches;
        Ok(())
    }

    /// Adds those of `entries` that are selected.
    pub(super) fn extend(&mut self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        for entry in entries {
            let until = self
                .until
                .get(&entry.partition)
                .copied()
                .unwrap_or_default();
            if entry.offset < until && self.selector.matches(&entry.purchase) {
                self.waiting.push(entry);
            }
        }
    }

    /// The next entry, which is looked up; `None` at the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Arc<Entry>>> {
        while self.looked_up.is_empty() {
            self.waiting.start(&self.until, |_entry| true);
            let is_read = !self.left.is_empty() && self.waiting.count() < MAX_WAITING;
            tokio::select! {
                Some(entries) = self.waiting.next() => self.looked_up.extend(entries),
                batch = self.batches.try_next(), if is_read => match batch? {
                    Some(batch) => {
                        let (index, last) = (batch.partition.index, batch.records.last());
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
