//! [`EmbeddedSource`]: a thread that waits for the group's lock, then reads ahead by one batch.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::Connection;
use shop_core::log::{CommitOffset, CommitOutcome, ControlEvent, Lag, LogSource, Partition, SourceEvent};
use shop_core::retention::{Allowance, DeletionGuard};
use shop_core::{Error, ErrorKind, Result};
use tokio::sync::{Mutex, OnceCell, mpsc};
use tokio_util::sync::CancellationToken;

use super::log::{LogFile, Shared};
use super::notifier::Waiter;
use super::options::file_name;
use super::{gaps, position, retention, rows};
use crate::embedded::clock::{self, Deletions};
use crate::embedded::error::{from_io, from_sqlite};
use crate::embedded::lock::{FileLock, LockGuard};
use crate::embedded::schema::FILE;
use crate::embedded::thread::{self, ThreadExit};
use crate::embedded::writer::Writer;

/// Consumes an [`EmbeddedLog`](super::EmbeddedLog) for a group, until it is closed or dropped.
#[derive(Debug)]
pub struct EmbeddedSource {
    log: Arc<Shared>,
    group: String,
    closed: CancellationToken,
    /// Not started while the log has no file.
    thread: OnceCell<ReaderThread>,
}

/// A handle to the reader thread.
#[derive(Debug)]
struct ReaderThread {
    events: Mutex<mpsc::Receiver<Result<SourceEvent>>>,
    /// The newest epoch that a commit has found fenced. The thread reads it to end that epoch.
    fenced: Arc<AtomicU64>,
    /// Whether this is the group's active consumer.
    active: Arc<AtomicBool>,
    /// The exit of the thread, which then has released the group's lock.
    exit: ThreadExit,
    waiter: Arc<Waiter>,
}

impl EmbeddedSource {
    pub(super) fn start(log: &Arc<Shared>, group: &str) -> Result<Self> {
        let (log, group, closed) = (Arc::clone(log), group.to_owned(), CancellationToken::new());
        let source = Self { log, group, closed, thread: OnceCell::new() };
        if let Some(file) = source.log.file.get() {
            let _was_empty = source.thread.set(source.start_thread(file)?);
        }
        Ok(source)
    }

    fn start_thread(&self, file: &LogFile) -> Result<ReaderThread> {
        let log = &self.log;
        let watched = log.database.lock_path();
        let waiter = log.notifier.waiter(&watched).map_err(|error| from_io(error, &watched))?;
        let reader = Reader {
            lock_path: lock_path(log, &self.group),
            connection: log.database.reader()?,
            writer: file.file.writer.clone(),
            partition: file.partition(log, 0),
            log: Arc::clone(log),
            group: self.group.clone(),
            closed: self.closed.clone(),
            fenced: Arc::default(),
            active: Arc::default(),
            waiter: Arc::clone(&waiter),
            next_deletion: Instant::now(),
            next_conflict_deletion: Instant::now(),
            guard: DeletionGuard::default(),
            rest: None,
        };
        // Opened here, so an unusable folder is an error of `start`.
        FileLock::open(&reader.lock_path)?;
        let (fenced, active) = (Arc::clone(&reader.fenced), Arc::clone(&reader.active));
        // One batch is buffered while the next one is read.
        let (sender, events) = mpsc::channel(1);
        let exit = thread::start("shop-source", move || reader.run(&sender))?;
        Ok(ReaderThread { events: Mutex::new(events), fenced, active, exit, waiter })
    }

    /// Starts the thread when the log has a file.
    async fn thread(&self) -> Result<&ReaderThread> {
        let start = || async { self.start_thread(self.log.file.wait().await?) };
        self.thread.get_or_try_init(start).await
    }

    /// Whether its thread waits for a commit.
    #[cfg(test)]
    pub(super) fn is_waiting(&self) -> bool {
        self.thread.get().is_some_and(|thread| thread.waiter.is_waiting())
    }

    fn cancel(&self) {
        self.closed.cancel();
        self.thread.get().into_iter().for_each(|thread| thread.waiter.close());
    }
}

impl Drop for EmbeddedSource {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[async_trait]
impl LogSource for EmbeddedSource {
    async fn next(&self) -> Result<SourceEvent> {
        let event = async {
            let event = self.thread().await?.events.lock().await.recv().await;
            event.unwrap_or(Ok(SourceEvent::Closed))
        };
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Ok(SourceEvent::Closed),
            event = event => event,
        }
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
        let (group, to_commit) = (self.group.clone(), positions.to_vec());
        let commit = move |connection: &Connection| {
            to_commit.iter().map(|at| position::commit(connection, &group, at)).collect()
        };
        let outcomes: Vec<CommitOutcome> = self.log.file.write(commit).await?;
        let fenced_epoch = |(at, outcome): (&CommitOffset, &CommitOutcome)| {
            (*outcome == CommitOutcome::Fenced).then_some(at.partition.epoch)
        };
        if let Some(epoch) = positions.iter().zip(&outcomes).filter_map(fenced_epoch).max()
            && let Some(thread) = self.thread.get()
        {
            thread.fenced.fetch_max(epoch, Ordering::AcqRel);
            self.log.notifier.notify();
        }
        Ok(outcomes)
    }

