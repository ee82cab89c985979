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
    fenced_epoch: Arc<AtomicU64>,
    /// Whether this is the active consumer of the group. Only the active consumer reports a lag.
    is_active: Arc<AtomicBool>,
    /// Cancelled when this source, or the log, is closed.
    closed: CancellationToken,
    _close_on_drop: DropGuard,
}

/// The number of reader threads of a source.
const READ_THREADS: usize = 1;
/// The maximum number of queued reads of a source, whose task reads one batch after the other.
const READ_QUEUE: usize = 1;
/// The number of events that the channel between the task and the source buffers.
const BUFFERED_EVENTS: usize = 1;

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
        let fenced_epoch = Arc::default();
        let is_active = Arc::default();
        let reader = GroupReader {
            // The task reads by a thread of its own, so that scans of the log do not delay it.
            readers: Readers::start(&log.database, &log.writer, READ_THREADS, READ_QUEUE)?,
            waiter: log.waiter(),
            deleter: Deleter::new(Arc::clone(log)),
            log: Arc::clone(log),
            group: group.to_owned(),
            fenced_epoch: Arc::clone(&fenced_epoch),
            is_active: Arc::clone(&is_active),
        };
        // One batch is buffered while the task reads the next batch.
        let (sender, events) = mpsc::channel(BUFFERED_EVENTS);
        let closed = log.writer.closing.child_token();
        tokio::spawn(closed.clone().run_until_cancelled_owned(reader.run(sender)));
        Ok(Self {
            log: Arc::clone(log),
            group: group.to_owned(),
            events: Mutex::new(events),
            fenced_epoch,
            is_active,
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

        // The task may wait for records, so it is woken, and ends the fenced epoch at once.
        let fenced_epochs = positions
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| **outcome == CommitOutcome::Fenced)
            .map(|(offset, _)| offset.partition.epoch);
        if let Some(epoch) = fenced_epochs.max() {
            self.fenced_epoch.fetch_max(epoch, Ordering::AcqRel);
            self.log.notifier.send_replace(());
        }
        Ok(outcomes)
    }

    async fn lag(&self) -> Result<Lag> {
        let mut records = BTreeMap::new();
        if self.is_active.load(Ordering::Acquire) && !self.closed.is_cancelled() {
            let group = self.group.clone();
            let lag = self
                .log
                .readers
                .read(move |connection| position::count_lag(connection, &group));
            records.insert(rows::PARTITION, lag.await?);
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
        let reader_end = async {
            let mut events = self.events.lock().await;
            while events.recv().await.is_some() {}
        };
        tokio::time::timeout(deadline, reader_end)
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
    fenced_epoch: Arc<AtomicU64>,
    is_active: Arc<AtomicBool>,
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
            self.is_active.store(false, Ordering::Release);

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
    /// The lock is released when this function returns.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if the group feeds another store; the error of a read or a
    /// write of the file.
    async fn read_epoch(&mut self, events: &mpsc::Sender<Result<SourceEvent>>) -> Result<()> {
        let file_lock = FileLock::open(&lock_path(&self.log, &self.group))?;
        let _guard = self.wait_for_lock(&file_lock).await?;
        self.log.register(&self.group).await?;

        let group = self.group.clone();
        let (epoch, mut next_offset) = self
            .log
            .writer
            .write(move |connection| position::begin_epoch(connection, &group))
            .await?;
        self.is_active.store(true, Ordering::Release);
        let partition = self.log.partition(epoch);

        // The newest records of the log may be lost. No later record reveals such a gap, so the end
        // of the log is checked once, before the first read.
        let gap_at_end = self
            .readers
            .read(move |connection| gaps::gap_at_end(connection, &partition, next_offset))
            .await?;
        if let Some(gap) = gap_at_end {
            next_offset = gap.next_offset;
            // A failed send means that the receiver is dropped. Sending the next event then fails
            // too and ends the loop.
            let _receiver_dropped = events.send(Ok(SourceEvent::Gap(gap))).await;
        }

        loop {
            // This call comes before the read, so that a commit during the read ends the wait below.
            self.waiter.mark_seen();
            if self.fenced_epoch.load(Ordering::Acquire) >= epoch {
                tracing::warn!(log.group = %self.group, log.epoch = epoch, "consumer lock lost to another process");
                return Ok(());
            }

            let (end_offset, batch_events) = self.read_batch(epoch, next_offset).await?;
            if batch_events.is_empty() {
                if end_offset > next_offset {
                    // The position passed purchases that were stored with their records, and more
                    // are likely.
                    sleep(PASS_PAUSE).await;
                }
                self.waiter.wait(self.log.options.poll_interval).await;
            }
            next_offset = end_offset;

            for event in batch_events {
                if events.send(Ok(event)).await.is_err() {
                    return Ok(());
                }
            }
            self.deleter.delete_old_rows().await;
        }
    }

    /// Reads the next batch of records from `next_offset` on, or from the position of the group if
    /// that is later.
    ///
    /// The position is later if records were stored together with their purchases. The consumer need
    /// not receive such records. Returns the offset after the batch, and the records with the gaps
    /// between them.
    /// One transaction reads the position and the records, so that both belong to the same moment.
    async fn read_batch(&self, epoch: u64, next_offset: u64) -> Result<(u64, Vec<SourceEvent>)> {
        let group = self.group.clone();
        let partition = self.log.partition(epoch);
        let (max_records, max_bytes) = self.log.options.batch_limits();
        self.readers
            .read(move |connection| {
                let snapshot = connection.unchecked_transaction()?;
                // A group that was deleted meanwhile has no position. The next commit is then
                // refused.
                let group_position =
                    position::find_position(&snapshot, &group)?.unwrap_or_default();
                let start = next_offset.max(group_position);
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
    ///
    /// # Errors
    /// The error of the lock file.
    async fn wait_for_lock<'a>(&self, file_lock: &'a FileLock) -> Result<LockGuard<'a>> {
        let mut has_waited = false;
        loop {
            if let Some(guard) = file_lock.try_lock()? {
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
