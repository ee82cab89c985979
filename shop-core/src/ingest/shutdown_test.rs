//! Shutdowns and rebalances complete in time, even if a port fails, and ports that violate their
//! contract stop the pipeline.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::fixture::{
    Setup, append_poison, committed, log_with_batches_of, publish, purchase, unavailable,
};
use super::{Component, DeadLetterLimit, IngestCounters, IngestOptions, Phase};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use crate::ports::{DescribeStore, InsertOutcome, PurchaseSink as _, RecordStore, StoreInfo};
use crate::{Error, ErrorKind, Purchase, Result, Retry};

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_all_inserts_is_an_outage_and_does_not_block_a_shutdown() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Denied] {
        let log = log_with_batches_of(5);
        publish(&log, 0..20).await;
        let faults = Faults::new();
        let error = Error::new(kind, "all inserts fail");
        faults.always(Call::Insert, Fault::Refuse(error));
        let running = Setup::new(&log, &faults).start();
        tokio::time::sleep(Duration::from_secs(3_600)).await;

        let status = running.has_failed(Component::Store).await;
        assert_eq!(status.phase, Phase::Running);
        // 4 batches, each retried at most every 2 s once the pauses have grown.
        let retries = status.retries[&Component::Store];
        assert!(retries <= 4 * (1_800 + 10), "{retries}");

        let asked = Instant::now();
        assert_eq!(running.stop().await, IngestCounters::default());
        let took = asked.elapsed();
        assert!(took <= IngestOptions::default().drain_timeout, "{took:?}");
        assert_eq!((committed(&log), log.all_dead_letters().len()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_port_does_not_block_a_rebalance() {
    let long = Retry::After(Duration::from_secs(60));
    let no_read = Fault::Refuse(unavailable().with_retry(long));
    for (component, call, fault) in [
        (Component::Store, Call::Insert, Fault::unavailable()),
        (Component::Source, Call::Next, no_read),
    ] {
        let log = InMemoryLog::new(InMemoryLogOptions {
            partitions: 4,
            batch_records: 5,
            ..Default::default()
        });
        publish(&log, 0..100).await;
        let store = Arc::new(InMemoryStore::new());
        let faults = Faults::new();
        faults.always(call, fault);
        let failing = Setup::new(&log, &faults)
            .with_store(Arc::clone(&store) as _)
            .start();
        failing.has_failed(component).await;

        // The ports of the new member work: it stores what the first member gives up, without
        // waiting for the whole timeout.
        let asked = Instant::now();
        let working = Setup::new(&log, &Faults::new())
            .with_store(Arc::clone(&store) as _)
            .start();
        working.has_inserted(1).await;
        let took = asked.elapsed();
        assert!(
            took < InMemoryLogOptions::default().revocation_timeout,
            "{component}: {took:?}"
        );
        let status = failing.monitor.status();
        assert_eq!(status.counters, IngestCounters::default());
        assert!(
            status.errors.contains_key(&component),
            "a revocation is no success"
        );

        faults.clear(call);
        while store.all().len() < 100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        failing.stop().await;
        working.stop().await;
        assert_eq!(committed(&log), 100);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_pipeline_is_not_running() {
    let log = log_with_batches_of(5);
    let running = Setup::new(&log, &Faults::new()).start();
    running
        .wait_for(|status| status.phase == Phase::Running)
        .await;
    running.task.abort();
    let status = running
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
}

#[async_trait]
impl RecordStore<Purchase> for Broken {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        let outcomes = match self {
            Self::Panics => panic!("on purpose"),
            Self::HasOneMore => batch.len() + 1,
            Self::LacksOne => batch.len() - 1,
        };
        Ok(vec![InsertOutcome::Inserted; outcomes])
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl DescribeStore for Broken {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_store_stops_the_pipeline_and_commits_nothing() {
    for store in [Broken::Panics, Broken::HasOneMore, Broken::LacksOne] {
        let log = log_with_batches_of(5);
        publish(&log, 0..20).await;
        let running = Setup::new(&log, &Faults::new())
            .with_store(Arc::new(store))
            .start();
        assert_eq!(running.stops_with_error().await.kind(), ErrorKind::Internal);
        assert_eq!((committed(&log), log.all_dead_letters().len()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_reached_by_a_later_batch_does_not_block_the_position() {
    let log = log_with_batches_of(1);
    let conflict = Purchase {
        price: "2".parse().unwrap(),
        ..purchase(1)
    };
    publish(&log, 1..2).await;
    log.sink().publish(&conflict).await.unwrap();
    append_poison(&log, 2);
    // Poison is detected at once, the conflict only when the store has returned.
    let faults = Faults::new();
    faults.always(Call::Insert, Fault::Delay(Duration::from_millis(10)));
    let mut setup = Setup::new(&log, &faults);
    setup.options.dead_letter_limit = DeadLetterLimit::consecutive(2);

    let error = setup.start().stops_with_error().await;
    assert!(error.to_string().contains("2 records in a row"), "{error}");
    assert_eq!((committed(&log), log.all_dead_letters().len()), (4, 3));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_batch_puts_no_dead_letters() {
    let log = log_with_batches_of(10);
    publish(&log, 0..1).await;
    append_poison(&log, 1);
    let faults = Faults::new();
    faults.once(Call::Insert, Fault::Delay(Duration::from_secs(5)));
    let mut setup = Setup::new(&log, &faults);
    // With a limit it would wait for its permit, and notice there that it is abandoned.
    setup.options.dead_letter_limit = DeadLetterLimit::OFF;
    let running = setup.start();
    running.wait_for(|status| status.in_flight > 0).await;
    running.source.lose_membership();
    running.has_dead_lettered(1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(
        faults.calls(Call::PutDeadLetters),
        1,
        "that of the redelivery"
    );
}