    async fn lag(&self) -> Result<Lag> {
        let mut records = BTreeMap::new();
        if self.thread.get().is_some_and(|thread| thread.active.load(Ordering::Acquire)) {
            let group = self.group.clone();
            let lag = self.log.file.read(move |connection| position::lag(connection, &group));
            records.insert(0, lag.await?);
        }
        Ok(Lag::new(Arc::clone(&self.log.topic), self.group.clone(), records))
    }

    async fn check(&self) -> Result<()> {
        self.log.file.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.cancel();
        let Some(thread) = self.thread.get() else { return Ok(()) };
        let exited = async {
            // Wakes a thread that waits for room in the channel.
            thread.events.lock().await.close();
            thread.exit.clone().wait().await;
        };
        tokio::time::timeout(deadline, exited).await.map_err(|_elapsed| {
            Error::new(ErrorKind::DeadlineExceeded, "the reader thread did not end in time")
                .with_origin("embedded log")
        })
    }
}

/// Returns the lock file of `group` for the log's topic.
pub(super) fn lock_path(log: &Shared, group: &str) -> PathBuf {
    let name = match log.options.file.as_str() {
        FILE => file_name(group),
        other => file_name(&format!("{other}.{group}")),
    };
    log.folder.join(format!("{name}.consumer.lock"))
}

/// Returns the offset after `event`, which is at `next`.
fn following(event: &SourceEvent, next: u64) -> u64 {
    match event {
        SourceEvent::Batch(batch) => batch.records.last().map_or(next, |last| last.offset + 1),
        SourceEvent::Gap(gap) => gap.next_offset,
        _ => next,
    }
}

/// The state of the reader thread.
struct Reader {
    lock_path: PathBuf,
    // Dropped before the writer, which is the last to close the file.
    connection: Connection,
    writer: Writer,
    /// The log's partition, in no epoch.
    partition: Partition,
    log: Arc<Shared>,
    group: String,
    closed: CancellationToken,
    fenced: Arc<AtomicU64>,
    active: Arc<AtomicBool>,
    waiter: Arc<Waiter>,
    next_deletion: Instant,
    next_conflict_deletion: Instant,
    guard: DeletionGuard,
    /// What a round may still delete while the clock may be wrong.
    rest: Option<Allowance>,
}

/// How often a waiting consumer tries to take the lock. The kernel releases the lock of a dead process at once, so
/// this is the time until another process takes over.
const LOCK_INTERVAL: Duration = Duration::from_millis(250);
/// The pause after an error.
const ERROR_PAUSE: Duration = Duration::from_millis(200);
/// How often old records are deleted.
const DELETION_INTERVAL: Duration = Duration::from_secs(60);
/// How often old conflicts are deleted, which reads all dead letters.
const CONFLICT_DELETION_INTERVAL: Duration = Duration::from_secs(3_600);

impl Reader {
    fn run(mut self, events: &mpsc::Sender<Result<SourceEvent>>) {
        while !self.is_over(events) {
            // The lock is released after each epoch: after an error, another process may succeed.
            let read = self.read_epoch(events);
            self.active.store(false, Ordering::Release);
            if let Err(error) = read {
                // If the receiver is dropped, the loop ends.
                let _receiver_dropped = events.blocking_send(Err(error));
                self.waiter.pause(ERROR_PAUSE);
            }
        }
    }

    fn is_over(&self, events: &mpsc::Sender<Result<SourceEvent>>) -> bool {
        self.closed.is_cancelled() || events.is_closed()
    }

    /// Waits for the lock, then reads until the source is closed or the epoch is fenced.
    fn read_epoch(&mut self, events: &mpsc::Sender<Result<SourceEvent>>) -> Result<()> {
        let lock = FileLock::open(&self.lock_path)?;
        let Some(_guard) = self.wait_for_lock(&lock, events)? else { return Ok(()) };
        let Some((epoch, mut next)) = self.begin_epoch(events)? else { return Ok(()) };
        self.active.store(true, Ordering::Release);
        let log = Arc::clone(&self.log);
        let mut partition = self.partition.clone();
        partition.epoch = epoch;
        let (max_records, max_bytes) = (log.options.batch_records.max(1), log.options.batch_bytes);
        let failed = |error| from_sqlite(error, &log.database.path());
        if let Some(gap) = gaps::at_end(&self.connection, &partition, next).map_err(failed)? {
            next = gap.next_offset;
            // If the receiver is dropped, the loop ends.
            let _receiver_dropped = events.blocking_send(Ok(SourceEvent::Gap(gap)));
        }
        while !self.is_over(events) {
            let known = self.waiter.commits();
            if self.fenced.load(Ordering::Acquire) >= epoch {
                tracing::warn!(log.group = %self.group, log.epoch = epoch, "consumer lock lost to another process");
                return Ok(());
            }
            let read = self.read_batch(&partition, &mut next, max_records, max_bytes).map_err(failed)?;
            if read.is_empty() {
                self.waiter.wait_for_commit(known, log.options.poll_interval);
            }
            for event in read {
                next = following(&event, next);
                if events.blocking_send(Ok(event)).is_err() {
                    return Ok(());
                }
            }
            self.delete_old_rows();
        }
        Ok(())
    }

