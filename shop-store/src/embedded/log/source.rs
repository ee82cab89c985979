//! The reading end of the log: a thread that waits for its turn, then reads ahead by one batch.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::Connection;
use shop_core::log::{
    Batch, CommitOffset, CommitOutcome, ControlEvent, Lag, LogSource, Partition, SourceEvent,
};
use shop_core::{Error, ErrorKind, Result, Timestamp};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::log::Shared;
use super::options::{FILE, file_name};
use super::{position, retention, rows, scan};
use crate::embedded::error::from_sqlite;
use crate::embedded::lock::{FileLock, LockGuard};
use crate::embedded::thread::{self, ThreadExit};

/// Reads an [`EmbeddedLog`](super::EmbeddedLog) for a group, until it is closed or dropped.
#[derive(Debug)]
pub struct EmbeddedSource {
    log: Arc<Shared>,
    group: String,
    batches: Mutex<mpsc::Receiver<Result<Batch>>>,
    closed: CancellationToken,
    /// The newest epoch that is known to be over, though the thread may not know it yet.
    fenced: Arc<AtomicU64>,
    /// Whether its turn has come.
    reads: Arc<AtomicBool>,
    /// The end of the thread, which frees the group's lock.
    ending: ThreadExit,
}

impl EmbeddedSource {
    pub(super) fn start(log: &Arc<Shared>, group: &str) -> Result<Self> {
        let reader = Reader {
            lock_path: lock_path(log, group),
            connection: log.database.reader()?,
            log: Arc::clone(log),
            group: group.to_owned(),
            closed: CancellationToken::new(),
            fenced: Arc::default(),
            reads: Arc::default(),
            next_deletion: Instant::now(),
            next_conflicts: Instant::now(),
        };
        // Made now, so that a folder that cannot be used is told to whoever starts.
        FileLock::open(&reader.lock_path)?;
        let (closed, fenced) = (reader.closed.clone(), Arc::clone(&reader.fenced));
        let reads = Arc::clone(&reader.reads);
        // One batch waits here while the next one is read.
        let (sender, batches) = mpsc::channel(1);
        let ending = thread::start("shop-source", move || reader.run(&sender))?;
        let (log, group, batches) = (Arc::clone(log), group.to_owned(), Mutex::new(batches));
        Ok(Self { log, group, batches, closed, fenced, reads, ending })
    }

    fn hang_up(&self) {
        self.closed.cancel();
        self.log.notifier.notify();
    }
}

impl Drop for EmbeddedSource {
    fn drop(&mut self) {
        self.hang_up();
    }
}

#[async_trait]
impl LogSource for EmbeddedSource {
    async fn next(&self) -> Result<SourceEvent> {
        let batch = async { self.batches.lock().await.recv().await };
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Ok(SourceEvent::Closed),
            batch = batch => match batch {
                Some(batch) => batch.map(SourceEvent::Batch),
                None => Ok(SourceEvent::Closed),
            },
        }
    }

    /// Nothing is ever revoked: whoever reads, reads as long as it lives.
    async fn next_control(&self) -> Result<ControlEvent> {
        self.closed.cancelled().await;
        Ok(ControlEvent::Closed)
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let (group, to_move) = (self.group.clone(), positions.to_vec());
        let moved = move |connection: &Connection| {
            to_move.iter().map(|at| position::commit(connection, &group, at)).collect()
        };
        let outcomes: Vec<CommitOutcome> = self.log.writer.write(moved).await?;
        let over = |(at, outcome): (&CommitOffset, &CommitOutcome)| {
            (*outcome == CommitOutcome::Fenced).then_some(at.partition.epoch)
        };
        if let Some(epoch) = positions.iter().zip(&outcomes).filter_map(over).max() {
            self.fenced.fetch_max(epoch, Ordering::AcqRel);
            self.log.notifier.notify();
        }
        Ok(outcomes)
    }

    async fn lag(&self) -> Result<Lag> {
        let mut records = BTreeMap::new();
        if self.reads.load(Ordering::Acquire) {
            let group = self.group.clone();
            let file = scan::reader(&self.log)?;
            records.insert(0, file.read(move |connection| position::lag(connection, &group)).await?);
        }
        Ok(Lag::new(Arc::clone(&self.log.topic), self.group.clone(), records))
    }

    async fn check(&self) -> Result<()> {
        self.log.writer.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.hang_up();
        let thread_has_ended = async {
            // A thread that waits for room in the channel learns from this that nobody will make any.
            self.batches.lock().await.close();
            self.ending.clone().wait().await;
        };
        tokio::time::timeout(deadline, thread_has_ended).await.map_err(|_elapsed| {
            Error::new(ErrorKind::DeadlineExceeded, "the reading thread did not end in time")
                .with_origin("embedded log")
        })
    }
}

/// The lock file of `group`, which stands for one topic.
fn lock_path(log: &Shared, group: &str) -> PathBuf {
    let name = match log.options.file.as_str() {
        FILE => file_name(group),
        other => file_name(&format!("{other}.{group}")),
    };
    log.folder.join(format!("{name}.consumer.lock"))
}

