//! The queue of events from the reader thread to the callers of the source.
//!
//! ```text
//! reader thread > push, revoke, set_error > [revocations | batches and gaps | error] > next, next_control > callers
//!                 wait_for_room           <
//! ```
//!
//! A caller gets revocations first, then batches, gaps and ends of partitions in their order, then
//! an error. The batches are bounded by count and by size. The queue itself accepts a batch beyond
//! the bounds. The reader thread asks for room, and pauses the partitions while there is none. A
//! closed queue is empty, and every caller gets [`ControlEvent::Closed`].

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shop_core::log::{ControlEvent, Partition, Revocation, RevocationCause, SourceEvent};
use shop_core::{Error, Result};
use tokio::sync::Notify;

use crate::client::lock;

/// The maximum number of batches, gaps and partition ends in the queue.
const MAX_QUEUED_EVENTS: usize = 8;

/// The events of a source that no caller has received yet.
#[derive(Debug)]
pub(super) struct EventQueue {
    content: Mutex<Content>,
    /// Wakes the callers, which are async tasks, after an event was added or the queue was closed.
    callers_wakeup: Notify,
    /// Wakes the reader thread after events were removed or the queue was closed.
    reader_wakeup: Condvar,
    /// The maximum size of the queued batches in bytes.
    max_bytes: usize,
}

/// The content of the queue, in the order in which callers receive it.
#[derive(Debug, Default)]
struct Content {
    is_closed: bool,
    revocations: VecDeque<QueuedRevocation>,
    events: VecDeque<QueuedEvent>,
    /// The latest error that no caller has received yet.
    error: Option<Error>,
}

/// A queued batch, gap or partition end.
#[derive(Debug)]
struct QueuedEvent {
    partition: Partition,
    /// The size of the batch, or 0 for a gap or a partition end.
    bytes: usize,
    event: SourceEvent,
}

/// A queued revocation: partitions that a rebalance takes away from this member, or that the member
/// already lost.
#[derive(Debug)]
struct QueuedRevocation {
    partitions: Vec<Partition>,
    /// The rebalance that waits for the caller to drain the partitions, or `None` if the partitions
    /// are lost.
    rebalance: Option<BlockedRebalance>,
}

/// A rebalance on the reader thread that waits until a caller drains the revoked partitions, which
/// means that the caller stores their records and commits.
#[derive(Debug)]
pub(super) struct BlockedRebalance {
    /// The time at which the rebalance stops waiting.
    pub(super) deadline: Instant,
    /// The sender of the channel on which the rebalance waits. It is dropped when the partitions
    /// are drained, which ends the wait.
    ///
    /// A message is sent when a caller receives the revocation. If the send fails, the rebalance no
    /// longer waits.
    pub(super) drain_sender: Sender<()>,
}

impl EventQueue {
    /// Creates a queue with room for two batches of `batch_bytes`: the batch that a caller receives
    /// next, and one that is read ahead.
    pub(super) fn new(batch_bytes: usize) -> Self {
        Self {
            content: Mutex::default(),
            callers_wakeup: Notify::new(),
            reader_wakeup: Condvar::new(),
            max_bytes: batch_bytes.saturating_mul(2),
        }
    }

    /// Returns whether the queue is below both of its bounds: the number of events, and their size
    /// in bytes.
    fn has_room(&self, content: &Content) -> bool {
        let queued_bytes: usize = content.events.iter().map(|queued| queued.bytes).sum();
        content.events.len() < MAX_QUEUED_EVENTS && queued_bytes < self.max_bytes
    }

    /// Adds a batch, a gap or the end of `partition`, and wakes the callers. `bytes` is the size of
    /// a batch, or 0 for a gap or an end.
    ///
    /// Does not wait for room: a full queue also accepts the event. Returns whether there is room
    /// for another batch.
    pub(super) fn push(&self, partition: Partition, bytes: usize, event: SourceEvent) -> bool {
        let mut content = lock(&self.content);
        content.events.push_back(QueuedEvent {
            partition,
            bytes,
            event,
        });
        let has_room = self.has_room(&content);
        drop(content);

        self.callers_wakeup.notify_waiters();
        has_room
    }

