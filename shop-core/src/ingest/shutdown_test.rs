//! Shutdowns and rebalances complete in time, even if the store fails. Deterministic: paused time,
//! one thread.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::time_limit_test::in_time;
use super::{
    Component, DeadLetterLimit, Ingest, IngestCounters, IngestMonitor, IngestOptions, Phase,
};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::LogRecord;
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemorySource, InMemoryStore};
use crate::ports::{InsertOutcome, PurchaseSink, PurchaseStore, RecordStore};
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result, Timestamp};

fn purchase(number: u128) -> Purchase {
    Purchase::new(
        PurchaseId::from_uuid(uuid::Uuid::from_u128(number)),
        format!("user-{number}").parse().unwrap(),
        "ada".parse().unwrap(),
        "1".parse().unwrap(),
        Timestamp::from_millis(0).unwrap(),
    )
}

async fn log_of(count: u128, partitions: u32) -> InMemoryLog {
    let log = InMemoryLog::new(InMemoryLogOptions {
        partitions,
        batch_records: 5,
        ..Default::default()
    });
    for number in 0..count {
        log.sink().publish(&purchase(number)).await.unwrap();
    }
    log
}

struct Running {
    source: Arc<InMemorySource>,
    monitor: IngestMonitor,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<IngestCounters>>,
}

fn start(log: &InMemoryLog, store: Arc<dyn PurchaseStore>) -> Running {
    let source = Arc::new(log.source("group"));
    let options = IngestOptions {
        jitter_seed: Some(1),
        ..IngestOptions::default()
    };
    let ingest = Ingest::new(
        Arc::clone(&source) as _,
        store,
        Arc::new(log.dead_letters()),
        options,
    );
    let monitor = ingest.monitor();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(ingest.run(async move { drop(stopped.await) }));
    Running {
        source,
        monitor,
        stop,
        task,
    }
}

