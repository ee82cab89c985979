//! The tests of a log's sources: [`LogSource`].

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout_at};

use super::log_calls::{next_of_both, revocation_of};
use super::prelude::*;
use crate::log::{ControlEvent, RevocationCause};

/// A batch ends at the latest with the record that reaches the configured bytes.
pub async fn batches_respect_the_byte_limit(fixture: &dyn LogFixture) {
    let quarters = [1, 1, 1, 1, 1, 1, 8, 1, 1];
    for quarters in quarters {
        let value = vec![b'x'; quarters * BATCH_BYTES / 4];
        let record = LogRecord::new(0, at(0), Some(value.into()));
        append(fixture, record.with_key(Some("one".into()))).await;
    }
    for batch in read_as_member(fixture, GROUP, quarters.len()).await {
        let (_last, before) = batch.records.split_last().expect("a batch is never empty");
        let bytes: usize = before
            .iter()
            .flat_map(|record| &record.value)
            .map(Bytes::len)
            .sum();
        assert!(
            bytes < BATCH_BYTES,
            "{} records, full before the last of them",
            batch.records.len()
        );
    }
}

/// The timestamp of a record, and with it a derived id, is the same at each delivery. Later records
/// have later timestamps.
pub async fn a_record_keeps_its_timestamp(fixture: &dyn LogFixture) {
    for number in 0..2 {
        publish(fixture, &[purchase_of("one", number)]).await;
        // Longer than the resolution of timestamps, one millisecond.
        sleep(Duration::from_millis(20)).await;
    }
    for number in 2..5 {
        append(fixture, foreign("one", number)).await;
    }

    let mut deliveries = Vec::new();
    for _ in 0..3 {
        let batches = read_as_member(fixture, GROUP, 5).await;
        let times = batches
            .iter()
            .flat_map(|batch| &batch.records)
            .map(|record| record.time);
        let delivered: Vec<_> = times.zip(decoded(&batches)).collect();
        deliveries.push(delivered);
    }
    // All records have one user, so they are in one partition.
    assert!(deliveries[0][0].0 < deliveries[0][1].0, "{deliveries:?}");
    assert!(
        deliveries
            .iter()
            .all(|delivered| *delivered == deliveries[0]),
        "{deliveries:?}"
    );
}

/// A member starts at the position that its group has committed last, also if that is less than one
/// before. A commit has one outcome per position, in the order of the call. One of an ended epoch is
/// fenced and moves nothing. A new group starts at the earliest record, whatever another has committed.
pub async fn a_member_starts_at_the_committed_position(fixture: &dyn LogFixture) {
    publish(fixture, &purchases_of("one", 0..6)).await;
    let first = fixture.source(GROUP).await;
    let of_first = positions(&read(&*first, 6).await);
    close(&*first).await;

    let second = fixture.source(GROUP).await;
    let of_second = positions(&read(&*second, 6).await);
    assert_ne!(of_second, of_first, "a new owner has a new epoch");
    for source in [&first, &second] {
        match soon("commit", source.commit(&of_first)).await {
            Ok(outcomes) => assert_eq!(outcomes, [CommitOutcome::Fenced]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "{error}"),
        }
    }
    close(&*second).await;

    let third = fixture.source(GROUP).await;
    let batches = read(&*third, 6).await;
    assert_eq!(ids(&batches), ids_from(0..6), "nothing was committed");
    let of_third = positions(&batches);
    let outcomes = commit(&*third, &[&of_first[..], &of_third].concat()).await;
    assert_eq!(outcomes, [CommitOutcome::Fenced, CommitOutcome::Committed]);
    assert_eq!(commit(&*third, &[]).await, []);
    close(&*third).await;

    publish(fixture, &purchases_of("one", 6..9)).await;
    let fourth = fixture.source(GROUP).await;
    let batches = read(&*fourth, 3).await;
    assert_eq!(ids(&batches), ids_from(6..9), "the others are committed");
    let mut position = positions(&batches);
    assert_eq!(
        commit(&*fourth, &position).await,
        [CommitOutcome::Committed]
    );
    position[0].next_offset -= 7;
    assert_eq!(
        commit(&*fourth, &position).await,
        [CommitOutcome::Committed]
    );
    close(&*fourth).await;
    assert_eq!(
        ids(&read_as_member(fixture, GROUP, 7).await),
        ids_from(2..9),
        "the position has moved back"
    );
    assert_eq!(
        ids(&read_as_member(fixture, "new group", 9).await),
        ids_from(0..9)
    );
}

