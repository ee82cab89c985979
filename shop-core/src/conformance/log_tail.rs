//! The tests of following a log, and of its groups: [`LogAdmin::tail`](crate::log::LogAdmin::tail),
//! [`LogAdmin::positions`](crate::log::LogAdmin::positions) and
//! [`LogAdmin::usage`](crate::log::LogAdmin::usage).

use std::collections::BTreeSet;

use futures_util::TryStreamExt;

use super::LogFixture;
use super::fixture::soon;
use super::log_calls::{GROUP, close, commit, expected, ids, positions, publish, read};
use super::sample::purchases;
use crate::log::{Batch, LogTail, Offsets};
use crate::{ErrorKind, PurchaseId};

/// The ids of the next `count` records of `tail`.
async fn next_of(tail: &mut LogTail, count: usize) -> BTreeSet<PurchaseId> {
    let mut batches: Vec<Batch> = Vec::new();
    while batches
        .iter()
        .map(|batch| batch.records.len())
        .sum::<usize>()
        < count
    {
        batches.push(
            soon("tail", tail.batches.try_next())
                .await
                .expect("tail")
                .expect("a tail has no end"),
        );
    }
    ids(&batches)
}

/// A tail of `fixture` from `start` on; `None` if the log cannot be followed.
async fn tail(fixture: &dyn LogFixture, start: &Offsets) -> Option<LogTail> {
    let tail = soon("tail", fixture.log().admin().tail(start)).await;
    if tail
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::Unsupported)
    {
        return None;
    }
    Some(tail.expect("tail"))
}

/// A tail yields the records from its start on, and those that are appended later.
pub async fn a_tail_yields_later_records(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    let Some(mut empty) = tail(fixture, &Offsets::new()).await else {
        return;
    };
    assert_eq!(empty.start, empty.end);
    publish(&*sink, &purchases(0..20)).await;
    assert_eq!(next_of(&mut empty, 20).await, expected(0..20));
    let mut whole = tail(fixture, &Offsets::new()).await.expect("a second tail");
    assert_eq!(whole.end.len(), empty.end.len(), "the partitions");
    publish(&*sink, &purchases(20..25)).await;
    assert_eq!(next_of(&mut whole, 25).await, expected(0..25));
    assert_eq!(
        next_of(&mut empty, 5).await,
        expected(20..25),
        "without those that it has yielded"
    );
}

/// A tail starts at the offsets that it is given, and reports where it starts if the log does not
/// have them.
pub async fn a_tail_starts_at_offsets(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    publish(&*sink, &purchases(0..20)).await;
    let Some(before) = tail(fixture, &Offsets::new()).await else {
        return;
    };
    publish(&*sink, &purchases(20..30)).await;
    let mut later = tail(fixture, &before.end).await.expect("a second tail");
    assert_eq!(later.start, before.end);
    assert_eq!(next_of(&mut later, 10).await, expected(20..30));
    let first = fixture.log().admin().first_offset();
    let behind = later
        .end
        .iter()
        .map(|(partition, end)| (*partition, end + 1))
        .collect();
    for start in [behind, Offsets::new()] {
        let mut whole = tail(fixture, &start).await.expect("a third tail");
        assert!(
            whole.start.values().all(|start| *start == first),
            "{start:?}: {whole:?}"
        );
        assert_eq!(next_of(&mut whole, 30).await, expected(0..30));
    }
}

/// The positions of a group are those that it has committed. A group that does not exist has none.
pub async fn positions_are_the_committed_offsets_of_a_group(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    let source = fixture.source("group").await;
    let admin = fixture.log().admin();
    let of = async |group: &str| soon("positions", admin.positions(&fixture.group(group))).await;
    if of("group")
        .await
        .is_err_and(|error| error.kind() == ErrorKind::Unsupported)
    {
        return;
    }
    publish(&*sink, &purchases(0..30)).await;
    let consumed = read(&*source, 30).await;
    let first = admin.first_offset();
    let before = of("group").await.expect("the positions");
    assert!(
        before.values().all(|next| *next == first),
        "nothing is committed: {before:?}"
    );
    for count in [1, consumed.len()] {
        let mut expected = before.clone();
        let committed = positions(&consumed[..count]);
        commit(&*source, &committed).await;
        expected.extend(
            committed
                .iter()
                .map(|position| (position.partition.index, position.next_offset)),
        );
        let mut found = of("group").await.expect("the positions");
        // A partition without records may have got its first position meanwhile.
        found.retain(|partition, next| expected.contains_key(partition) || *next != first);
        assert_eq!(found, expected);
    }
    assert_eq!(of("another").await.expect("the positions"), Offsets::new());
}

/// A group is listed with its position, cannot be changed while it is consumed, and can be reset
/// and forgotten. Or a server manages the groups.
pub async fn groups_are_listed_reset_and_forgotten(fixture: &dyn LogFixture) {
    publish(&*fixture.sink().await, &purchases(0..15)).await;
    let log = fixture.log();
    let source = fixture.source(GROUP).await;
    let consumed = read(&*source, 15).await;
    commit(&*source, &positions(&consumed[..1])).await;
    let admin = log.admin();
    let change = |result: crate::Result<bool>| result.map_err(|error| error.kind());
    let first = admin.first_offset();
    let Some(log_groups) = admin.groups() else {
        return;
    };
    let forget = async |group: &str| change(soon("forget", log_groups.forget(group)).await);
    let reset = async |group: &str, offset: u64| {
        change(soon("reset", log_groups.reset(group, offset)).await)
    };
    let groups = async || -> Vec<(String, u64, u64)> {
        let usage = soon("usage", log_groups.usage()).await.expect("usage");
        assert_eq!(usage.next_offset, first + 15);
        usage
            .groups
            .into_iter()
            .map(|group| (group.name, group.next_offset, group.behind))
            .collect()
    };
    let next = positions(&consumed[..1])[0].next_offset;
    assert_eq!(
        groups().await,
        [(GROUP.to_owned(), next, first + 15 - next)]
    );
    assert_eq!(forget(GROUP).await, Err(ErrorKind::Conflict));
    assert_eq!(reset(GROUP, first).await, Err(ErrorKind::Conflict));
    close(&*source).await;

    assert_eq!(
        (reset("another", first).await, forget("another").await),
        (Ok(false), Ok(false))
    );
    assert_eq!(reset(GROUP, first + 5).await, Ok(true));
    assert_eq!(groups().await, [(GROUP.to_owned(), first + 5, 10)]);
    let source = fixture.source(GROUP).await;
    assert_eq!(ids(&read(&*source, 10).await), expected(5..15));
    close(&*source).await;
    assert_eq!(
        (forget(GROUP).await, forget(GROUP).await),
        (Ok(true), Ok(false))
    );
    assert_eq!(groups().await, []);
    assert_eq!(
        ids(&read(&*fixture.source(GROUP).await, 15).await),
        expected(0..15)
    );
}
