//! Calls used by the tests of a log, each with a time limit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::fixture::soon;
use super::sample::id;
use crate::log::{Batch, CommitOffset, CommitOutcome, LogSource, Revocation, SourceEvent};
use crate::ports::PurchaseSink;
use crate::record::decode;
use crate::{Purchase, PurchaseId};

/// The group of most tests.
pub(super) const GROUP: &str = "group";

/// The time limit of a close.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Publishes all purchases sequentially.
pub(super) async fn publish(sink: &dyn PurchaseSink, purchases: &[Purchase]) {
    for purchase in purchases {
        soon("publish", sink.publish(purchase))
            .await
            .expect("publish");
    }
}

/// The next event.
pub(super) async fn next(source: &dyn LogSource) -> SourceEvent {
    soon("next", source.next()).await.expect("next")
}

/// Reads batches with `count` records altogether. Revocations are completed at once.
pub(super) async fn read(source: &dyn LogSource, count: usize) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut found = 0;
    while found < count {
        match next(source).await {
            SourceEvent::Batch(batch) => {
                found += batch.records.len();
                batches.push(batch);
            }
            SourceEvent::Gap(gap) => panic!("{gap}"),
            SourceEvent::Revoked(revocation) => revocation.done(),
            SourceEvent::Closed => panic!("the source was closed after {found} of {count} records"),
        }
    }
    batches
}

/// Closes a member of a group.
pub(super) async fn close(source: &dyn LogSource) {
    soon("close", source.close(DEADLINE)).await.expect("close");
}

/// The revocation that `member` receives after `newcomer` has joined.
pub(super) async fn revocation_of(member: &dyn LogSource, newcomer: &dyn LogSource) -> Revocation {
    loop {
        let (event, of_member) = tokio::select! {
            event = next(member) => (event, true),
            event = next(newcomer) => (event, false),
        };
        match event {
            SourceEvent::Revoked(revocation) if of_member => return revocation,
            SourceEvent::Revoked(revocation) => revocation.done(),
            SourceEvent::Gap(gap) => panic!("{gap}"),
            SourceEvent::Batch(batch) => {
                assert!(of_member, "{:?} was not given up yet", batch.partition);
            }
            SourceEvent::Closed => panic!("the source was not closed"),
        }
    }
}

/// Each position must have this outcome.
#[track_caller]
pub(super) fn assert_all(expected: CommitOutcome, outcomes: &[CommitOutcome]) {
    assert!(
        outcomes.iter().all(|outcome| *outcome == expected),
        "{outcomes:?}"
    );
}

/// The ids in `batches`.
pub(super) fn ids(batches: &[Batch]) -> BTreeSet<PurchaseId> {
    let decoded = |batch: &Batch| {
        let records = batch.records.iter();
        records
            .map(|record| decode(record, &batch.partition).expect("a purchase").id)
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(decoded).collect()
}

pub(super) fn expected(numbers: std::ops::Range<u64>) -> BTreeSet<PurchaseId> {
    numbers.map(id).collect()
}

/// The position after each batch.
pub(super) fn positions(batches: &[Batch]) -> Vec<CommitOffset> {
    let mut ends = BTreeMap::new();
    for batch in batches {
        let last = batch.records.last().expect("a batch is never empty");
        ends.insert(batch.partition.clone(), last.offset + 1);
    }
    ends.into_iter()
        .map(|(partition, next)| CommitOffset::new(partition, next))
        .collect()
}

/// Commits, and returns an outcome for each position. Repeats a commit that may be repeated, as
/// ingest does: a broker on a busy machine may be between two phases of a rebalance.
pub(super) async fn commit(
    source: &dyn LogSource,
    positions: &[CommitOffset],
) -> Vec<CommitOutcome> {
    let committed = async {
        loop {
            match source.commit(positions).await {
                Err(error) if error.is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                result => return result.expect("commit"),
            }
        }
    };
    soon("commit", committed).await
}
