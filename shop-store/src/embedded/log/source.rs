//! [`EmbeddedSource`]: a task that waits for the group's lock, then reads ahead by one batch.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use shop_core::log::{CommitOffset, CommitOutcome, ControlEvent, Lag, LogSource, SourceEvent};
use shop_core::{Error, ErrorKind, Result};
use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::notifier::Waiter;
use super::options::file_name;
use super::retention::Deleter;
use super::shared::EmbeddedLogInner;
use super::{gaps, position, rows};
use crate::embedded::lock::{FileLock, LockGuard};
use crate::embedded::readers::Readers;
use crate::embedded::schema::FILE;

/// Consumes an [`EmbeddedLog`](super::EmbeddedLog) for a group, until it is closed or dropped.
#[derive(Debug)]
pub struct EmbeddedSource {
    log: Arc<EmbeddedLogInner>,
    group: String,
    /// Closed when the reader has ended and has released the group's lock.
    events: Mutex<mpsc::Receiver<Result<SourceEvent>>>,
    /// The newest epoch that a commit has found fenced. The reader ends that epoch.
    fenced: Arc<AtomicU64>,
    /// Whether this is the group's active consumer.
    active: Arc<AtomicBool>,
    closed: CancellationToken,
    _close_on_drop: DropGuard,
}

impl EmbeddedSource {
    pub(super) fn start(log: &Arc<EmbeddedLogInner>, group: &str) -> Result<Self> {
        // Opened here, so an unusable folder is an error of `start`.
        FileLock::open(&lock_path(log, group))?;
        let fenced = Arc::default();
        let active = Arc::default();
        let reader = GroupReader {
            // Its own connection: scans do not delay it.
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

    /// An embedded log never revokes its partition.
    async fn next_control(&self) -> Result<ControlEvent> {
        self.closed.cancelled().await;
        Ok(ControlEvent::Closed)
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let group = self.group.clone();
        let to_commit = positions.to_vec();
        let commit = move |connection: &Connection| {
            to_commit
                .iter()
                .map(|at| position::commit(connection, &group, at))
                .collect()
        };
        let outcomes: Vec<CommitOutcome> = self.log.writer.write(commit).await?;
        let fenced_epoch = |(at, outcome): (&CommitOffset, &CommitOutcome)| {
            (*outcome == CommitOutcome::Fenced).then_some(at.partition.epoch)
        };
        if let Some(epoch) = positions
            .iter()
            .zip(&outcomes)
            .filter_map(fenced_epoch)
            .max()
        {
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
                .read(move |connection| position::lag(connection, &group));
            records.insert(0, lag.await?);
        }
        Ok(Lag::new(
            Arc::clone(&self.log.topic),
            self.group.clone(),
            records,
        ))
    }

    async fn check(&self) -> Result<()> {
        self.log.writer.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
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

/// Returns the lock file of `group` for the log's topic.
pub(super) fn lock_path(log: &EmbeddedLogInner, group: &str) -> PathBuf {
    let name = match log.options.file.as_str() {
        FILE => file_name(group),
        other => file_name(&format!("{other}.{group}")),
    };
    log.folder.join(format!("{name}.consumer.lock"))
}

/// Reads the log for a source.
struct GroupReader {
    log: Arc<EmbeddedLogInner>,
    group: String,
    readers: Readers,
    waiter: Waiter,
    deleter: Deleter,
    fenced: Arc<AtomicU64>,
    active: Arc<AtomicBool>,
}

/// How often a waiting consumer tries to take the lock. The kernel releases the lock of a dead
/// process at once, so this is the time until another process takes over.
const LOCK_INTERVAL: Duration = Duration::from_millis(250);
/// The pause after the position has passed records, in which more commits are likely.
const PASS_PAUSE: Duration = Duration::from_millis(10);
/// The pause after an error.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

impl GroupReader {
    /// Reads until the receiver of `events` is dropped.
    async fn run(mut self, events: mpsc::Sender<Result<SourceEvent>>) {
        while !events.is_closed() {
            // The lock is released after each epoch: after an error, another process may succeed.
            let read = self.read_epoch(&events).await;
            self.active.store(false, Ordering::Release);
            if let Err(error) = read {
                // If the receiver is dropped, the loop ends.
                let _receiver_dropped = events.send(Err(error)).await;
                sleep(ERROR_PAUSE).await;
            }
        }
    }

    /// Waits for the lock, then reads until the epoch is fenced.
    async fn read_epoch(&mut self, events: &mpsc::Sender<Result<SourceEvent>>) -> Result<()> {
        let lock = FileLock::open(&lock_path(&self.log, &self.group))?;
        let _guard = self.wait_for_lock(&lock).await?;
        self.log.register(&self.group).await?;
        let group = self.group.clone();
        let begin = move |connection: &Connection| position::begin_epoch(connection, &group);
        let (epoch, mut next) = self.log.writer.write(begin).await?;
        self.active.store(true, Ordering::Release);
        let partition = self.log.partition(epoch);
        let at_end = move |connection: &Connection| gaps::at_end(connection, &partition, next);
        if let Some(gap) = self.readers.read(at_end).await? {
            next = gap.next_offset;
            // If the receiver is dropped, so it is for the next event.
            let _receiver_dropped = events.send(Ok(SourceEvent::Gap(gap))).await;
        }
        loop {
            self.waiter.mark_seen();
            if self.fenced.load(Ordering::Acquire) >= epoch {
                tracing::warn!(log.group = %self.group, log.epoch = epoch, "consumer lock lost to another process");
                return Ok(());
            }
            let (end, read) = self.read_batch(epoch, next).await?;
            if read.is_empty() {
                if end > next {
                    // Purchases that were stored with their records: each commit would wake it for
                    // nothing.
                    sleep(PASS_PAUSE).await;
                }
                self.waiter.wait(self.log.options.poll_interval).await;
            }
            next = end;
            for event in read {
                if events.send(Ok(event)).await.is_err() {
                    return Ok(());
                }
            }
            self.deleter.delete_old_rows().await;
        }
    }

    /// Reads the records from `next` on, or from the position of the group if it has passed that.
    /// Returns where it ended. Position and records are of one moment.
    async fn read_batch(&self, epoch: u64, next: u64) -> Result<(u64, Vec<SourceEvent>)> {
        let group = self.group.clone();
        let partition = self.log.partition(epoch);
        let (max_records, max_bytes) = self.log.options.batch();
        let read = move |connection: &Connection| {
            let moment = connection.unchecked_transaction()?;
            let next = position::find(&moment, &group)?
                .unwrap_or_default()
                .max(next);
            let records = rows::read(&moment, next, max_records, max_bytes)?;
            let end = records.last().map_or(next, |last| last.offset + 1);
            Ok((end, gaps::split(&moment, &partition, next, records)?))
        };
        self.readers.read(read).await
    }

    /// Waits for the group's lock.
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
