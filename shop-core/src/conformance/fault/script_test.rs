//! Faults that outlast their call, on paused time.

use std::sync::Arc;
use std::time::Duration;

use super::{Call, Fault, Faults};
use crate::log::{Batch, CommitOffset, CommitOutcome, ControlEvent, LogSource, SourceEvent};
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use crate::ports::{PurchaseSink, PurchaseStore};
use crate::{Outcome, Purchase, PurchaseId, Timestamp};

fn purchase() -> Purchase {
    Purchase::new(
        PurchaseId::from_uuid(uuid::Uuid::from_u128(1)),
        "u1".parse().unwrap(),
        "ada".parse().unwrap(),
        "1".parse().unwrap(),
        Timestamp::from_millis(0).unwrap(),
    )
}

#[tokio::test(start_paused = true)]
async fn an_insert_that_completes_after_its_timeout_is_applied_once() {
    let (faults, store) = (Faults::new(), InMemoryStore::new());
    faults.once(Call::Insert, Fault::CompleteAfterTimeout(Duration::from_secs(5)));
    let error = faults.store(Arc::new(store.clone())).insert(Arc::new([purchase()])).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(store.all().is_empty());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(store.all(), [purchase()]);
    assert_eq!(
        faults.injected().into_iter().collect::<Vec<_>>(),
        [((Call::Insert, "CompleteAfterTimeout"), 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_commit_moves_nothing() {
    let (faults, log) = (Faults::new(), InMemoryLog::default());
    log.sink().publish(&purchase()).await.unwrap();
    let source = faults.source(Arc::new(log.source("group")));
    let SourceEvent::Batch(batch) = source.next().await.unwrap() else { panic!("no batch") };
    let position = [CommitOffset::new(batch.partition, 1)];
    faults.once(Call::Commit, Fault::LoseCommit);
    for moved in [0, 1] {
        assert_eq!(source.commit(&position).await.unwrap(), [CommitOutcome::Committed]);
        assert_eq!(log.committed("group").values().sum::<u64>(), moved);
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_consumes_no_fault() {
    let (faults, log) = (Faults::new(), InMemoryLog::default());
    let inner = Arc::new(log.source("group"));
    let source = faults.source(Arc::clone(&inner) as _);
    faults.once(Call::Next, Fault::DeliverTwice);
    inner.lose_membership();
    assert!(matches!(source.next().await.unwrap(), SourceEvent::Revoked(_)));
    log.sink().publish(&purchase()).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(source.next().await.unwrap(), SourceEvent::Batch(_)));
    }
}

async fn batch_of(source: &dyn LogSource) -> Batch {
    match source.next().await.unwrap() {
        SourceEvent::Batch(batch) => batch,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_partition_is_redelivered_in_its_next_epoch() {
    let options = InMemoryLogOptions { batch_records: 1, ..InMemoryLogOptions::default() };
    let (faults, log) = (Faults::new(), InMemoryLog::new(options));
    for _ in 0..3 {
        log.sink().publish(&purchase()).await.unwrap();
    }
    let source = faults.source(Arc::new(log.source("group")));
    let first = batch_of(&*source).await;
    faults.once(Call::Next, Fault::Revoke(Duration::from_secs(1)));
    let second = batch_of(&*source).await;
    let ControlEvent::Revoked(revocation) = source.next_control().await.unwrap() else { panic!("revoked") };
    assert_eq!(revocation.partitions, std::slice::from_ref(&first.partition));
    let silence = tokio::time::timeout(Duration::from_secs(9), source.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    let position = |batch: &Batch, next| [CommitOffset::new(batch.partition.clone(), next)];
    assert_eq!(source.commit(&position(&first, 1)).await.unwrap(), [CommitOutcome::Committed]);
    revocation.done();
    for offset in [1, 2] {
        let again = batch_of(&*source).await;
        assert_eq!((again.records[0].offset, again.partition.epoch), (offset, first.partition.epoch + 1));
        assert_eq!(source.commit(&position(&second, offset + 1)).await.unwrap(), [CommitOutcome::Fenced]);
        let outcomes = source.commit(&position(&again, offset + 1)).await.unwrap();
        assert_eq!(outcomes, [CommitOutcome::Committed]);
    }
    assert_eq!(log.committed("group").values().sum::<u64>(), 3);
}
