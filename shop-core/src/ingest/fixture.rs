//! What the tests of ingest share: records of a log in memory, and a running ingest whose ports can
//! fail. Each test is deterministic: it runs on one thread and in paused time.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Component, Ingest, IngestCounters, IngestMonitor, IngestOptions, IngestStatus, Phase};
use crate::conformance::fault::Faults;
use crate::log::{Log, LogRecord};
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemorySource, InMemoryStore};
use crate::ports::{PurchaseSink as _, PurchaseStore};
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result, Timestamp, Uuid};

/// Longer than any test takes. Paused time passes at once.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// The purchase `number`, each of a user of its own.
pub(super) fn purchase(number: u128) -> Purchase {
    Purchase::new(
        PurchaseId::from_uuid(Uuid::from_u128(number)),
        format!("user-{number}").parse().unwrap(),
        "ada".parse().unwrap(),
        "1".parse().unwrap(),
        Timestamp::from_millis(0).unwrap(),
    )
}

/// A log of one partition, which delivers batches of up to `batch_records` records.
pub(super) fn log_with_batches_of(batch_records: usize) -> InMemoryLog {
    InMemoryLog::new(InMemoryLogOptions {
        batch_records,
        ..Default::default()
    })
}

/// Appends these purchases to the log.
pub(super) async fn publish(log: &InMemoryLog, numbers: Range<u128>) {
    for number in numbers {
        log.sink().publish(&purchase(number)).await.unwrap();
    }
}

/// Appends `count` records that do not decode.
pub(super) fn append_poison(log: &InMemoryLog, count: usize) {
    for _ in 0..count {
        drop(log.append(LogRecord::new(0, Timestamp::MIN, Some("poison".into()))));
    }
}

/// The number of records of all partitions that are committed.
pub(super) fn committed(log: &InMemoryLog) -> u64 {
    log.committed("group").values().sum()
}

pub(super) fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "unavailable on purpose")
}

/// The parts of an ingest of a log. The store and the dead letters are in memory unless a test
/// replaces them. All ports have the faults of `faults`.
pub(super) struct Setup<'a> {
    pub(super) log: &'a InMemoryLog,
    pub(super) store: Arc<dyn PurchaseStore>,
    /// The log that keeps the dead letters: `log`, or a log around it.
    pub(super) dead_letters: Arc<dyn Log>,
    pub(super) faults: &'a Faults,
    pub(super) options: IngestOptions,
}

impl<'a> Setup<'a> {
    pub(super) fn new(log: &'a InMemoryLog, faults: &'a Faults) -> Self {
        Self {
            log,
            store: Arc::new(InMemoryStore::new()),
            dead_letters: Arc::new(log.clone()),
            faults,
            options: IngestOptions {
                jitter_seed: Some(1),
                ..IngestOptions::default()
            },
        }
    }

    pub(super) fn with_store(mut self, store: Arc<dyn PurchaseStore>) -> Self {
        self.store = store;
        self
    }

    pub(super) fn start(self) -> Running {
        let source = Arc::new(self.log.source("group"));
        let ingest = Ingest::new(
            self.faults.source(Arc::clone(&source) as _),
            self.faults.store(self.store),
            self.faults.log(self.dead_letters),
            self.options,
        );
        Running::start(source, ingest)
    }
}

/// A running ingest from `source`. Aborts a test that hangs, and prints its name.
pub(super) struct Running<S = InMemorySource> {
    pub(super) source: Arc<S>,
    pub(super) monitor: IngestMonitor,
    pub(super) task: JoinHandle<Result<IngestCounters>>,
    stop: oneshot::Sender<()>,
    _time_limit: Sender<()>,
}

impl<S: Send + Sync> Running<S> {
    pub(super) fn start(source: Arc<S>, ingest: Ingest) -> Self {
        let monitor = ingest.monitor();
        let (stop, stopped) = oneshot::channel();
        Self {
            source,
            monitor,
            task: tokio::spawn(ingest.run(async move { drop(stopped.await) })),
            stop,
            _time_limit: limit_time(),
        }
    }

    /// Waits until `condition` holds, and returns the status then.
    pub(super) async fn wait_for(
        &self,
        condition: impl Fn(&IngestStatus) -> bool + Send,
    ) -> IngestStatus {
        self.monitor.wait_for(condition).await
    }

    /// Waits until calls of `component` fail.
    pub(super) async fn has_failed(&self, component: Component) -> IngestStatus {
        self.wait_for(|status| status.errors.contains_key(&component))
            .await
    }

    /// Waits until this many purchases are inserted.
    pub(super) async fn has_inserted(&self, count: u64) -> IngestStatus {
        self.wait_for(|status| status.counters.inserted >= count)
            .await
    }

    /// Waits until this many records are dead-lettered.
    pub(super) async fn has_dead_lettered(&self, count: u64) -> IngestStatus {
        self.wait_for(|status| status.counters.dead_lettered >= count)
            .await
    }

    /// Shuts down, which succeeds.
    pub(super) async fn stop(self) -> IngestCounters {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap()
    }

    /// Waits until the ingest stops by itself. Returns the error, which its status has too.
    pub(super) async fn stops_with_error(self) -> Error {
        let error = self.task.await.unwrap().unwrap_err();
        let status = self.monitor.status();
        assert_eq!(status.phase, Phase::Stopped);
        assert_eq!(status.fatal_error.unwrap().kind(), error.kind());
        error
    }
}

/// Aborts the process unless the returned value is dropped in time.
fn limit_time() -> Sender<()> {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let (running, ended) = channel();
    std::thread::spawn(move || {
        if ended.recv_timeout(TIME_LIMIT) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} has not ended within {TIME_LIMIT:?}");
            std::process::abort();
        }
    });
    running
}

/// Waits for `condition`, on the paused clock.
pub(super) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
