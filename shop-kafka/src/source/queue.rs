//! The queue of events from the reader thread to the callers of the source.
//!
//! ```text
//! reader thread > put, revoke, set_error > [revocations | batches and gaps | error] > next, next_control > callers
//!                 wait_for_room          <
//! ```
//!
//! A caller gets revocations first, then batches and gaps, then an error. The batches are bounded by count and by size;
//! the reader thread waits for room. Once the queue is closed, it is empty, and every caller gets
//! [`ControlEvent::Closed`].

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shop_core::log::{ControlEvent, Partition, Revocation, RevocationCause, SourceEvent};
use shop_core::{Error, Result};
use tokio::sync::Notify;

use crate::client::lock;

/// The maximum number of queued batches.
const READ_AHEAD: usize = 8;

#[derive(Debug)]
pub(super) struct EventQueue {
    content: Mutex<Content>,
    /// Notified after every change that a caller may wait for.
    notify: Notify,
    /// Notified after every change that the reader thread may wait for.
    room: Condvar,
    /// The maximum size of the queued batches in bytes.
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Content {
    closed: bool,
    revoked: VecDeque<Revoked>,
    deliveries: VecDeque<Delivery>,
    error: Option<Error>,
}

/// A batch, or a gap with a size of 0 bytes.
#[derive(Debug)]
struct Delivery {
    partition: Partition,
    bytes: usize,
    event: SourceEvent,
}

/// Partitions that are revoked by a rebalance, or were lost.
#[derive(Debug)]
struct Revoked {
    partitions: Vec<Partition>,
    /// The rebalance that waits, or `None` if the partitions are lost.
    rebalance: Option<BlockedRebalance>,
}

/// A rebalance that waits until the caller has drained the revoked partitions.
#[derive(Debug)]
pub(super) struct BlockedRebalance {
    pub(super) deadline: Instant,
    /// Dropped when the partitions are drained. A message reports that the revocation was delivered to the caller.
    pub(super) done: Sender<()>,
}

impl EventQueue {
    /// Creates a queue for two batches of `batch_bytes`: one for the caller, and one that is read ahead.
    pub(super) fn new(batch_bytes: usize) -> Self {
        Self {
            content: Mutex::default(),
            notify: Notify::new(),
            room: Condvar::new(),
            max_bytes: batch_bytes.saturating_mul(2),
        }
    }

    fn has_room(&self, content: &Content) -> bool {
        let sizes = content.deliveries.iter().map(|delivery| delivery.bytes);
        content.deliveries.len() < READ_AHEAD && sizes.sum::<usize>() < self.max_bytes
    }

    /// Adds a batch of this size, or a gap, whose size is 0. Returns whether there is room for another batch.
    pub(super) fn put(&self, partition: Partition, bytes: usize, event: SourceEvent) -> bool {
        let mut content = lock(&self.content);
        content.deliveries.push_back(Delivery {
            partition,
            bytes,
            event,
        });
        let has_room = self.has_room(&content);
        drop(content);

        self.notify.notify_waiters();
        has_room
    }

    /// Returns whether no batch or gap is queued.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.content).deliveries.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.content).closed
    }

    /// Waits for room, at most for `timeout`. Returns whether there is room.
    pub(super) fn wait_for_room(&self, timeout: Duration) -> bool {
        let content = self.wait_while(timeout, |content| {
            !content.closed && !self.has_room(content)
        });
        self.has_room(&content)
    }

    /// Waits until the source is closed, at most for `timeout`.
    pub(super) fn wait_for_close(&self, timeout: Duration) {
        drop(self.wait_while(timeout, |content| !content.closed));
    }

    /// Blocks while `condition` is true, at most for `timeout`.
    fn wait_while(
        &self,
        timeout: Duration,
        condition: impl Fn(&mut Content) -> bool,
    ) -> MutexGuard<'_, Content> {
        let content = lock(&self.content);
        let waited = self.room.wait_timeout_while(content, timeout, condition);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Sets the error that the next call returns. A later error replaces an earlier one.
    pub(super) fn set_error(&self, error: Error) {
        lock(&self.content).error = Some(error);
        self.notify.notify_waiters();
    }

