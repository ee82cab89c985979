//! The limit of dead letters, and dead letters that are rejected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use super::fixture::{
    Running, Setup, append_poison, committed, log_with_batches_of, publish, purchase, unavailable,
    until,
};
use super::logged_test::Logged;
use super::{Component, DeadLetterLimit, IngestOptions, Phase};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::{
    DeadLetter, DeadLetterState, Log, LogInfo, LogRecord, LogScan, LogSource, Offsets, RecordType,
    Resolution, ScanEnd,
};
use crate::memory::InMemoryLog;
use crate::ports::PurchaseSink as _;
use crate::{Error, ErrorKind, Purchase, Result};

fn with_limit<'a>(log: &'a InMemoryLog, faults: &'a Faults, limit: usize) -> Setup<'a> {
    let mut setup = Setup::new(log, faults);
    setup.options.dead_letter_limit = DeadLetterLimit::consecutive(limit);
    setup
}

async fn wait_for_dead_letter_retries(running: &Running, retries: u64) {
    let retried = |count: Option<&u64>| count.is_some_and(|count| *count >= retries);
    let waited = running.wait_for(|status| {
        retried(status.retries.get(&Component::DeadLetters)) || status.phase == Phase::Stopped
    });
    assert_eq!(waited.await.phase, Phase::Running);
}

#[tokio::test(start_paused = true)]
async fn a_failed_dead_letter_that_is_redelivered_counts_once() {
    let log = log_with_batches_of(10);
    append_poison(&log, 3);
    let faults = Faults::new();
    faults.always(Call::PutDeadLetters, Fault::unavailable());
    let running = with_limit(&log, &faults, 5).start();
    for time in 1..=10 {
        wait_for_dead_letter_retries(&running, time * 3).await;
        running.source.lose_membership();
    }
    faults.clear(Call::PutDeadLetters);
    let status = running.has_dead_lettered(3).await;
    assert_eq!(status.phase, Phase::Running);

    append_poison(&log, 2);
    let error = running.stops_with_error().await;
    assert!(
        error.to_string().contains("5 records in a row"),
        "stored dead letters count: {error}"
    );
}

/// Rejects the dead letter of the record at offset 5 until the limit is raised.
#[derive(Debug)]
struct Narrow {
    inner: InMemoryLog,
    is_raised: Arc<AtomicBool>,
}