    /// Returns whether no batch or gap is queued.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.content).events.is_empty()
    }

    /// Returns whether the source was closed or dropped, or its reader thread ended.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.content).is_closed
    }

    /// Blocks until there is room for a batch or the queue is closed, at most for `timeout`.
    /// Returns whether there is room.
    pub(super) fn wait_for_room(&self, timeout: Duration) -> bool {
        let content = self.wait_while(timeout, |content| {
            !content.is_closed && !self.has_room(content)
        });
        self.has_room(&content)
    }

    /// Blocks until the queue is closed, at most for `timeout`. For the reader thread, this is a
    /// sleep that a close ends.
    pub(super) fn wait_for_close(&self, timeout: Duration) {
        drop(self.wait_while(timeout, |content| !content.is_closed));
    }

    /// Blocks the reader thread while `condition` is true, at most for `timeout`. Returns the
    /// locked content.
    fn wait_while(
        &self,
        timeout: Duration,
        condition: impl Fn(&mut Content) -> bool,
    ) -> MutexGuard<'_, Content> {
        let content = lock(&self.content);
        let wait_result = self
            .reader_wakeup
            .wait_timeout_while(content, timeout, condition);
        wait_result.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Sets the error that a caller receives once no batch or gap is queued. Replaces an error that
    /// no caller received.
    pub(super) fn set_error(&self, error: Error) {
        lock(&self.content).error = Some(error);
        self.callers_wakeup.notify_waiters();
    }

    /// Removes the error if no caller has received it yet. Called when the cause of the error is
    /// gone.
    pub(super) fn clear_error(&self) {
        lock(&self.content).error = None;
    }

    /// Adds a revocation of `partitions`, and removes their queued batches, gaps and ends.
    ///
    /// `rebalance` is the rebalance that waits for the drain, or `None` if the partitions are lost.
    /// If the queue is closed, no caller drains the partitions: `rebalance` is dropped, which ends its
    /// wait.
    pub(super) fn revoke(&self, partitions: Vec<Partition>, rebalance: Option<BlockedRebalance>) {
        let mut content = lock(&self.content);
        content
            .events
            .retain(|queued| !partitions.contains(&queued.partition));
        // A closed queue stays empty: its callers receive nothing but the close.
        if !content.is_closed {
            content.revocations.push_back(QueuedRevocation {
                partitions,
                rebalance,
            });
        }
        drop(content);

        self.callers_wakeup.notify_waiters();
        // The removal of batches may have made room.
        self.reader_wakeup.notify_all();
    }

    /// Closes and empties the queue, and ends every wait of callers, of the reader thread and of a
    /// blocked rebalance.
    pub(super) fn close(&self) {
        let mut content = lock(&self.content);
        content.is_closed = true;
        content.revocations.clear();
        content.events.clear();
        drop(content);

        self.callers_wakeup.notify_waiters();
        self.reader_wakeup.notify_all();
    }

    /// Waits for the next event, removes it from the queue and returns it.
    ///
    /// # Errors
    /// The queued error, if nothing else is queued.
    ///
    /// # Cancel safety
    /// An event is removed only when it is returned, so a cancelled call loses none.
    pub(super) async fn next(&self) -> Result<SourceEvent> {
        self.wait_for(|content| self.take_event(content)).await
    }

    /// Waits for the next revocation or the close. Batches and gaps stay queued.
    ///
    /// # Errors
    /// The queued error, if no revocation is queued.
    ///
    /// # Cancel safety
    /// An event is removed only when it is returned, so a cancelled call loses none.
    pub(super) async fn next_control(&self) -> Result<ControlEvent> {
        self.wait_for(|content| {
            if let Some(control) = content.take_control() {
                return Some(Ok(control));
            }
            content.error.take().map(Err)
        })
        .await
    }

    /// Calls `take_value` now and after every change of the queue until it returns a value, and
    /// returns this value.
    async fn wait_for<T>(&self, take_value: impl Fn(&mut Content) -> Option<T>) -> T {
        loop {
            // The notification is enabled before the content is inspected. This way, a change
            // between the inspection and the wait is not missed.
            let change = self.callers_wakeup.notified();
            tokio::pin!(change);
            change.as_mut().enable();
            if let Some(value) = take_value(&mut lock(&self.content)) {
                return value;
            }
            change.await;
        }
    }

    /// Removes and returns the next event for a caller of [`next`](Self::next), which accepts every
    /// kind of event.
    ///
    /// Wakes the reader thread if the removal of a batch or gap made room.
    fn take_event(&self, content: &mut Content) -> Option<Result<SourceEvent>> {
        if let Some(control) = content.take_control() {
            return Some(Ok(control.into()));
        }
        let Some(queued) = content.events.pop_front() else {
            return content.error.take().map(Err);
        };

        self.reader_wakeup.notify_all();
        Some(Ok(queued.event))
    }
}