    /// Removes an error that was not returned yet.
    pub(super) fn clear_error(&self) {
        lock(&self.content).error = None;
    }

    /// Adds a revocation of `partitions`, and removes their batches and gaps.
    pub(super) fn revoke(&self, partitions: Vec<Partition>, rebalance: Option<BlockedRebalance>) {
        let mut content = lock(&self.content);
        content
            .deliveries
            .retain(|delivery| !partitions.contains(&delivery.partition));
        if !content.closed {
            content.revoked.push_back(Revoked {
                partitions,
                rebalance,
            });
        }
        drop(content);

        self.notify.notify_waiters();
        self.room.notify_all();
    }

    /// Closes and empties the queue, and ends every wait.
    pub(super) fn close(&self) {
        let mut content = lock(&self.content);
        content.closed = true;
        content.revoked.clear();
        content.deliveries.clear();
        drop(content);

        self.notify.notify_waiters();
        self.room.notify_all();
    }

    /// Waits for the next event, and removes it.
    ///
    /// # Cancel safety
    /// An event is removed only when it is returned, so a cancelled call loses none.
    pub(super) async fn next(&self) -> Result<SourceEvent> {
        self.wait_for(|content| self.take_event(content)).await
    }

    /// Waits for the next revocation, error or close. Batches and gaps stay queued.
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

    /// Waits until `take` returns a value from the content.
    async fn wait_for<T>(&self, take: impl Fn(&mut Content) -> Option<T>) -> T {
        loop {
            // Enabled before `take`, so no change is missed in between.
            let changed = self.notify.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(value) = take(&mut lock(&self.content)) {
                return value;
            }
            changed.await;
        }
    }

    /// Removes the next event for a caller with capacity.
    fn take_event(&self, content: &mut Content) -> Option<Result<SourceEvent>> {
        if let Some(control) = content.take_control() {
            return Some(Ok(control.into()));
        }
        let Some(delivery) = content.deliveries.pop_front() else {
            return content.error.take().map(Err);
        };

        self.room.notify_all();
        Some(Ok(delivery.event))
    }
}

impl Content {
    /// Removes the next revocation. Returns [`ControlEvent::Closed`], again and again, once the queue is closed.
    fn take_control(&mut self) -> Option<ControlEvent> {
        if self.closed {
            return Some(ControlEvent::Closed);
        }
        let revoked = self.revoked.pop_front()?;
        Some(ControlEvent::Revoked(revoked.deliver()))
    }
}

impl Revoked {
    /// Reports to a waiting rebalance that its revocation is delivered now, and returns the revocation.
    ///
    /// If the rebalance no longer waits, there is no time left to drain, and the partitions are lost.
    fn deliver(self) -> Revocation {
        let partitions = self.partitions;
        if let Some(BlockedRebalance { deadline, done }) = self.rebalance {
            let remaining = deadline.saturating_duration_since(Instant::now());
            if !remaining.is_zero() && done.send(()).is_ok() {
                return Revocation::new(
                    partitions,
                    RevocationCause::Rebalance,
                    remaining,
                    move || drop(done),
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
        queue.put(
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
        assert!((1..READ_AHEAD).all(|_| put(&queue, 0)));
        assert!(!put(&queue, 0));
        assert!(!queue.wait_for_room(Duration::ZERO));
        assert_eq!(next(&queue), "batch of 0");
        assert!(queue.wait_for_room(LONG));

        let queue = EventQueue::new(batch(0).size());
        assert!(put(&queue, 0));
        let gap = Gap::new(partition(0), 1, 2, GapCause::Deleted);
        assert!(queue.put(partition(0), 0, SourceEvent::Gap(gap)));
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
            let (done, waiting) = mpsc::channel::<()>();
            let deadline = Instant::now() + timeout;
            (Some(BlockedRebalance { deadline, done }), waiting)
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
