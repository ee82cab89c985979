//! What the reading thread has for whoever asks next.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shop_core::Result;
use shop_core::log::{Batch, ControlEvent, Partition, Revocation, RevocationCause, SourceEvent};
use tokio::sync::Notify;

use crate::client::lock;

/// The most batches that lie ready for a reader that is busy.
const READ_AHEAD: usize = 8;

#[derive(Debug)]
pub(super) struct EventQueue {
    content: Mutex<Content>,
    /// Told after every change that a reader may wait for.
    notify: Notify,
    /// Told after every change that the thread may wait for.
    room: Condvar,
    /// The bytes that may lie ready.
    bytes: usize,
}

#[derive(Debug, Default)]
struct Content {
    closed: bool,
    revoked: VecDeque<Revoked>,
    batches: VecDeque<Batch>,
    bytes: usize,
    trouble: Option<shop_core::Error>,
}

/// Partitions that were, or are to be, given up.
#[derive(Debug)]
struct Revoked {
    partitions: Vec<Partition>,
    /// The rebalance that waits for it; none when there is nothing left to wait for.
    rebalance: Option<Arc<RebalanceBarrier>>,
}

impl EventQueue {
    pub(super) fn new(batch_bytes: usize) -> Self {
        Self {
            content: Mutex::default(),
            notify: Notify::new(),
            room: Condvar::new(),
            // One for who reads and one to be read next.
            bytes: batch_bytes.saturating_mul(2),
        }
    }

    fn has_room(&self, content: &Content) -> bool {
        content.batches.len() < READ_AHEAD && content.bytes < self.bytes
    }

    /// Lays a batch ready; answers whether there is room for another.
    pub(super) fn put(&self, batch: Batch) -> bool {
        let mut content = lock(&self.content);
        content.bytes += batch.size();
        content.batches.push_back(batch);
        let has_room = self.has_room(&content);
        drop(content);
        self.notify.notify_waiters();
        has_room
    }

    /// Whether everything was taken.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.content).batches.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.content).closed
    }

    /// Whether there is room, waited for at most for `time`.
    pub(super) fn wait_for_room(&self, time: Duration) -> bool {
        let content = self.wait(time, |content| !content.closed && !self.has_room(content));
        self.has_room(&content)
    }

    /// Waits until the source is closed, at most for `time`.
    pub(super) fn pause(&self, time: Duration) {
        drop(self.wait(time, |content| !content.closed));
    }

    fn wait(&self, time: Duration, condition: impl Fn(&mut Content) -> bool) -> MutexGuard<'_, Content> {
        let content = lock(&self.content);
        let waited = self.room.wait_timeout_while(content, time, condition);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Says what keeps the thread from reading; once, however often it is said before somebody asks.
    pub(super) fn trouble(&self, error: shop_core::Error) {
        lock(&self.content).trouble = Some(error);
        self.notify.notify_waiters();
    }

    /// The trouble is over.
    pub(super) fn works(&self) {
        lock(&self.content).trouble = None;
    }

    /// Tells that `partitions` are to be given up, or are lost; nothing of them is handed over any more.
    pub(super) fn revoke(&self, partitions: Vec<Partition>, rebalance: Option<Arc<RebalanceBarrier>>) {
        let mut content = lock(&self.content);
        content.batches.retain(|batch| !partitions.contains(&batch.partition));
        content.bytes = content.batches.iter().map(Batch::size).sum();
        if !content.closed {
            content.revoked.push_back(Revoked { partitions, rebalance });
        }
        drop(content);
        self.notify.notify_waiters();
        self.room.notify_all();
    }

    pub(super) fn close(&self) {
        let mut content = lock(&self.content);
        content.closed = true;
        content.revoked.clear();
        content.batches.clear();
        content.bytes = 0;
        drop(content);
        self.notify.notify_waiters();
        self.room.notify_all();
    }

    pub(super) async fn next(&self) -> Result<SourceEvent> {
        self.first(|| self.take(true)).await
    }

    pub(super) async fn next_control(&self) -> Result<ControlEvent> {
        let control = || match self.take(false)? {
            Ok(SourceEvent::Revoked(revocation)) => Some(Ok(ControlEvent::Revoked(revocation))),
            Ok(SourceEvent::Closed) => Some(Ok(ControlEvent::Closed)),
            Err(error) => Some(Err(error)),
            // A batch is not taken for a reader without room.
            Ok(_) => None,
        };
        self.first(control).await
    }

    /// Waits until `take` finds something.
    async fn first<T>(&self, take: impl Fn() -> Option<T>) -> T {
        loop {
            // Listening begins before the look, so that no change falls between the two.
            let news = self.notify.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(found) = take() {
                return found;
            }
            news.await;
        }
    }

    fn take(&self, has_room: bool) -> Option<Result<SourceEvent>> {
        let mut content = lock(&self.content);
        if content.closed {
            return Some(Ok(SourceEvent::Closed));
        }
        if let Some(revoked) = content.revoked.pop_front() {
            return Some(Ok(SourceEvent::Revoked(revoked.into())));
        }
        if has_room && let Some(batch) = content.batches.pop_front() {
            content.bytes = content.bytes.saturating_sub(batch.size());
            drop(content);
            self.room.notify_all();
            return Some(Ok(SourceEvent::Batch(batch)));
        }
        content.trouble.take().map(Err)
    }
}

impl From<Revoked> for Revocation {
    fn from(Revoked { partitions, rebalance }: Revoked) -> Self {
        // A grace that is over before anybody has asked leaves nothing to drain for.
        let time_left = rebalance.as_ref().and_then(|rebalance| rebalance.time_left());
        match (rebalance, time_left) {
            (Some(rebalance), Some(grace)) => {
                Self::new(partitions, RevocationCause::Rebalance, grace, move || rebalance.end())
            }
            _ => Self::new(partitions, RevocationCause::Lost, Duration::ZERO, || {}),
        }
    }
}

/// A rebalance that stands still until partitions are given up.
#[derive(Debug)]
pub(super) struct RebalanceBarrier {
    until: Instant,
    ended: Mutex<bool>,
    changed: Condvar,
}

impl RebalanceBarrier {
    pub(super) fn new(grace: Duration) -> Self {
        Self { until: Instant::now() + grace, ended: Mutex::new(false), changed: Condvar::new() }
    }

    /// How long it still stands; `None` when it is over.
    fn time_left(&self) -> Option<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        (!*lock(&self.ended) && !left.is_zero()).then_some(left)
    }

    pub(super) fn end(&self) {
        *lock(&self.ended) = true;
        self.changed.notify_all();
    }

    /// Waits until it is over, at most for `step`; answers whether it is.
    pub(super) fn wait(&self, step: Duration) -> bool {
        let step = step.min(self.until.saturating_duration_since(Instant::now()));
        let waited = self.changed.wait_timeout_while(lock(&self.ended), step, |ended| !*ended);
        let ended = *waited.unwrap_or_else(PoisonError::into_inner).0;
        ended || self.until <= Instant::now()
    }
}