#[async_trait]
impl Log for Narrow {
    async fn put_dead_letters(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        if !self.is_raised.load(Ordering::Relaxed)
            && dead_letters.iter().any(|letter| letter.record.offset == 5)
        {
            return Err(Error::new(ErrorKind::TooLarge, "a message may have 1 MB"));
        }
        self.inner.put_dead_letters(dead_letters).await
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

#[tokio::test(start_paused = true)]
async fn a_rejected_dead_letter_is_reported_and_stored_once_it_is_accepted() {
    for limit in [0, 1_000] {
        let log = log_with_batches_of(10);
        append_poison(&log, 8);
        let faults = Faults::new();
        let mut setup = with_limit(&log, &faults, limit);
        let is_raised = Arc::new(AtomicBool::new(false));
        setup.dead_letters = Arc::new(Narrow {
            inner: log.clone(),
            is_raised: Arc::clone(&is_raised),
        });
        let running = setup.start();
        let is_named = |error: &Error| error.to_string().contains("purchases-0-5");
        let status = running
            .wait_for(|status| {
                let error = status.errors.get(&Component::DeadLetters);
                error.is_some_and(is_named)
            })
            .await;

        assert_eq!(status.phase, Phase::Running);
        let error = &status.errors[&Component::DeadLetters];
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let text = error.chain().to_string();
        for part in ["purchases-0-5", "undecodable", "a message may have 1 MB"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(log.all_dead_letters().len(), 5, "the earlier ones");
        assert_eq!(committed(&log), 0, "the position stays before the batch");

        is_raised.store(true, Ordering::Relaxed);
        let status = running.has_dead_lettered(8).await;
        assert!(status.errors.is_empty(), "{status:?}");
        until(|| committed(&log) == 8).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_fails_since_its_own_first_failure() {
    let outage = || Fault::Refuse(unavailable());
    let too_large = || Fault::Refuse(Error::new(ErrorKind::TooLarge, "on purpose"));
    let none = || Fault::Delay(Duration::ZERO);
    // The puts of two dead letters, and whether the last failure began with the first put, because
    // the same dead letter was part of it.
    for (name, puts, is_since_first_put) in [
        (
            "the first has failed with the second",
            vec![outage(), too_large(), outage()],
            true,
        ),
        (
            "so has the second",
            vec![outage(), too_large(), none(), outage()],
            true,
        ),
        (
            "the second fails after the first one's pause",
            vec![too_large(), outage(), none(), outage()],
            false,
        ),
    ] {
        let log = log_with_batches_of(10);
        append_poison(&log, 2);
        let faults = Faults::new();
        for fault in puts {
            faults.once(Call::PutDeadLetters, fault);
        }
        let begun = Instant::now();
        let running = Setup::new(&log, &faults).start();
        wait_for_dead_letter_retries(&running, 2).await;
        let status = running.monitor.status();
        let start = status.failing_since[&Component::DeadLetters] - begun;
        if is_since_first_put {
            assert_eq!(start, Duration::ZERO, "{name}");
        } else {
            let first_pause = IngestOptions::default().initial_backoff;
            assert!(start >= first_pause, "{name}: {start:?}");
        }
        let status = running.has_dead_lettered(2).await;
        assert!(status.failing_since.is_empty(), "{name}: {status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_to_put_dead_letters_is_retried() {
    let log = log_with_batches_of(10);
    append_poison(&log, 2);
    let faults = Faults::new();
    let denied = Error::new(ErrorKind::Denied, "no right to write");
    faults.once(Call::PutDeadLetters, Fault::Refuse(denied));
    let status = Setup::new(&log, &faults).start().has_dead_lettered(2).await;
    assert_eq!(status.retries[&Component::DeadLetters], 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_recovered_is_healthy_before_its_batch_ends() {
    let log = log_with_batches_of(10);
    append_poison(&log, 1);
    publish(&log, 0..1).await;
    let faults = Faults::new();
    faults.once(Call::Insert, Fault::unavailable());
    faults.once(Call::PutDeadLetters, Fault::Delay(Duration::from_secs(60)));
    let running = Setup::new(&log, &faults).start();
    running.has_failed(Component::Store).await;
    running
        .wait_for(|status| status.errors.is_empty() && status.in_flight == 1)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_dead_letters_does_not_wait_for_those_of_another() {
    let log = log_with_batches_of(1);
    append_poison(&log, 1);
    publish(&log, 0..1).await;
    let faults = Faults::new();
    faults.always(Call::PutDeadLetters, Fault::unavailable());
    with_limit(&log, &faults, 5).start().has_inserted(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_conflict_neither_counts_nor_ends_a_row_of_dead_letters() {
    let log = log_with_batches_of(1);
    publish(&log, 0..1).await;
    append_poison(&log, 1);
    let conflict = Purchase {
        price: "2".parse().unwrap(),
        ..purchase(0)
    };
    log.sink().publish(&conflict).await.unwrap();
    append_poison(&log, 1);
    let running = with_limit(&log, &Faults::new(), 2).start();
    running.stops_with_error().await;
    assert_eq!(log.all_dead_letters().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_stop_is_logged_after_the_drain() {
    let logged = Logged::begin();
    let log = log_with_batches_of(1);
    append_poison(&log, 50);
    let faults = Faults::new();
    faults.once(Call::Close, Fault::Delay(Duration::from_secs(1)));
    let running = with_limit(&log, &faults, 3).start();
    running
        .wait_for(|status| status.phase == Phase::Draining)
        .await;
    assert!(
        logged.lines_with("ingest stopped").is_empty(),
        "it still drains"
    );
    running.stops_with_error().await;
    assert_eq!(logged.lines_with("ingest stopped").len(), 1);
}
