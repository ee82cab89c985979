//! [`EmbeddedSource`]: delivers the records of a log to a consumer of a group.
//!
//! A task reads the log, and a channel carries its events to the source. The channel buffers one
//! event, so the task reads the next batch while the consumer processes one.
//!
//! ```text
//! records table --(reader thread)--> GroupReader task --(channel)--> EmbeddedSource::next
//! groups table <--(writer thread)------------------------------------ EmbeddedSource::commit
//! ```
//!
//! Only one consumer of a group is active, over all processes: the one whose task holds the group's
//! lock file. It reads in an epoch of its own, see the module `position`. When a commit is refused
//! because a later epoch began, the task releases the lock and waits for it again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use shop_core::log::{CommitOffset, CommitOutcome, ControlEvent, Lag, LogSource, SourceEvent};
use shop_core::{Error, ErrorKind, Result};
use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::log::{EmbeddedLogInner, file_name};
use super::notifier::Waiter;
use super::retention::Deleter;
use super::{gaps, position, rows};
use crate::embedded::engine::lock::{FileLock, LockGuard};
use crate::embedded::engine::readers::Readers;
use crate::embedded::schema::FILE;

/// Consumes an [`EmbeddedLog`](super::EmbeddedLog) for a group, until it is closed or dropped.
#[derive(Debug)]
pub struct EmbeddedSource {
    log: Arc<EmbeddedLogInner>,
    group: String,
    /// Closed after the reader ends and releases the group's lock.
    events: Mutex<mpsc::Receiver<Result<SourceEvent>>>,
    /// The newest epoch in which a commit was refused. The reader task ends that epoch.
    fenced: Arc<AtomicU64>,
    /// Whether this is the active consumer of the group. Only the active one reports a lag.
    active: Arc<AtomicBool>,
    closed: CancellationToken,
    _close_on_drop: DropGuard,
}

impl EmbeddedSource {
    /// Creates a source of `log` for `group`, and spawns the task that reads the log.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the group's lock file or the file of the log
    /// cannot be opened.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time.
    pub(super) fn start(log: &Arc<EmbeddedLogInner>, group: &str) -> Result<Self> {
        // The task opens the lock file again. It is opened here so that an unusable folder is an
        // error of `start`.
        FileLock::open(&lock_path(log, group))?;
        let fenced = Arc::default();
        let active = Arc::default();
        let reader = GroupReader {
            // The task reads by a thread of its own, so that scans of the log do not delay it.
            readers: Readers::start(&log.database, &log.writer, 1, 1)?,
            waiter: log.waiter(),
            deleter: Deleter::new(Arc::clone(log)),
            log: Arc::clone(log),
            group: group.to_owned(),
            fenced: Arc::clone(&fenced),
            active: Arc::clone(&active),
        };
        // One batch is buffered while the next one is read.
        let (sender, events) = mpsc::channel(1);
        let closed = log.writer.closing.child_token();
        tokio::spawn(closed.clone().run_until_cancelled_owned(reader.run(sender)));
        Ok(Self {
            log: Arc::clone(log),
            group: group.to_owned(),
            events: Mutex::new(events),
            fenced,
            active,
            _close_on_drop: closed.clone().drop_guard(),
            closed,
        })
    }
}

#[async_trait]
impl LogSource for EmbeddedSource {
    async fn next(&self) -> Result<SourceEvent> {
        let event = async { self.events.lock().await.recv().await };
        self.closed
            .run_until_cancelled(event)
            .await
            .flatten()
            .unwrap_or(Ok(SourceEvent::Closed))
    }

    /// Waits until the source is closed. There is no other event, because an embedded log never
    /// revokes its partition.
    async fn next_control(&self) -> Result<ControlEvent> {
        self.closed.cancelled().await;
        Ok(ControlEvent::Closed)
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let group = self.group.clone();
        let offsets = positions.to_vec();
        let outcomes: Vec<CommitOutcome> = self
            .log
            .writer
            .write(move |connection| {
                offsets
                    .iter()
                    .map(|offset| position::commit_position(connection, &group, offset))
                    .collect()
            })
            .await?;

        // Wakes the task, which may wait for records, so that it ends the fenced epoch at once.
        let fenced_epochs = positions
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| **outcome == CommitOutcome::Fenced)
            .map(|(offset, _)| offset.partition.epoch);
        if let Some(epoch) = fenced_epochs.max() {
            self.fenced.fetch_max(epoch, Ordering::AcqRel);
            self.log.notifier.send_replace(());
        }
        Ok(outcomes)
    }

    async fn lag(&self) -> Result<Lag> {
        let mut records = BTreeMap::new();
        if self.active.load(Ordering::Acquire) && !self.closed.is_cancelled() {
            let group = self.group.clone();
            let lag = self
                .log
                .readers
                .read(move |connection| position::count_lag(connection, &group));
            records.insert(0, lag.await?);
        }
        Ok(Lag::new(
            Arc::clone(&self.log.topic),
            self.group.clone(),
            records,
        ))
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        // The task releases the lock before it drops the sender. So when the channel yields no more
        // events, the lock is released.
        self.closed.cancel();
        let ended = async {
            let mut events = self.events.lock().await;
            while events.recv().await.is_some() {}
        };
        tokio::time::timeout(deadline, ended)
            .await
            .map_err(|_elapsed| {
                Error::new(
                    ErrorKind::DeadlineExceeded,
                    "the reader did not end in time",
                )
                .with_origin("embedded log")
            })
    }
}