/// Dropping a pending `next` loses nothing.
pub async fn a_dropped_next_loses_nothing(fixture: &dyn LogFixture) {
    let source = fixture.source(GROUP).await;
    let mut seen = BTreeSet::new();
    for purchase in purchases(0..31) {
        match source.next().now_or_never() {
            Some(Ok(SourceEvent::Batch(batch))) => seen.extend(ids(&[batch])),
            Some(Ok(SourceEvent::Revoked(revocation))) => revocation.done(),
            Some(other) => panic!("neither a batch nor a revocation, but {other:?}"),
            None => {}
        }
        publish(fixture, &[purchase]).await;
    }
    while seen.len() < 31 {
        seen.extend(ids(&read(&*source, 1).await));
    }
    assert_eq!(seen, ids_from(0..31));
}

/// Returns whether partitions are revoked, and prints that a test is skipped if not.
fn revokes(fixture: &dyn LogFixture) -> bool {
    declared(fixture.capabilities().revokes, "revocations")
}

/// Returns one purchase per user for many users, so that every partition has some.
fn for_users(numbers: Range<u64>) -> Vec<Purchase> {
    let of_its_user = |number| purchase_of(&format!("user-{number}"), number);
    numbers.map(of_its_user).collect()
}

fn assert_all(expected: CommitOutcome, outcomes: &[CommitOutcome]) {
    assert!(
        outcomes.iter().all(|outcome| *outcome == expected),
        "{outcomes:?}"
    );
}

/// A rebalance waits until the owner has given the partitions up: until then it can commit, nothing
/// of them is delivered to anyone, and afterwards what it has committed is not delivered again.
pub async fn a_rebalance_waits_for_the_revocation(fixture: &dyn LogFixture) {
    if !revokes(fixture) {
        return;
    }
    let first = fixture.source(GROUP).await;
    publish(fixture, &for_users(0..60)).await;
    let batches = read(&*first, 60).await;
    let second = fixture.source(GROUP).await;
    let revocation = revocation_of(&*first, &*second).await;
    assert_eq!(revocation.cause, RevocationCause::Rebalance);
    assert!(!revocation.partitions.is_empty() && !revocation.timeout.is_zero());
    let outcomes = commit(&*first, &positions(&batches)).await;
    let commits_during_joins = fixture.capabilities().commits_during_joins;
    let is_fenced = outcomes.contains(&CommitOutcome::Fenced)
        && !declared(commits_during_joins, "commits during joins");
    if !is_fenced {
        assert_all(CommitOutcome::Committed, &outcomes);
    }

    publish(fixture, &for_users(60..120)).await;
    let until = Instant::now() + revocation.timeout / 4;
    let mut seen = BTreeSet::new();
    while let Ok(event) = timeout_at(until, first.next()).await {
        match event.expect("next") {
            SourceEvent::Batch(batch) => {
                assert!(
                    !revocation.partitions.contains(&batch.partition),
                    "{batch:?} was revoked"
                );
                seen.extend(ids(&[batch]));
            }
            SourceEvent::Revoked(later) => later.done(),
            other => panic!("neither a batch nor a revocation, but {other:?}"),
        }
    }
    let given_up = revocation.partitions.clone();
    revocation.done();

    while !seen.is_superset(&ids_from(60..120)) {
        match next_of_both(&*first, &*second).await {
            SourceEvent::Batch(batch) => {
                assert!(!given_up.contains(&batch.partition), "its epoch is over");
                seen.extend(ids(&[batch]));
            }
            SourceEvent::Revoked(later) => later.done(),
            other => panic!("neither a batch nor a revocation, but {other:?}"),
        }
    }
    assert!(
        is_fenced || seen.is_disjoint(&ids_from(0..60)),
        "committed before the hand-over"
    );
}

