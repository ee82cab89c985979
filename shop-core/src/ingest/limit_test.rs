//! The limit of dead letters, and dead letters that are rejected. Deterministic: paused time, one
//! thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::logged_test::Logged;
use super::time_limit_test::in_time;
use super::{
    Component, DeadLetterLimit, Ingest, IngestCounters, IngestMonitor, IngestOptions, Phase,
};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::{DeadLetter, DeadLetters, LogRecord, LogSource};
use crate::memory::{
    InMemoryDeadLetters, InMemoryLog, InMemoryLogOptions, InMemorySource, InMemoryStore,
};
use crate::ports::PurchaseSink as _;
use crate::{Clock as _, Error, ErrorKind, NewPurchase, Purchase, Result, SystemClock, Timestamp};

struct Running {
    source: Arc<InMemorySource>,
    monitor: IngestMonitor,
    _stop: oneshot::Sender<()>,
    task: JoinHandle<Result<IngestCounters>>,
}

fn log(batch_records: usize) -> InMemoryLog {
    InMemoryLog::new(InMemoryLogOptions {
        partitions: 1,
        batch_records,
        ..Default::default()
    })
}

fn start(log: &InMemoryLog, dead_letters: Arc<dyn DeadLetters>, limit: usize) -> Running {
    let source = Arc::new(log.source("group"));
    let (monitor, stop, task) = start_from(Arc::clone(&source) as _, dead_letters, limit);
    Running {
        source,
        monitor,
        _stop: stop,
        task,
    }
}

fn start_from(
    source: Arc<dyn LogSource>,
    dead_letters: Arc<dyn DeadLetters>,
    limit: usize,
) -> (
    IngestMonitor,
    oneshot::Sender<()>,
    JoinHandle<Result<IngestCounters>>,
) {
    let options = IngestOptions {
        dead_letter_limit: DeadLetterLimit::consecutive(limit),
        jitter_seed: Some(1),
        ..IngestOptions::default()
    };
    let ingest = Ingest::new(
        source,
        Arc::new(InMemoryStore::new()),
        dead_letters,
        options,
    );
    let monitor = ingest.monitor();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(ingest.run(async move { drop(stopped.await) }));
    (monitor, stop, task)
}

fn poison(log: &InMemoryLog, count: usize) {
    for _ in 0..count {
        drop(log.append(LogRecord::new(0, Timestamp::MIN, Some("poison".into()))));
    }
}

fn purchase() -> Purchase {
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("1")
        .unwrap();
    new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())
}

async fn wait_for_dead_letter_retries(running: &Running, retries: u64) {
    let retried = |count: Option<&u64>| count.is_some_and(|count| *count >= retries);
    let waited = running.monitor.wait_for(|status| {
        retried(status.retries.get(&Component::DeadLetters)) || status.phase == Phase::Stopped
    });
    assert_eq!(waited.await.phase, Phase::Running);
}

#[tokio::test(start_paused = true)]
async fn a_failed_dead_letter_that_is_redelivered_counts_once() {
    let _running = in_time();
    let log = log(10);
    let faults = Faults::new();
    poison(&log, 3);
    faults.always(Call::PutDeadLetters, Fault::unavailable());
    let running = start(&log, faults.dead_letters(Arc::new(log.dead_letters())), 5);
    for time in 1..=10 {
        wait_for_dead_letter_retries(&running, time * 3).await;
        running.source.lose_membership();
    }
    faults.clear(Call::PutDeadLetters);
    let status = running
        .monitor
        .wait_for(|status| status.counters.dead_lettered == 3)
        .await;
    assert_eq!(status.phase, Phase::Running);
    poison(&log, 2);
    let error = running.task.await.unwrap().unwrap_err();
    assert!(
        error.to_string().contains("5 records in a row"),
        "stored dead letters count: {error}"
    );
}

/// Rejects the dead letters of one offset.
#[derive(Debug)]
struct Narrow {
    inner: InMemoryDeadLetters,
    offset: u64,
    refused: Mutex<usize>,
}