/// Returns the path of the consumer lock of `group`. Each log file uses separate locks for its
/// groups.
pub(super) fn lock_path(log: &EmbeddedLogInner, group: &str) -> PathBuf {
    let name = match log.options.file.as_str() {
        FILE => file_name(group),
        other => file_name(&format!("{other}.{group}")),
    };
    log.folder.join(format!("{name}.consumer.lock"))
}

/// The task that waits for the group's lock, and then reads the log for a source.
struct GroupReader {
    log: Arc<EmbeddedLogInner>,
    group: String,
    readers: Readers,
    waiter: Waiter,
    deleter: Deleter,
    fenced: Arc<AtomicU64>,
    active: Arc<AtomicBool>,
}

/// The time between two attempts of a waiting consumer to take the lock.
///
/// The kernel releases the lock of a dead process at once, so another process takes over within
/// this time.
const LOCK_INTERVAL: Duration = Duration::from_millis(250);
/// The pause after the position passes records that were stored with their purchases.
///
/// More such commits are likely during the pause. Without it, each commit would wake the task for
/// nothing.
const PASS_PAUSE: Duration = Duration::from_millis(10);
/// The pause after an error, before the task takes the lock and reads again.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

impl GroupReader {
    /// Reads in one epoch after the other, until the receiver of `events` is dropped.
    ///
    /// An error is an event too: the consumer receives it, and reading continues after a pause.
    async fn run(mut self, events: mpsc::Sender<Result<SourceEvent>>) {
        while !events.is_closed() {
            // The lock is released after each epoch. After an error, another process may succeed
            // where this one fails.
            let epoch_result = self.read_epoch(&events).await;
            self.active.store(false, Ordering::Release);

            if let Err(error) = epoch_result {
                // A failed send means that the receiver is dropped. The condition of the loop then
                // ends the task.
                let _receiver_dropped = events.send(Err(error)).await;
                sleep(ERROR_PAUSE).await;
            }
        }
    }

    /// Waits for the group's lock, begins an epoch, and reads until the epoch is fenced or the
    /// receiver is dropped.
    ///
    /// The lock is released when this returns.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if the group feeds another store; the error of a read or a
    /// write of the file.
    async fn read_epoch(&mut self, events: &mpsc::Sender<Result<SourceEvent>>) -> Result<()> {
        let lock = FileLock::open(&lock_path(&self.log, &self.group))?;
        let _guard = self.wait_for_lock(&lock).await?;
        self.log.register(&self.group).await?;

        let group = self.group.clone();
        let (epoch, mut next) = self
            .log
            .writer
            .write(move |connection| position::begin_epoch(connection, &group))
            .await?;
        self.active.store(true, Ordering::Release);
        let partition = self.log.partition(epoch);

        // The newest records of the log may be lost. No later record reveals such a gap, so the end
        // of the log is checked once, before the first read.
        let gap_at_end = self
            .readers
            .read(move |connection| gaps::gap_at_end(connection, &partition, next))
            .await?;
        if let Some(gap) = gap_at_end {
            next = gap.next_offset;
            // A failed send means that the receiver is dropped. Sending the next event then fails
            // too and ends the loop.
            let _receiver_dropped = events.send(Ok(SourceEvent::Gap(gap))).await;
        }

        loop {
            // Before the read, so that a commit during the read ends the wait below.
            self.waiter.mark_seen();
            if self.fenced.load(Ordering::Acquire) >= epoch {
                tracing::warn!(log.group = %self.group, log.epoch = epoch, "consumer lock lost to another process");
                return Ok(());
            }

            let (end, batch_events) = self.read_batch(epoch, next).await?;
            if batch_events.is_empty() {
                if end > next {
                    // The position passed purchases that were stored with their records, and more
                    // are likely.
                    sleep(PASS_PAUSE).await;
                }
                self.waiter.wait(self.log.options.poll_interval).await;
            }
            next = end;

            for event in batch_events {
                if events.send(Ok(event)).await.is_err() {
                    return Ok(());
                }
            }
            self.deleter.delete_old_rows().await;
        }
    }

    /// Reads the next batch of records from `next` on, or from the position of the group if that is
    /// later.
    ///
    /// The position is later if records were stored with their purchases, which the consumer need
    /// not receive. Returns the offset after the batch, and the records with the gaps between them.
    /// One transaction reads the position and the records, so that both belong to the same moment.
    async fn read_batch(&self, epoch: u64, next: u64) -> Result<(u64, Vec<SourceEvent>)> {
        let group = self.group.clone();
        let partition = self.log.partition(epoch);
        let (max_records, max_bytes) = self.log.options.batch_limits();
        self.readers
            .read(move |connection| {
                let snapshot = connection.unchecked_transaction()?;
                let group_position =
                    position::find_position(&snapshot, &group)?.unwrap_or_default();
                let start = next.max(group_position);
                let records = rows::read_records(&snapshot, start, max_records, max_bytes)?;

                // Without records, `start` is the end: the position of the group may have moved
                // since the last read.
                let end = records.last().map_or(start, |last| last.offset + 1);
                let events = gaps::split_at_gaps(&snapshot, &partition, start, records)?;
                Ok((end, events))
            })
            .await
    }

    /// Waits until no other consumer of the group holds the lock, and takes the lock.
    async fn wait_for_lock<'a>(&self, lock: &'a FileLock) -> Result<LockGuard<'a>> {
        let mut has_waited = false;
        loop {
            if let Some(guard) = lock.try_lock()? {
                tracing::info!(log.group = %self.group, has_waited, "consumer lock acquired");
                return Ok(guard);
            }
            if !has_waited {
                tracing::info!(log.group = %self.group, "another process holds the consumer lock, waiting");
                has_waited = true;
            }
            sleep(LOCK_INTERVAL).await;
        }
    }
}