fn committed(log: &InMemoryLog) -> u64 {
    log.committed("group").values().sum()
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_does_not_block_a_shutdown() {
    let _running = in_time();
    let log = log_of(50, 1).await;
    let faults = Faults::new();
    faults.always(Call::Insert, Fault::unavailable());
    let running = start(&log, faults.store(Arc::new(InMemoryStore::new())));
    running
        .monitor
        .wait_for(|status| !status.errors.is_empty())
        .await;
    let asked = Instant::now();
    running.stop.send(()).unwrap();
    let tally = running.task.await.unwrap().unwrap();
    assert!(
        asked.elapsed() <= IngestOptions::default().drain_timeout,
        "{:?}",
        asked.elapsed()
    );
    assert_eq!((tally, committed(&log)), (IngestCounters::default(), 0));
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_does_not_block_a_rebalance() {
    let _running = in_time();
    let log = log_of(100, 4).await;
    let faults = Faults::new();
    let store = InMemoryStore::new();
    faults.always(Call::Insert, Fault::unavailable());
    let first = start(&log, faults.store(Arc::new(store.clone())));
    first
        .monitor
        .wait_for(|status| !status.errors.is_empty())
        .await;
    // The store of the new member works: it stores what the first member gives up, without waiting
    // for the whole timeout.
    let asked = Instant::now();
    let second = start(&log, Arc::new(store.clone()));
    second
        .monitor
        .wait_for(|status| status.counters.inserted > 0)
        .await;
    assert!(
        asked.elapsed() < InMemoryLogOptions::default().revocation_timeout,
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(first.monitor.status().counters, IngestCounters::default());
    faults.clear(Call::Insert);
    while store.all().len() < 100 {
        let of_first = first.monitor.status().counters;
        let of_second = second.monitor.status().counters;
        tokio::select! {
            biased;
            _ = first.monitor.wait_for(|status| status.counters != of_first) => {}
            _ = second.monitor.wait_for(|status| status.counters != of_second) => {}
        }
    }
    for running in [first, second] {
        running.stop.send(()).unwrap();
        running.task.await.unwrap().unwrap();
    }
    assert_eq!(committed(&log), 100);
}

#[tokio::test(start_paused = true)]
async fn batches_that_end_after_a_lost_membership_are_not_committed() {
    let _running = in_time();
    let log = log_of(20, 1).await;
    let faults = Faults::new();
    let store = InMemoryStore::new();
    faults.once(Call::Insert, Fault::Delay(Duration::from_secs(5)));
    let running = start(&log, faults.store(Arc::new(store.clone())));
    running
        .monitor
        .wait_for(|status| status.in_flight > 0)
        .await;
    running.source.lose_membership();
    let status = running
        .monitor
        .wait_for(|status| status.counters.duplicates > 0)
        .await;
    assert_eq!(status.counters.inserted, 20);
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
    assert_eq!((store.all().len(), committed(&log)), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_is_retried() {
    let _running = in_time();
    let log = log_of(20, 1).await;
    let faults = Faults::new();
    let source = Arc::new(log.source("group"));
    for _ in 0..3 {
        faults.once(Call::Commit, Fault::unavailable());
    }
    faults.once(Call::Commit, Fault::LoseAnswer);
    let store = InMemoryStore::new();
    let dead_letters = log.dead_letters();
    let ingest = Ingest::new(
        faults.source(source),
        Arc::new(store.clone()),
        Arc::new(dead_letters),
        IngestOptions::default(),
    );
    let monitor = ingest.monitor();
    let all = async move {
        drop(
            monitor
                .wait_for(|status| status.counters.inserted == 20)
                .await,
        );
    };
    assert_eq!(ingest.run(all).await.unwrap().inserted, 20);
    assert_eq!(committed(&log), 20);
    assert!(faults.calls(Call::Commit) >= 5);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_pipeline_is_not_running() {
    let _running = in_time();
    let log = log_of(20, 1).await;
    let faults = Faults::new();
    faults.always(Call::Insert, Fault::unavailable());
    let running = start(&log, faults.store(Arc::new(InMemoryStore::new())));
    running
        .monitor
        .wait_for(|status| !status.errors.is_empty())
        .await;
    running.task.abort();
    let status = running
        .monitor
        .wait_for(|status| status.phase == Phase::Stopped)
        .await;
    assert!(status.fatal_error.is_some());
}

/// A store that violates its contract.
#[derive(Debug)]
enum Broken {
    Panics,
    HasOneMore,
    LacksOne,
    Refuses,
}

#[async_trait]
impl RecordStore<Purchase> for Broken {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        match self {
            Self::Panics => panic!("on purpose"),
            Self::HasOneMore => Ok(vec![InsertOutcome::Inserted; batch.len() + 1]),
            Self::LacksOne => Ok(vec![InsertOutcome::Inserted; batch.len() - 1]),
            Self::Refuses => Err(Error::new(ErrorKind::Denied, "wrong password")),
        }
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_store_stops_the_pipeline_and_commits_nothing() {
    let _running = in_time();
    for store in [Broken::Panics, Broken::HasOneMore, Broken::LacksOne] {
        let log = log_of(20, 1).await;
        let running = start(&log, Arc::new(store));
        let error = running.task.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        let status = running.monitor.status();
        assert!(status.phase == Phase::Stopped && status.fatal_error.is_some());
        assert_eq!((committed(&log), log.dead_letters().all().len()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_denies_all_inserts_is_an_outage() {
    let _running = in_time();
    let log = log_of(20, 1).await;
    let running = start(&log, Arc::new(Broken::Refuses));
    running
        .monitor
        .wait_for(|status| !status.errors.is_empty())
        .await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let status = running.monitor.status();
    assert_eq!(status.phase, Phase::Running);
    // 4 batches, each retried at most every 2 s once the pauses have grown.
    assert!(
        status.retries[&Component::Store] <= 4 * (1_800 + 10),
        "{:?}",
        status.retries
    );
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
    assert_eq!((committed(&log), log.dead_letters().all().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_limit_reached_by_a_later_batch_does_not_block_the_position() {
    let _running = in_time();
    let log = InMemoryLog::new(InMemoryLogOptions {
        batch_records: 1,
        ..Default::default()
    });
    let other = Purchase {
        price: "2".parse().unwrap(),
        ..purchase(1)
    };
    for purchase in [purchase(1), other] {
        log.sink().publish(&purchase).await.unwrap();
    }
    for _ in 0..2 {
        drop(log.append(LogRecord::new(0, Timestamp::MIN, Some("poison".into()))));
    }
    // Poison is detected at once, the conflict only when the store has returned.
    let faults = Faults::new();
    faults.always(Call::Insert, Fault::Delay(Duration::from_millis(10)));
    let options = IngestOptions {
        dead_letter_limit: DeadLetterLimit::consecutive(2),
        ..IngestOptions::default()
    };
    let source = Arc::new(log.source("group"));
    let store = faults.store(Arc::new(InMemoryStore::new()));
    let ingest = Ingest::new(source, store, Arc::new(log.dead_letters()), options);
    assert!(
        ingest
            .run(pending())
            .await
            .unwrap_err()
            .to_string()
            .contains("2 records in a row")
    );
    assert_eq!((committed(&log), log.dead_letters().all().len()), (4, 3));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_batch_puts_no_dead_letters() {
    let _running = in_time();
    let log = log_of(1, 1).await;
    drop(log.append(LogRecord::new(0, Timestamp::MIN, Some("poison".into()))));
    let faults = Faults::new();
    faults.once(Call::Insert, Fault::Delay(Duration::from_secs(5)));
    let source = Arc::new(log.source("group"));
    let store = faults.store(Arc::new(InMemoryStore::new()));
    let dead_letters = faults.dead_letters(Arc::new(log.dead_letters()));
    // With a limit it would wait for its permit, and notice there that it is abandoned.
    let options = IngestOptions {
        dead_letter_limit: DeadLetterLimit::OFF,
        ..IngestOptions::default()
    };
    let ingest = Ingest::new(Arc::clone(&source) as _, store, dead_letters, options);
    let monitor = ingest.monitor();
    tokio::spawn(ingest.run(pending()));
    monitor.wait_for(|status| status.in_flight > 0).await;
    source.lose_membership();
    monitor
        .wait_for(|status| status.counters.dead_lettered == 1)
        .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(
        faults.calls(Call::PutDeadLetters),
        1,
        "that of the redelivery"
    );
}
