//! The queue of events from the reader thread to the callers of the source.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shop_core::Result;
use shop_core::log::{ControlEvent, Partition, Revocation, RevocationCause, SourceEvent};
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
    bytes: usize,
    error: Option<shop_core::Error>,
}

/// What a caller with capacity gets, in order.
#[derive(Debug)]
struct Delivery {
    partition: Partition,
    bytes: usize,
    event: SourceEvent,
}

/// Partitions that are to be given up, or were lost.
#[derive(Debug)]
struct Revoked {
    partitions: Vec<Partition>,
    /// `None` if the partitions are lost.
    rebalance: Option<Blocked>,
}

/// A rebalance that waits for the caller: until when, and what is dropped once the partitions are given up. A message
/// says that the caller has got the revocation.
pub(super) type Blocked = (Instant, Sender<()>);

impl EventQueue {
    pub(super) fn new(batch_bytes: usize) -> Self {
        Self {
            content: Mutex::default(),
            notify: Notify::new(),
            room: Condvar::new(),
            // One batch for the caller and one read ahead.
            max_bytes: batch_bytes.saturating_mul(2),
        }
    }

    fn has_room(&self, content: &Content) -> bool {
        content.deliveries.len() < READ_AHEAD && content.bytes < self.max_bytes
    }

    /// Adds a batch of this size, or a gap, which has none. Returns whether there is room for another one.
    pub(super) fn put(&self, partition: Partition, bytes: usize, event: SourceEvent) -> bool {
        let mut content = lock(&self.content);
        content.bytes += bytes;
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

    /// Whether no batch is queued.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.content).deliveries.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.content).closed
    }

    /// Waits for room, at most for `timeout`. Returns whether there is room.
    pub(super) fn wait_for_room(&self, timeout: Duration) -> bool {
        let content = self.wait(timeout, |content| {
            !content.closed && !self.has_room(content)
        });
        self.has_room(&content)
    }

    /// Waits until the source is closed, at most for `timeout`.
    pub(super) fn wait_for_close(&self, timeout: Duration) {
        drop(self.wait(timeout, |content| !content.closed));
    }

    fn wait(
        &self,
        timeout: Duration,
        condition: impl Fn(&mut Content) -> bool,
    ) -> MutexGuard<'_, Content> {
        let content = lock(&self.content);
        let waited = self.room.wait_timeout_while(content, timeout, condition);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Sets the error that the next call returns. A later error replaces an earlier one.
    pub(super) fn set_error(&self, error: shop_core::Error) {
        lock(&self.content).error = Some(error);
        self.notify.notify_waiters();
    }

    /// Removes an error that was not returned yet.
    pub(super) fn clear_error(&self) {
        lock(&self.content).error = None;
    }

    /// Adds a revocation of `partitions`, and removes their batches.
    pub(super) fn revoke(&self, partitions: Vec<Partition>, rebalance: Option<Blocked>) {
        let mut content = lock(&self.content);
        content
            .deliveries
            .retain(|delivery| !partitions.contains(&delivery.partition));
        content.bytes = content
            .deliveries
            .iter()
            .map(|delivery| delivery.bytes)
            .sum();
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

    pub(super) fn close(&self) {
        let mut content = lock(&self.content);
        content.closed = true;
        content.revoked.clear();
        content.deliveries.clear();
        content.bytes = 0;
        drop(content);
        self.notify.notify_waiters();
        self.room.notify_all();
    }

    pub(super) async fn next(&self) -> Result<SourceEvent> {
        self.first(|content| self.take(content)).await
    }

    /// As [`next`](Self::next), without the deliveries, which stay queued.
    pub(super) async fn next_control(&self) -> Result<ControlEvent> {
        self.first(|content| {
            content
                .control()
                .map(Ok)
                .or_else(|| content.error.take().map(Err))
        })
        .await
    }

    /// Waits until `take` returns a value.
    async fn first<T>(&self, take: impl Fn(&mut Content) -> Option<T>) -> T {
        loop {
            // Enabled before `take`, so no change is missed in between.
            let changed = self.notify.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = take(&mut lock(&self.content)) {
                return found;
            }
            changed.await;
        }
    }

    fn take(&self, content: &mut Content) -> Option<Result<SourceEvent>> {
        if let Some(control) = content.control() {
            return Some(Ok(control.into()));
        }
        let Some(delivery) = content.deliveries.pop_front() else {
            return content.error.take().map(Err);
        };
        content.bytes = content.bytes.saturating_sub(delivery.bytes);
        self.room.notify_all();
        Some(Ok(delivery.event))
    }
}

impl Content {
    fn control(&mut self) -> Option<ControlEvent> {
        if self.closed {
            return Some(ControlEvent::Closed);
        }
        self.revoked
            .pop_front()
            .map(|revoked| ControlEvent::Revoked(revoked.into()))
    }
}

impl From<Revoked> for Revocation {
    fn from(
        Revoked {
            partitions,
            rebalance,
        }: Revoked,
    ) -> Self {
        if let Some((until, done)) = rebalance {
            let left = until.saturating_duration_since(Instant::now());
            // If it has ended before the delivery, there is no time left to drain.
            if !left.is_zero() && done.send(()).is_ok() {
                return Self::new(partitions, RevocationCause::Rebalance, left, move || {
                    drop(done);
                });
            }
        }
        Self::new(partitions, RevocationCause::Lost, Duration::ZERO, || {})
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
        match queue.take(&mut lock(&queue.content)) {
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
            (Some((Instant::now() + timeout, done)), waiting)
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