impl Content {
    /// Removes and returns the next revocation, or `None` if no revocation is queued.
    ///
    /// Once the queue is closed, returns [`ControlEvent::Closed`] in every call.
    fn take_control(&mut self) -> Option<ControlEvent> {
        if self.is_closed {
            return Some(ControlEvent::Closed);
        }
        let revocation = self.revocations.pop_front()?;
        Some(ControlEvent::Revoked(revocation.into_revocation()))
    }
}

impl QueuedRevocation {
    /// Converts this queued revocation to the revocation that a caller receives now.
    ///
    /// If a rebalance still waits, the caller may drain the partitions until its deadline. If none
    /// waits, the partitions are reported as lost.
    fn into_revocation(self) -> Revocation {
        let partitions = self.partitions;
        if let Some(BlockedRebalance {
            deadline,
            drain_sender,
        }) = self.rebalance
        {
            let remaining = deadline.saturating_duration_since(Instant::now());
            // The send succeeds as long as the rebalance waits, because it then holds the receiver.
            // The end of the drain drops the sender, and the rebalance continues.
            let is_still_waiting = !remaining.is_zero() && drain_sender.send(()).is_ok();
            if is_still_waiting {
                return Revocation::new(
                    partitions,
                    RevocationCause::Rebalance,
                    remaining,
                    move || drop(drain_sender),
                );
            }
        }
        Revocation::new(partitions, RevocationCause::Lost, Duration::ZERO, || {})
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bytes::Bytes;
    use shop_core::log::{Batch, Gap, GapCause, LogRecord};
    use shop_core::{ErrorKind, Timestamp};

    use super::*;
    use crate::error::kafka_error;

    const LONG: Duration = Duration::from_secs(3_600);
    const SHORT: Duration = Duration::from_millis(10);

    fn partition(index: u32) -> Partition {
        Partition::new("cluster".into(), "topic".into(), index, 1)
    }

    fn batch(index: u32) -> Batch {
        let record = LogRecord::new(0, Timestamp::MIN, Some(Bytes::from_static(b"0123456789")));
        Batch::new(partition(index), vec![record])
    }

    fn put(queue: &EventQueue, index: u32) -> bool {
        queue.push(
            partition(index),
            batch(index).size(),
            SourceEvent::Batch(batch(index)),
        )
    }

    /// What a caller with capacity gets now.
    fn next(queue: &EventQueue) -> String {
        match queue.take_event(&mut lock(&queue.content)) {
            None => "nothing".to_owned(),
            Some(Ok(SourceEvent::Batch(batch))) => format!("batch of {}", batch.partition.index),
            Some(Ok(SourceEvent::Gap(gap))) => format!("gap in {}", gap.partition.index),
            Some(Ok(SourceEvent::Revoked(revocation))) => {
                format!(
                    "{} revoked: {:?}",
                    revocation.partitions[0].index, revocation.cause
                )
            }
            Some(Ok(_closed)) => "closed".to_owned(),
            Some(Err(error)) => error.message().to_owned(),
        }
    }

    #[test]
    fn the_queue_is_bounded_by_batches_and_bytes() {
        let queue = EventQueue::new(usize::MAX);
        assert!((1..MAX_QUEUED_EVENTS).all(|_| put(&queue, 0)));
        assert!(!put(&queue, 0));
        assert!(!queue.wait_for_room(Duration::ZERO));
        assert_eq!(next(&queue), "batch of 0");
        assert!(queue.wait_for_room(LONG));

        let queue = EventQueue::new(batch(0).size());
        assert!(put(&queue, 0));
        let gap = Gap::new(partition(0), 1, 2, GapCause::Deleted);
        assert!(queue.push(partition(0), 0, SourceEvent::Gap(gap)));
        assert!(!put(&queue, 1), "two batches are read ahead");
        let started = Instant::now();
        assert!(!queue.wait_for_room(SHORT));
        assert!(started.elapsed() >= SHORT);
        assert_eq!([next(&queue), next(&queue)], ["batch of 0", "gap in 0"]);
        assert!(!queue.is_empty() && queue.wait_for_room(LONG));
        assert_eq!([next(&queue), next(&queue)], ["batch of 1", "nothing"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_revocation_removes_the_batches_of_its_partitions_and_comes_first() {
        let queue = EventQueue::new(batch(0).size());
        let blocked = |timeout: Duration| {
            let (drain_sender, waiting) = mpsc::channel::<()>();
            let deadline = Instant::now() + timeout;
            (
                Some(BlockedRebalance {
                    deadline,
                    drain_sender,
                }),
                waiting,
            )
        };
        let (rebalance, later) = blocked(LONG);
        put(&queue, 0);
        put(&queue, 1);
        queue.revoke(vec![partition(0)], rebalance);
        assert!(queue.wait_for_room(LONG), "its bytes are free");
        queue.revoke(vec![partition(2)], None);
        assert_eq!(next(&queue), "0 revoked: Rebalance");
        assert_eq!(later.iter().count(), 1, "it was delivered, then dropped");
        assert_eq!(
            [next(&queue), next(&queue)],
            ["2 revoked: Lost", "batch of 1"]
        );
        // The timeout has passed before the delivery, or the rebalance has ended.
        let (rebalance, _waiting) = blocked(Duration::ZERO);
        queue.revoke(vec![partition(1)], rebalance);
        queue.revoke(vec![partition(3)], blocked(LONG).0);
        assert_eq!(
            [next(&queue), next(&queue)],
            ["1 revoked: Lost", "3 revoked: Lost"]
        );
    }

    #[test]
    fn an_error_is_returned_once_after_the_batches() {
        let queue = EventQueue::new(usize::MAX);
        let error = || kafka_error(ErrorKind::Unavailable, "an outage");
        queue.set_error(error());
        put(&queue, 0);
        assert_eq!(
            [next(&queue), next(&queue), next(&queue)],
            ["batch of 0", "an outage", "nothing"]
        );
        queue.set_error(error());
        queue.clear_error();
        assert_eq!(next(&queue), "nothing");
    }

    #[test]
    fn closing_ends_every_wait_and_empties_the_queue() {
        let queue = EventQueue::new(0);
        let started = Instant::now();
        queue.wait_for_close(SHORT);
        assert!(started.elapsed() >= SHORT && !queue.is_closed());
        put(&queue, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| queue.wait_for_close(LONG));
            scope.spawn(|| queue.wait_for_room(LONG));
            scope.spawn(|| queue.close());
        });
        queue.revoke(vec![partition(0)], None);
        assert!(queue.is_closed() && queue.is_empty());
        assert_eq!([next(&queue), next(&queue)], ["closed", "closed"]);
    }
}
