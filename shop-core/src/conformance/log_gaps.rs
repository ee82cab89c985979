//! The tests of records that a log no longer has.

use super::log_calls::delete_records_before;
use super::prelude::*;

/// Publishes ten records of one partition, of which the group commits the first `committed`.
async fn ten_records(fixture: &dyn LogFixture, committed: usize) -> Batch {
    publish(fixture, &purchases_of("one", 0..10)).await;
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

/// Waits for the gap that `source` delivers next.
async fn gap(source: &dyn LogSource) -> Gap {
    loop {
        match next(source).await {
            SourceEvent::Gap(gap) => return gap,
            SourceEvent::Revoked(revocation) => revocation.done(),
            other => panic!("no gap, but {other:?}"),
        }
    }
}

/// Records that were deleted before the group has read them are delivered as a gap, then the
/// records after them, to each member of the group until a position after the gap is committed.
pub async fn records_deleted_unread_are_a_gap(fixture: &dyn LogFixture) {
    if !deletes_records(fixture) {
        return;
    }
    let Batch { partition, records } = ten_records(fixture, 4).await;
    let end = records[9].offset + 1;
    // Once with records after the gap, and once without.
    for (from, to, rest) in [
        (records[4].offset, records[7].offset, 7..10),
        (records[7].offset, end, 10..10),
    ] {
        delete_records_before(fixture, &partition, to).await;
        for is_committed in [false, false, true] {
            let source = fixture.source(GROUP).await;
            let found = gap(&*source).await;
            let place = (&found.partition.topic, found.partition.index);
            assert_eq!(place, (&partition.topic, partition.index));
            let offsets = (found.from, found.to, found.next_offset);
            assert_eq!((offsets, found.cause), ((from, to, to), GapCause::Deleted));
            assert_eq!(
                ids(&read(&*source, rest.clone().count()).await),
                ids_from(rest.clone())
            );
            if is_committed {
                let after = CommitOffset::new(found.partition, found.next_offset);
                assert_eq!(commit(&*source, &[after]).await, [CommitOutcome::Committed]);
            }
            close(&*source).await;
        }
    }
    publish(fixture, &purchases_of("one", 10..12)).await;
    assert_eq!(
        ids(&read_as_member(fixture, GROUP, 2).await),
        ids_from(10..12),
        "a committed gap is not delivered"
    );
}

/// Deleting records that the group has committed is no gap. A new group starts at the first record
/// that is left.
pub async fn deleting_committed_records_is_no_gap(fixture: &dyn LogFixture) {
    if !deletes_records(fixture) {
        return;
    }
    let batch = ten_records(fixture, 8).await;
    delete_records_before(fixture, &batch.partition, batch.records[8].offset).await;
    for group in [GROUP, "new group"] {
        assert_eq!(
            ids(&read_as_member(fixture, group, 2).await),
            ids_from(8..10),
            "{group}"
        );
    }
}