#[async_trait]
impl DeadLetters for Narrow {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        if dead_letters
            .iter()
            .any(|dead_letter| dead_letter.record.offset == self.offset)
        {
            *self.refused.lock().unwrap() += 1;
            return Err(Error::new(ErrorKind::TooLarge, "a message may have 1 MB"));
        }
        self.inner.put(dead_letters).await
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_dead_letter_stops_the_pipeline_and_is_reported() {
    let _running = in_time();
    for limit in [0, 1_000] {
        let log = log(10);
        poison(&log, 8);
        let narrow = Arc::new(Narrow {
            inner: log.dead_letters(),
            offset: 5,
            refused: Mutex::new(0),
        });
        let running = start(&log, Arc::clone(&narrow) as _, limit);
        let ended = tokio::time::timeout(Duration::from_secs(3_600), running.task).await;
        let error = ended.expect("the retries end").unwrap().unwrap_err();
        let text = error.chain().to_string();
        for part in ["purchases-0-5", "undecodable", "a message may have 1 MB"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            *narrow.refused.lock().unwrap() <= 4,
            "all, halves, and the one"
        );
        assert_eq!(
            log.dead_letters().all().len(),
            5,
            "earlier dead letters are stored"
        );
        assert_eq!(
            log.committed("group").values().sum::<u64>(),
            0,
            "the position stays before the batch"
        );
        assert_eq!(
            running.monitor.status().fatal_error.unwrap().kind(),
            ErrorKind::TooLarge
        );
    }
}

/// Fails as scripted (`None` is a success), and then succeeds.
#[derive(Debug)]
struct Scripted(InMemoryDeadLetters, Mutex<VecDeque<Option<ErrorKind>>>);

#[async_trait]
impl DeadLetters for Scripted {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        let fate = self.1.lock().unwrap().pop_front().flatten();
        match fate {
            Some(kind) => Err(Error::new(kind, "on purpose")),
            None => self.0.put(dead_letters).await,
        }
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Puts two dead letters of one batch. Returns how long after the first call the failure of the
/// last retry began.
async fn failing_since(script: &[Option<ErrorKind>]) -> Duration {
    let log = log(10);
    poison(&log, 2);
    let retries = script
        .iter()
        .filter(|fate| **fate == Some(ErrorKind::Unavailable))
        .count() as u64;
    let dead_letters = Scripted(
        log.dead_letters(),
        Mutex::new(script.iter().copied().collect()),
    );
    let begun = tokio::time::Instant::now();
    let running = start(&log, Arc::new(dead_letters), 0);
    wait_for_dead_letter_retries(&running, retries).await;
    let since = running.monitor.status().failing_since[&Component::DeadLetters];
    let kept = running
        .monitor
        .wait_for(|status| status.counters.dead_lettered == 2)
        .await;
    assert!(kept.failing_since.is_empty(), "{kept:?}");
    since - begun
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_fails_since_its_own_first_failure() {
    let _running = in_time();
    let outage = Some(ErrorKind::Unavailable);
    let too_large = Some(ErrorKind::TooLarge);
    let at_once = Duration::ZERO;
    let first_again = failing_since(&[outage, too_large, outage]).await;
    assert_eq!(
        first_again, at_once,
        "the first has failed with the second before"
    );
    let second_again = failing_since(&[outage, too_large, None, outage]).await;
    assert_eq!(second_again, at_once, "so has the second");
    let second_later = failing_since(&[too_large, outage, None, outage]).await;
    assert!(
        second_later >= IngestOptions::default().initial_backoff,
        "{second_later:?} is the first one's time"
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_to_put_dead_letters_is_retried() {
    let _running = in_time();
    let log = log(10);
    poison(&log, 2);
    let dead_letters = Scripted(
        log.dead_letters(),
        Mutex::new(VecDeque::from([Some(ErrorKind::Denied)])),
    );
    let running = start(&log, Arc::new(dead_letters), 0);
    let status = running
        .monitor
        .wait_for(|status| status.counters.dead_lettered == 2)
        .await;
    assert_eq!(status.retries.get(&Component::DeadLetters), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_recovered_is_healthy_before_its_batch_ends() {
    let _running = in_time();
    let log = log(10);
    let faults = Faults::new();
    poison(&log, 1);
    log.sink().publish(&purchase()).await.unwrap();
    faults.once(Call::Insert, Fault::unavailable());
    faults.once(Call::PutDeadLetters, Fault::Delay(Duration::from_secs(60)));
    let source = Arc::new(log.source("group"));
    let store = faults.store(Arc::new(InMemoryStore::new()));
    let dead_letters = faults.dead_letters(Arc::new(log.dead_letters()));
    let ingest = Ingest::new(source, store, dead_letters, IngestOptions::default());
    let monitor = ingest.monitor();
    tokio::spawn(ingest.run(std::future::pending()));
    monitor
        .wait_for(|status| status.errors.contains_key(&Component::Store))
        .await;
    monitor
        .wait_for(|status| status.errors.is_empty() && status.in_flight == 1)
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_stop_is_logged_after_the_drain() {
    let _running = in_time();
    let logged = Logged::begin();
    let log = log(1);
    let faults = Faults::new();
    poison(&log, 50);
    faults.once(Call::Close, Fault::Delay(Duration::from_secs(1)));
    let source = faults.source(Arc::new(log.source("group")));
    let (monitor, _stop, task) = start_from(source, Arc::new(log.dead_letters()), 3);
    monitor
        .wait_for(|status| status.phase == Phase::Draining)
        .await;
    assert!(
        logged.lines_with("ingest stopped").is_empty(),
        "it still drains"
    );
    task.await.unwrap().unwrap_err();
    assert_eq!(logged.lines_with("ingest stopped").len(), 1);
}