/// A revocation that is never done ends at its timeout: another member gets the partitions, and
/// commits of the old epoch are fenced.
pub async fn a_revocation_ends_at_its_timeout(fixture: &dyn LogFixture) {
    if !revokes(fixture) {
        return;
    }
    let first = fixture.source(GROUP).await;
    publish(fixture, &purchases(0..40)).await;
    let batches = read(&*first, 40).await;
    let second = fixture.source(GROUP).await;
    let revocation = revocation_of(&*first, &*second).await;
    // Kept until its timeout: the second member gets the partitions nevertheless, from the start.
    let again = read(&*second, 1).await;
    let mut old = positions(&batches);
    old.retain(|position| position.partition.index == again[0].partition.index);
    assert!(!old.is_empty());
    assert_all(CommitOutcome::Fenced, &commit(&*first, &old).await);
    revocation.done();
}

/// `next_control` returns revocations and the close, but no batches.
pub async fn next_control_returns_no_batch(fixture: &dyn LogFixture) {
    let first = fixture.source(GROUP).await;
    publish(fixture, &purchases(0..5)).await;
    // There are records to read, as this shows; they stay unread.
    let mut all = ids(&read(&*first, 1).await);
    publish(fixture, &purchases(5..40)).await;
    assert!(first.next_control().now_or_never().is_none());
    if fixture.capabilities().revokes {
        let second = fixture.source(GROUP).await;
        let event = tokio::select! {
            control = succeed(first.next_control()) => control,
            event = next(&*second) => panic!("before it was given up: {event:?}"),
        };
        let ControlEvent::Revoked(revocation) = event else {
            panic!("a revocation: {event:?}")
        };
        drop(revocation);
        close(&*second).await;
    }
    while all.len() < 40 {
        all.extend(ids(&read(&*first, 1).await));
    }
    close(&*first).await;
    let event = succeed(first.next_control()).await;
    assert!(matches!(event, ControlEvent::Closed), "{event:?}");
}

/// Waits until the lag of `source` is `records`. Some logs update it with a delay.
async fn lag_of(source: &dyn LogSource, records: u64) {
    while !source.lag().await.is_ok_and(|lag| lag.total() == records) {
        sleep(Duration::from_millis(10)).await;
    }
}

/// The lag of a member is the number of uncommitted records.
pub async fn lag_counts_uncommitted_records(fixture: &dyn LogFixture) {
    let source = fixture.source(GROUP).await;
    publish(fixture, &purchases(0..25)).await;
    let batches = read(&*source, 25).await;
    soon("a lag of what was read", lag_of(&*source, 25)).await;
    commit(&*source, &positions(&batches)).await;
    publish(fixture, &purchases(25..27)).await;
    soon("a lag of what came later", lag_of(&*source, 2)).await;
}

/// A closed source returns `Closed`, and another member of the group gets its partitions.
pub async fn a_closed_source_releases_its_partitions(fixture: &dyn LogFixture) {
    let first = fixture.source(GROUP).await;
    publish(fixture, &purchases(0..5)).await;
    let batches = read(&*first, 5).await;
    commit(&*first, &positions(&batches)).await;
    let second = fixture.source(GROUP).await;
    close(&*first).await;
    loop {
        match next(&*first).await {
            SourceEvent::Closed => break,
            SourceEvent::Revoked(revocation) => revocation.done(),
            other => panic!("a closed source has delivered {other:?}"),
        }
    }
    publish(fixture, &purchases(5..25)).await;
    assert_eq!(ids(&read(&*second, 20).await), ids_from(5..25));
}