    /// Reads the records from `next` on, or from the position of the group if it has passed that. Position and records are
    /// of one moment.
    fn read_batch(
        &self,
        partition: &Partition,
        next: &mut u64,
        max_records: usize,
        max_bytes: usize,
    ) -> rusqlite::Result<Vec<SourceEvent>> {
        let _moment = self.connection.unchecked_transaction()?;
        *next = position::read(&self.connection, &self.group)?.max(*next);
        let records = rows::read(&self.connection, *next, max_records, max_bytes)?;
        gaps::split(&self.connection, partition, *next, records)
    }

    /// Waits for the group's lock. Returns `None` if the source is closed before.
    fn wait_for_lock<'a>(
        &self,
        lock: &'a FileLock,
        events: &mpsc::Sender<Result<SourceEvent>>,
    ) -> Result<Option<LockGuard<'a>>> {
        let mut has_waited = false;
        while !self.is_over(events) {
            if let Some(guard) = lock.try_lock()? {
                tracing::info!(log.group = %self.group, has_waited, "consumer lock acquired");
                return Ok(Some(guard));
            }
            if !has_waited {
                tracing::info!(log.group = %self.group, "another process holds the consumer lock, waiting");
                has_waited = true;
            }
            self.waiter.pause(LOCK_INTERVAL);
        }
        Ok(None)
    }

    /// Starts an epoch. Returns its number and the offset to read from, or `None` if the source is closed.
    fn begin_epoch(&self, events: &mpsc::Sender<Result<SourceEvent>>) -> Result<Option<(u64, u64)>> {
        if self.is_over(events) {
            return Ok(None);
        }
        let (group, feeds) = (self.group.clone(), self.log.options.feeds.clone());
        let register = move |connection: &Connection| position::register(connection, &group, &feeds);
        self.log.check_feeds(&self.group, &self.writer.write_blocking(register)?)?;
        let group = self.group.clone();
        self.writer.write_blocking(move |connection| position::begin_epoch(connection, &group)).map(Some)
    }

    /// Deletes slices of old rows if they are due.
    fn delete_old_rows(&mut self) {
        if self.next_deletion > Instant::now() {
            return;
        }
        let has_more = self.delete_slices().unwrap_or_else(|error| {
            tracing::warn!(error = %error.chain(), "failed to delete old rows");
            false
        });
        self.next_deletion = Instant::now() + if has_more { Duration::ZERO } else { DELETION_INTERVAL };
    }

    /// Deletes a slice of old records, then of old conflicts if they are due. Returns whether more old records may be
    /// left in this round. While the clock may be wrong, conflicts stay.
    fn delete_slices(&mut self) -> Result<bool> {
        let (log, now) = (Arc::clone(&self.log), self.log.options.clock.now());
        let allowance = match self.rest.take() {
            Some(rest) => rest,
            None => {
                let (last_seen, consumed) = retention::last_seen(&self.connection)
                    .map_err(|error| from_sqlite(error, &log.database.path()))?;
                self.guard.round(now, last_seen, consumed)
            }
        };
        let Allowance { rows, seen, .. } = allowance;
        let limit = usize::try_from(rows).unwrap_or(usize::MAX).min(retention::SLICE);
        let before = now.saturating_sub(log.options.retention);
        let deleted = self.writer.write_blocking(move |connection| {
            let deleted = retention::delete_records(connection, before, now, limit)?;
            seen.map_or(Ok(()), |seen| clock::store(connection, Deletions::Log, seen))?;
            Ok(deleted)
        })?;
        let (is_trusted, has_more) = (rows == u64::MAX, deleted == retention::SLICE);
        if has_more {
            self.rest = allowance.after(deleted as u64);
        }
        if has_more || !is_trusted || self.next_conflict_deletion > Instant::now() {
            return Ok(has_more);
        }
        self.next_conflict_deletion = Instant::now() + CONFLICT_DELETION_INTERVAL;
        let before = now.saturating_sub(retention::CONFLICTS);
        let delete = move |connection: &Connection| retention::delete_conflicts(connection, before);
        if self.writer.write_blocking(delete)? == retention::SLICE {
            self.next_conflict_deletion = Instant::now() + DELETION_INTERVAL;
        }
        Ok(false)
    }
}
