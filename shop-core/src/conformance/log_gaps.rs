//! The tests of records that a log no longer has.

use super::LogFixture;
use super::fixture::{declared, soon};
use super::log_calls::{GROUP, close, commit, expected, ids, next, positions, publish, read};
use super::sample::purchase_of;
use crate::log::{Batch, CommitOffset, Gap, GapCause, LogSource, RecordPosition, SourceEvent};

/// Publishes purchases of one user, which are in one partition.
async fn publish_numbers(fixture: &dyn LogFixture, numbers: std::ops::Range<u64>) {
    let purchases: Vec<_> = numbers.map(|number| purchase_of("one", number)).collect();
    publish(&*fixture.sink().await, &purchases).await;
}

/// Ten records of one partition, of which the group has committed the first `committed`.
async fn ten_records(fixture: &dyn LogFixture, committed: usize) -> Batch {
    publish_numbers(fixture, 0..10).await;
    let source = fixture.source(GROUP).await;
    let batches = read(&*source, 10).await;
    let partition = batches[0].partition.clone();
    let records: Vec<_> = batches
        .into_iter()
        .flat_map(|batch| batch.records)
        .collect();
    let next = CommitOffset::new(partition.clone(), records[committed - 1].offset + 1);
    commit(&*source, &[next]).await;
    close(&*source).await;
    Batch::new(partition, records)
}

async fn delete_before(fixture: &dyn LogFixture, batch: &Batch, offset: u64) {
    let topic = batch.partition.topic.to_string();
    let position = RecordPosition::new(topic, batch.partition.index, offset);
    soon("delete records", fixture.delete_before(&position)).await;
}

/// The gap that `source` delivers next.
async fn gap(source: &dyn LogSource) -> Gap {
    loop {
        match next(source).await {
            SourceEvent::Gap(gap) => return gap,
            SourceEvent::Revoked(revocation) => revocation.done(),
            other => panic!("no gap, but {other:?}"),
        }
    }
}

fn assert_gap(gap: &Gap, batch: &Batch, (from, to): (u64, u64)) {
    assert_eq!(
        (&gap.partition.topic, gap.partition.index),
        (&batch.partition.topic, batch.partition.index)
    );
    assert_eq!(
        (gap.from, gap.to, gap.next_offset, gap.cause),
        (from, to, to, GapCause::Deleted)
    );
}

/// Records that were deleted before the group has read them are delivered as a gap, then the
/// records after them.
pub async fn records_deleted_unread_are_a_gap(fixture: &dyn LogFixture) {
    if !declared(
        fixture.capabilities().deletes_records,
        "the deletion of records",
    ) {
        return;
    }
    let batch = ten_records(fixture, 4).await;
    let from = batch.records[4].offset;
    let to = batch.records[7].offset;
    delete_before(fixture, &batch, to).await;
    let source = fixture.source(GROUP).await;
    let found = gap(&*source).await;
    assert_gap(&found, &batch, (from, to));
    assert_eq!(ids(&read(&*source, 3).await), expected(7..10));
    commit(
        &*source,
        &[CommitOffset::new(found.partition, found.next_offset)],
    )
    .await;
    close(&*source).await;
    let source = fixture.source(GROUP).await;
    assert_eq!(
        ids(&read(&*source, 3).await),
        expected(7..10),
        "the committed gap is not delivered again"
    );
}

/// A gap without records after it is delivered to each member of the group until it is committed.
pub async fn an_uncommitted_gap_is_redelivered(fixture: &dyn LogFixture) {
    if !declared(
        fixture.capabilities().deletes_records,
        "the deletion of records",
    ) {
        return;
    }
    let batch = ten_records(fixture, 4).await;
    let from = batch.records[4].offset;
    let to = batch.records[9].offset + 1;
    delete_before(fixture, &batch, to).await;
    for _ in 0..2 {
        let source = fixture.source(GROUP).await;
        assert_gap(&gap(&*source).await, &batch, (from, to));
        close(&*source).await;
    }
    let source = fixture.source(GROUP).await;
    let found = gap(&*source).await;
    commit(
        &*source,
        &[CommitOffset::new(found.partition, found.next_offset)],
    )
    .await;
    publish_numbers(fixture, 10..12).await;
    let batches = read(&*source, 2).await;
    assert_eq!(ids(&batches), expected(10..12));
    commit(&*source, &positions(&batches)).await;
}

/// Deleting records that the group has committed is no gap. A new group starts at the first record
/// that is left.
pub async fn deleting_committed_records_is_no_gap(fixture: &dyn LogFixture) {
    if !declared(
        fixture.capabilities().deletes_records,
        "the deletion of records",
    ) {
        return;
    }
    let batch = ten_records(fixture, 8).await;
    delete_before(fixture, &batch, batch.records[8].offset).await;
    let source = fixture.source(GROUP).await;
    assert_eq!(ids(&read(&*source, 2).await), expected(8..10));
    close(&*source).await;
    let source = fixture.source("new group").await;
    assert_eq!(ids(&read(&*source, 2).await), expected(8..10));
}
