//! Calls used by the tests of a log. Each waits with a time limit, and fails at the line of its caller.

use super::prelude::*;
use crate::log::Revocation;

/// The group of most tests.
pub(super) const GROUP: &str = "group";

/// The time limit of a close.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Publishes all purchases sequentially.
#[track_caller]
pub(super) fn publish(log: &dyn LogFixture, purchases: &[Purchase]) -> impl Future<Output = ()> {
    succeed(async move {
        let sink = log.sink().await;
        for purchase in purchases {
            sink.publish(purchase).await?;
        }
        Ok(())
    })
}

/// Appends a raw record, as another producer would. The log assigns its offset and its time.
#[track_caller]
pub(super) fn append(log: &dyn LogFixture, record: LogRecord) -> impl Future<Output = ()> {
    succeed(async move { log.log().append(record).await.map(drop) })
}

/// Waits for the next event.
#[track_caller]
pub(super) fn next(source: &dyn LogSource) -> impl Future<Output = SourceEvent> {
    succeed(source.next())
}

/// Waits for the next event of either member.
#[track_caller]
pub(super) fn next_of_both(
    first: &dyn LogSource,
    second: &dyn LogSource,
) -> impl Future<Output = SourceEvent> {
    succeed(async move {
        tokio::select! {
            event = first.next() => event,
            event = second.next() => event,
        }
    })
}

/// Reads batches with `count` records altogether. Revocations are completed at once.
#[track_caller]
pub(super) fn read(source: &dyn LogSource, count: usize) -> impl Future<Output = Vec<Batch>> {
    succeed(async move {
        let mut batches = Vec::new();
        let mut found = 0;
        while found < count {
            match source.next().await? {
                SourceEvent::Batch(batch) => {
                    found += batch.records.len();
                    batches.push(batch);
                }
                SourceEvent::Revoked(revocation) => revocation.done(),
                other => panic!("{other:?} after {found} of {count} records"),
            }
        }
        Ok(batches)
    })
}

/// Reads until all purchases with the ids `expected` were delivered. Returns the ids of all that were.
pub(super) async fn read_until(
    source: &dyn LogSource,
    expected: &BTreeSet<PurchaseId>,
) -> BTreeSet<PurchaseId> {
    let mut seen = BTreeSet::new();
    while !seen.is_superset(expected) {
        seen.extend(ids(&read(source, 1).await));
    }
    seen
}

/// Reads batches with `count` records altogether as a new member of `group`, which then leaves.
pub(super) async fn read_as_member(log: &dyn LogFixture, group: &str, count: usize) -> Vec<Batch> {
    let source = log.source(group).await;
    let batches = read(&*source, count).await;
    close(&*source).await;
    batches
}

/// Closes a member of a group.
#[track_caller]
pub(super) fn close(source: &dyn LogSource) -> impl Future<Output = ()> {
    succeed(source.close(DEADLINE))
}

/// Waits for the revocation that `member` receives after `newcomer` has joined.
#[track_caller]
pub(super) fn revocation_of(
    member: &dyn LogSource,
    newcomer: &dyn LogSource,
) -> impl Future<Output = Revocation> {
    succeed(async move {
        loop {
            let (event, is_of_member) = tokio::select! {
                event = member.next() => (event?, true),
                event = newcomer.next() => (event?, false),
            };
            match event {
                SourceEvent::Revoked(revocation) if is_of_member => return Ok(revocation),
                SourceEvent::Revoked(revocation) => revocation.done(),
                SourceEvent::Batch(batch) => {
                    assert!(is_of_member, "{:?} was not given up yet", batch.partition);
                }
                other => panic!("neither a batch nor a revocation, but {other:?}"),
            }
        }
    })
}

/// Commits, and returns an outcome for each position. Repeats a commit that may be repeated, as
/// ingest does: a broker on a busy machine may be between two phases of a rebalance.
#[track_caller]
pub(super) fn commit(
    source: &dyn LogSource,
    positions: &[CommitOffset],
) -> impl Future<Output = Vec<CommitOutcome>> {
    succeed(async move {
        loop {
            match source.commit(positions).await {
                Err(error) if error.is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                result => return result,
            }
        }
    })
}

/// Returns the purchases in `batches`.
pub(super) fn decoded(batches: &[Batch]) -> Vec<Purchase> {
    let decoded = |batch: &Batch| -> Vec<Purchase> {
        let records = batch.records.iter();
        records
            .map(|record| decode(record, &batch.partition).expect("a purchase"))
            .collect()
    };
    batches.iter().flat_map(decoded).collect()
}

/// Returns the ids of the purchases in `batches`.
pub(super) fn ids(batches: &[Batch]) -> BTreeSet<PurchaseId> {
    ids_of(&decoded(batches))
}

/// Returns the ids of `purchases`.
pub(super) fn ids_of<'a>(
    purchases: impl IntoIterator<Item = &'a Purchase>,
) -> BTreeSet<PurchaseId> {
    purchases.into_iter().map(|purchase| purchase.id).collect()
}

/// Returns the position after each batch.
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

/// Returns the ids of the purchases with these numbers.
pub(super) fn ids_from(numbers: Range<u64>) -> BTreeSet<PurchaseId> {
    numbers.map(id).collect()
}

/// Returns whether the backend deletes records, and prints that a test is skipped if not.
pub(super) fn deletes_records(log: &dyn LogFixture) -> bool {
    declared(
        log.capabilities().deletes_records,
        "the deletion of records",
    )
}

/// Deletes all records before `offset` of `partition`, as retention does.
#[track_caller]
pub(super) fn delete_records_before(
    log: &dyn LogFixture,
    partition: &Partition,
    offset: u64,
) -> impl Future<Output = ()> {
    let position = RecordPosition::new(Arc::clone(&partition.topic), partition.index, offset);
    soon("the deletion of records", async move {
        log.delete_before(&position).await;
    })
}
