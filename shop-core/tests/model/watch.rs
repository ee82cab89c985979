//! The ports of the log and the store, watched by the oracle where calls take effect.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use shop_core::log::{
    Batch, CommitOffset, CommitOutcome, ControlEvent, DeadLetter, DeadLetterState, Lag, Log,
    LogInfo, LogRecord, LogScan, LogSource, Offsets, RecordType, Resolution, Revocation,
    RevocationCause, ScanEnd, SourceEvent,
};
use shop_core::memory::{InMemoryLog, InMemorySource, InMemoryStore};
use shop_core::ports::{DescribeStore, InsertOutcome, PurchaseStore, RecordStore, StoreInfo};
use shop_core::{Error, ErrorKind, Purchase, Result};
use tokio::time::Instant;

use crate::oracle::Oracle;

/// One member's connection to everything.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) member: u64,
    pub(crate) oracle: Oracle,
    pub(crate) latency: Duration,
    /// No request of the member arrives any more.
    pub(crate) cut: AtomicBool,
    /// The member has crashed.
    pub(crate) gone: AtomicBool,
    /// The number of lost memberships.
    pub(crate) losses: AtomicU64,
    /// An event that may prevent the member from giving partitions up cleanly.
    pub(crate) disturbed: AtomicBool,
    /// The time of its shutdown, and the timeout after which batches in flight are abandoned.
    pub(crate) leaving: Mutex<Option<(Instant, Duration)>>,
}

impl Line {
    /// Simulates the network.
    async fn send(&self, time: Duration) {
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        if self.cut.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    }

