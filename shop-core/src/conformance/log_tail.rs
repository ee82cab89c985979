//! The tests of following a log, and of its groups: [`ScanEnd::Never`],
//! [`Log::positions`](crate::log::Log::positions) and
//! [`LogGroups`](crate::log::LogGroups).

use super::prelude::*;
use crate::log::{LogScan, ScanEnd};

/// Returns the ids of the next `count` records of `tail`.
#[track_caller]
fn next_of(tail: &mut LogScan, count: usize) -> impl Future<Output = BTreeSet<PurchaseId>> {
    succeed(async move {
        let mut batches: Vec<Batch> = Vec::new();
        while batches
            .iter()
            .map(|batch| batch.records.len())
            .sum::<usize>()
            < count
        {
            batches.push(tail.batches.try_next().await?.expect("a tail has no end"));
        }
        Ok(ids(&batches))
    })
}

/// Returns whether the log does not support a call.
fn is_unsupported<T>(result: &Result<T>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::Unsupported)
}

/// A tail yields the records from its start on, and those that are appended later. It starts at the
/// offsets that it is given, or at the first record, and reports where. Or tails are unsupported.
pub async fn a_tail_yields_later_records(fixture: &dyn LogFixture) {
    let log = fixture.log();
    if is_unsupported(&soon("tail", log.scan(&Offsets::new(), ScanEnd::Never)).await) {
        return;
    }
    let tail = async |start: &Offsets| succeed(log.scan(start, ScanEnd::Never)).await;
    let mut empty = tail(&Offsets::new()).await;
    assert_eq!(empty.start, empty.end);
    publish(fixture, &purchases(0..20)).await;
    assert_eq!(next_of(&mut empty, 20).await, ids_from(0..20));
    let mut whole = tail(&Offsets::new()).await;
    assert_eq!(whole.end.len(), empty.end.len(), "the partitions");
    publish(fixture, &purchases(20..30)).await;
    assert_eq!(next_of(&mut whole, 30).await, ids_from(0..30));
    assert_eq!(
        next_of(&mut empty, 10).await,
        ids_from(20..30),
        "none is yielded again"
    );

    let mut later = tail(&whole.end).await;
    assert_eq!(later.start, whole.end);
    assert_eq!(next_of(&mut later, 10).await, ids_from(20..30));
    let behind_the_end = later
        .end
        .iter()
        .map(|(partition, end)| (*partition, end + 1));
    let mut restarted = tail(&behind_the_end.collect()).await;
    let is_at_first = |start: &u64| *start == log.info().first_offset;
    assert!(restarted.start.values().all(is_at_first), "{restarted:?}");
    assert_eq!(next_of(&mut restarted, 30).await, ids_from(0..30));
}

/// The positions of a group are those that it has committed. A group that does not exist has none.
pub async fn positions_are_the_committed_offsets_of_a_group(fixture: &dyn LogFixture) {
    let source = fixture.source(GROUP).await;
    let log = fixture.log();
    let group = fixture.group(GROUP);
    if is_unsupported(&soon("positions", log.positions(&group)).await) {
        return;
    }
    publish(fixture, &purchases(0..30)).await;
    let consumed = read(&*source, 30).await;
    let first = log.info().first_offset;
    let before = succeed(log.positions(&group)).await;
    assert!(
        before.values().all(|next| *next == first),
        "nothing is committed: {before:?}"
    );
    for count in [1, consumed.len()] {
        let mut expected = before.clone();
        let committed = positions(&consumed[..count]);
        commit(&*source, &committed).await;
        for CommitOffset {
            partition,
            next_offset,
            ..
        } in committed
        {
            expected.insert(partition.index, next_offset);
        }
        let mut found = succeed(log.positions(&group)).await;
        // A partition without records may have got its first position meanwhile.
        found.retain(|partition, next| expected.contains_key(partition) || *next != first);
        assert_eq!(found, expected);
    }
    let of_another = succeed(log.positions(&fixture.group("another"))).await;
    assert_eq!(of_another, Offsets::new());
}

/// A group is listed with its position, cannot be changed while it is consumed, and can be reset
/// and forgotten. Or a server manages the groups.
pub async fn groups_are_listed_reset_and_forgotten(fixture: &dyn LogFixture) {
    publish(fixture, &purchases(0..15)).await;
    let source = fixture.source(GROUP).await;
    let consumed = read(&*source, 15).await;
    let committed = positions(&consumed[..1]);
    commit(&*source, &committed).await;
    let log = fixture.log();
    let first = log.info().first_offset;
    let Some(log_groups) = log.info().groups else {
        return;
    };
    let assert_groups = async |expected: &[(&str, u64, u64)]| {
        let usage = succeed(log_groups.usage()).await;
        assert_eq!(usage.next_offset, first + 15);
        let groups = usage.groups.iter();
        let groups: Vec<_> = groups
            .map(|group| (&*group.name, group.next_offset, group.behind))
            .collect();
        assert_eq!(groups, expected);
    };
    let next = committed[0].next_offset;
    assert_groups(&[(GROUP, next, first + 15 - next)]).await;
    for error in [
        fail(log_groups.forget(GROUP)).await,
        fail(log_groups.reset(GROUP, first)).await,
    ] {
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    close(&*source).await;

    assert!(!succeed(log_groups.reset("another", first)).await);
    assert!(!succeed(log_groups.forget("another")).await);
    assert!(succeed(log_groups.reset(GROUP, first + 5)).await);
    assert_groups(&[(GROUP, first + 5, 10)]).await;
    let left = read_as_member(fixture, GROUP, 10).await;
    assert_eq!(ids(&left), ids_from(5..15));
    assert!(succeed(log_groups.forget(GROUP)).await);
    assert!(!succeed(log_groups.forget(GROUP)).await);
    assert_groups(&[]).await;
    assert_eq!(
        ids(&read_as_member(fixture, GROUP, 15).await),
        ids_from(0..15)
    );
}