/// The thread's own part.
struct Reader {
    lock_path: PathBuf,
    // The connection goes before the log, whose writer is then the last to close the file.
    connection: Connection,
    log: Arc<Shared>,
    group: String,
    closed: CancellationToken,
    fenced: Arc<AtomicU64>,
    reads: Arc<AtomicBool>,
    next_deletion: Instant,
    next_conflicts: Instant,
}

/// How often a waiting member tries whether its turn has come. The kernel frees the lock of a dead process at
/// once, so this is how long nobody reads then.
const TURN: Duration = Duration::from_millis(50);
/// How long the thread waits after an error before it tries again.
const AFTER_ERROR: Duration = Duration::from_millis(200);
/// How often old records are looked for.
const DELETION: Duration = Duration::from_secs(60);
/// How often old conflicts are looked for, which reads all dead letters.
const CONFLICTS: Duration = Duration::from_secs(3_600);

impl Reader {
    fn run(mut self, batches: &mpsc::Sender<Result<Batch>>) {
        while !self.is_over(batches) {
            // The lock is freed in between: after an error another process may do better.
            let read = self.read_an_epoch(batches);
            self.reads.store(false, Ordering::Release);
            if let Err(error) = read {
                // A receiver that is gone ends the loop.
                let _gone = batches.blocking_send(Err(error));
                self.log.notifier.wait(self.log.notifier.generation(), AFTER_ERROR);
            }
        }
    }

    fn is_over(&self, batches: &mpsc::Sender<Result<Batch>>) -> bool {
        self.closed.is_cancelled() || batches.is_closed()
    }

    /// Waits for its turn, then reads until the source is closed or the epoch is over.
    fn read_an_epoch(&mut self, batches: &mpsc::Sender<Result<Batch>>) -> Result<()> {
        let lock = FileLock::open(&self.lock_path)?;
        let Some(_turn) = self.wait_for_turn(&lock, batches)? else { return Ok(()) };
        let Some((epoch, mut next)) = self.begin_epoch(batches)? else { return Ok(()) };
        self.reads.store(true, Ordering::Release);
        let log = Arc::clone(&self.log);
        let partition = Partition::new(Arc::clone(&log.cluster), Arc::clone(&log.topic), 0, epoch);
        let (most, bytes) = (log.options.batch_records.max(1), log.options.batch_bytes);
        while !self.is_over(batches) {
            let known = log.notifier.generation();
            if self.fenced.load(Ordering::Acquire) >= epoch {
                tracing::warn!(log.group = %self.group, log.epoch = epoch, "somebody else reads the log now");
                return Ok(());
            }
            let read = rows::read(&self.connection, next, most, bytes);
            let records = read.map_err(|error| from_sqlite(error, &log.database.path()))?;
            match records.last() {
                Some(last) => {
                    next = last.offset + 1;
                    let batch = Batch::new(partition.clone(), records);
                    if batches.blocking_send(Ok(batch)).is_err() {
                        return Ok(());
                    }
                }
                None => log.notifier.wait(known, log.options.poll_interval),
            }
            self.delete_old_records();
        }
        Ok(())
    }

    /// Waits until no other member reads; `None` when the source was closed before.
    fn wait_for_turn<'a>(
        &self,
        lock: &'a FileLock,
        batches: &mpsc::Sender<Result<Batch>>,
    ) -> Result<Option<LockGuard<'a>>> {
        let mut has_waited = false;
        while !self.is_over(batches) {
            if let Some(turn) = lock.try_lock()? {
                tracing::info!(log.group = %self.group, has_waited, "reading the log");
                return Ok(Some(turn));
            }
            if !has_waited {
                tracing::info!(log.group = %self.group, "another process reads the log, waiting for our turn");
                has_waited = true;
            }
            self.log.notifier.wait(u64::MAX, TURN);
        }
        Ok(None)
    }

    /// The epoch's number and where to read from; `None` when the source was closed before.
    fn begin_epoch(&self, batches: &mpsc::Sender<Result<Batch>>) -> Result<Option<(u64, u64)>> {
        if self.is_over(batches) {
            return Ok(None);
        }
        let group = self.group.clone();
        self.log.writer.write_blocking(move |connection| position::begin_epoch(connection, &group)).map(Some)
    }

    /// A slice of old records now and then, and of old conflicts after the records that they were.
    fn delete_old_records(&mut self) {
        if self.next_deletion > Instant::now() {
            return;
        }
        let more = self.delete_slice("records", self.log.options.retention, retention::delete_records);
        self.next_deletion = Instant::now() + if more { Duration::ZERO } else { DELETION };
        if more || self.next_conflicts > Instant::now() {
            return;
        }
        let more = self.delete_slice("conflicts", retention::CONFLICTS, retention::delete_conflicts);
        self.next_conflicts = Instant::now() + if more { DELETION } else { CONFLICTS };
    }

    /// Deletes a slice of what is older than `age`; returns whether there may be more.
    fn delete_slice(
        &self,
        what: &str,
        age: Duration,
        delete: fn(&Connection, Timestamp) -> rusqlite::Result<usize>,
    ) -> bool {
        let before = self.log.options.clock.now().saturating_sub(age);
        let deleted = self.log.writer.write_blocking(move |connection| delete(connection, before));
        if let Err(error) = &deleted {
            tracing::warn!(error = %error.chain(), "old {what} could not be deleted");
        }
        deleted.is_ok_and(|deleted| deleted == retention::SLICE)
    }
}