    fn is_undisturbed(&self) -> bool {
        !self.disturbed.load(Ordering::Relaxed) && !self.gone.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct WatchedSource {
    pub(crate) inner: Arc<InMemorySource>,
    pub(crate) line: Arc<Line>,
    /// The end of a partition that is delivered next.
    pub(crate) next_end: Mutex<Option<CommitOffset>>,
}

impl WatchedSource {
    /// Remembers the end of every other batch as an end of its partition, which is delivered next,
    /// as after the markers of a transaction.
    fn add_end(&self, batch: &Batch) {
        if let Some(last) = batch.records.last()
            && last.offset % 2 == 1
        {
            let end = CommitOffset::new(batch.partition.clone(), last.offset + 1);
            *self.next_end.lock().unwrap() = Some(end);
        }
    }

    /// The same revocation; when the member ends it in time, none of its records may be redelivered.
    fn watch(&self, revocation: Revocation) -> Revocation {
        let cause = revocation.cause;
        let grace = revocation.timeout;
        let partitions = revocation.partitions.clone();
        let line = Arc::clone(&self.line);
        line.oracle.revoked(cause);
        if cause == RevocationCause::Lost {
            line.losses.fetch_add(1, Ordering::Relaxed);
        }
        let drained_by = Instant::now() + grace / 4 * 3;
        Revocation::new(partitions.clone(), cause, grace, move || {
            let all = line.oracle.given_up(line.member, &partitions);
            let is_leaving = line.leaving.lock().unwrap().is_some();
            if cause == RevocationCause::Rebalance && line.is_undisturbed() && !is_leaving {
                let in_time = Instant::now() < drained_by;
                line.oracle.count(if in_time {
                    "event: a revocation is drained in time"
                } else {
                    "event: a revocation is out of time"
                });
                if in_time && !all {
                    line.oracle.accuse(format!(
                        "{partitions:?} were given up before they were drained"
                    ));
                }
            }
            revocation.done();
        })
    }
}

#[async_trait]
impl LogSource for WatchedSource {
    async fn next(&self) -> Result<SourceEvent> {
        if let Some(end) = self.next_end.lock().unwrap().take() {
            self.line.oracle.count("event: a partition ends");
            return Ok(SourceEvent::PartitionEnd(end));
        }
        Ok(match self.inner.next().await? {
            SourceEvent::Batch(batch) => {
                self.line.oracle.delivered(self.line.member, &batch);
                self.add_end(&batch);
                SourceEvent::Batch(batch)
            }
            SourceEvent::Revoked(revocation) => SourceEvent::Revoked(self.watch(revocation)),
            other => other,
        })
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        Ok(match self.inner.next_control().await? {
            ControlEvent::Revoked(revocation) => {
                let is_revoked = |end: &mut CommitOffset| {
                    let partitions = &revocation.partitions;
                    partitions.contains(&end.partition)
                };
                drop(self.next_end.lock().unwrap().take_if(is_revoked));
                ControlEvent::Revoked(self.watch(revocation))
            }
            other => other,
        })
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        self.line.send(self.line.latency / 2).await;
        let outcomes = self.inner.commit(positions).await?;
        self.line.oracle.committed(positions, &outcomes);
        Ok(outcomes)
    }

    async fn lag(&self) -> Result<Lag> {
        self.inner.lag().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        let all = self.line.oracle.left(self.line.member);
        let leaving = *self.line.leaving.lock().unwrap();
        let in_time = leaving.is_some_and(|(asked, drain)| asked.elapsed() < drain);
        if in_time && self.line.is_undisturbed() {
            self.line
                .oracle
                .count("event: a member leaves and nothing is redelivered");
            if !all {
                self.line.oracle.accuse(format!(
                    "member {} left before it was drained",
                    self.line.member
                ));
            }
        }
        self.inner.close(deadline).await
    }
}

/// A store that loses what is not durable when its power is cut.
#[derive(Debug, Clone, Default)]
pub(crate) struct VolatileStore {
    durable: InMemoryStore,
    cuts: Arc<AtomicU64>,
}

impl VolatileStore {
    pub(crate) const fn durable(&self) -> &InMemoryStore {
        &self.durable
    }

    pub(crate) fn cut_power(&self) {
        self.cuts.fetch_add(1, Ordering::Relaxed);
    }

    /// Applies a batch after `time`, in which it is lost if the power is cut. `None` then.
    async fn apply(
        &self,
        batch: Arc<[Purchase]>,
        time: Duration,
    ) -> Result<Option<Vec<InsertOutcome>>> {
        let cuts = self.cuts.load(Ordering::Relaxed);
        tokio::time::sleep(time).await;
        if self.cuts.load(Ordering::Relaxed) > cuts {
            return Ok(None);
        }
        self.durable.insert(batch).await.map(Some)
    }
}

#[derive(Debug)]
pub(crate) struct WatchedStore {
    pub(crate) inner: VolatileStore,
    pub(crate) line: Arc<Line>,
}

#[async_trait]
impl RecordStore<Purchase> for WatchedStore {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        let losses = self.line.losses.load(Ordering::Relaxed);
        self.line.send(self.line.latency / 2).await;
        let Some(outcomes) = self
            .inner
            .apply(Arc::clone(&batch), self.line.latency / 2)
            .await?
        else {
            self.line
                .oracle
                .count("event: purchases are lost that were not durable");
            return Err(Error::new(ErrorKind::Unavailable, "the power was cut"));
        };
        if self.line.losses.load(Ordering::Relaxed) > losses {
            self.line
                .oracle
                .count("event: an insert ends after the membership was lost");
        }
        if self.line.gone.load(Ordering::Relaxed) {
            self.line
                .oracle
                .count("event: an insert ends after its member has crashed");
        }
        self.line.oracle.inserted(&batch, &outcomes);
        Ok(outcomes)
    }

    async fn check(&self) -> Result<()> {
        self.inner.durable.check().await
    }
}

impl DescribeStore for WatchedStore {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

/// A log whose dead letters the oracle sees.
#[derive(Debug)]
pub(crate) struct WatchedLog {
    pub(crate) inner: InMemoryLog,
    pub(crate) line: Arc<Line>,
}

#[async_trait]
impl Log for WatchedLog {
    async fn put_dead_letters(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        self.line.send(self.line.latency / 2).await;
        self.inner.put_dead_letters(dead_letters).await?;
        self.line.oracle.put(dead_letters);
        Ok(())
    }

    async fn append(&self, record: LogRecord) -> Result<()> {
        Log::append(&self.inner, record).await
    }

    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>> {
        Log::source(&self.inner, group)
    }

    async fn scan(&self, start: &Offsets, end: ScanEnd) -> Result<LogScan> {
        self.inner.scan(start, end).await
    }

    async fn positions(&self, group: &str) -> Result<Offsets> {
        self.inner.positions(group).await
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        self.inner.scan_dead_letters().await
    }

    async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        self.inner
            .resolve(dead_letters, record_type, resolution)
            .await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    fn info(&self) -> LogInfo<'_> {
        self.inner.info()
    }
}
