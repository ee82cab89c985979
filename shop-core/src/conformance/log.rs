//! The tests of every log: [`PurchaseSink`], [`LogSource`](crate::log::LogSource) and
//! [`DeadLetters`](crate::log::DeadLetters) together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::fixture::{declared, lag_of, poll_once, sink_and_source, soon};
use super::log_calls::{
    DEADLINE, GROUP, assert_all, close, commit, expected, ids, next, positions, publish, read,
    revocation_of,
};
use super::sample::{at, price, purchase, purchase_of, purchases};
use super::{BATCH_RECORDS, LogFixture};
use crate::log::{
    CommitOutcome, ControlEvent, DeadLetter, Headers, LogRecord, Reason, RevocationCause,
    SourceEvent,
};
use crate::ports::{Durability, PurchaseSink};
use crate::record::{DecodeError, decode, header};
use crate::{Error, ErrorKind, Purchase, RequestContext};

pub use super::log_batches::{
    a_record_keeps_its_timestamp, a_revoked_partition_delivers_nothing,
    batches_respect_the_byte_limit,
};
pub use super::log_gaps::{
    an_uncommitted_gap_is_redelivered, deleting_committed_records_is_no_gap,
    records_deleted_unread_are_a_gap,
};
pub use super::log_many::{
    a_batch_has_one_result_per_purchase, a_batch_keeps_the_order_of_each_user,
    a_batch_may_repeat_a_purchase, a_dropped_batch_can_be_published_again,
    a_failed_purchase_does_not_fail_its_batch,
};

/// Every published purchase is delivered, in the order of its partition, in batches of one
/// partition and epoch.
pub async fn published_records_are_delivered(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    publish(&*sink, &purchases(0..35)).await;
    let batches = read(&*source, 35).await;
    assert_eq!(ids(&batches), expected(0..35));
    let mut ends = BTreeMap::new();
    for batch in &batches {
        for record in &batch.records {
            let before = ends.insert(
                (batch.partition.index, batch.partition.epoch),
                record.offset,
            );
            assert!(
                before.is_none_or(|before| before < record.offset),
                "offsets rise"
            );
        }
    }
    sink.check().await.expect("check of the sink");
    source.check().await.expect("check of the source");
    fixture
        .dead_letters()
        .await
        .check()
        .await
        .expect("check of the dead letters");
}

/// A receipt contains the id of its purchase.
pub async fn receipts_name_their_purchase(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    let mut places = BTreeSet::new();
    for purchase in purchases(0..5) {
        let receipt = soon("publish", sink.publish(&purchase))
            .await
            .expect("publish");
        assert_eq!(receipt.id, purchase.id);
        if let Some(position) = receipt.position {
            assert!(
                places.insert(position),
                "no two records have the same position"
            );
        }
    }
}

/// A receipt states at least the durability that the sink returned before.
pub async fn receipts_state_the_durability(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    for purchase in purchases(0..3) {
        let least = sink.durability();
        let receipt = soon("publish", sink.publish(&purchase))
            .await
            .expect("publish");
        let kept = match (least, receipt.durability) {
            (Durability::Memory, _) => true,
            (Durability::Broker { replicas: least }, Durability::Broker { replicas }) => {
                replicas >= least
            }
            (least, durability) => least == durability,
        };
        assert!(kept, "{receipt:?} promises less than {least:?}");
    }
}

/// Publishing a purchase again may append it twice, with the same id.
pub async fn publishing_again_keeps_the_id(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    publish(&*sink, &[purchase(1), purchase(1), purchase(2)]).await;
    let mut seen = BTreeSet::new();
    while seen != expected(1..3) {
        seen.extend(ids(&read(&*source, 1).await));
    }
}

/// The record contains user, name, price with its scale, and time; its headers contain the
/// request's context.
pub async fn published_records_are_unchanged(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    let mut published = purchase_of("ünï \"quoted\" 😀", 7);
    published.price = price("1195.30");
    published.timestamp = at(1);
    let context = RequestContext::new(
        Some("request-7".into()),
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    );
    published.context = Some(Box::new(context.clone()));
    publish(&*sink, std::slice::from_ref(&published)).await;
    let batches = read(&*source, 1).await;
    let record = &batches[0].records[0];
    let delivered = decode(record, &batches[0].partition).expect("a purchase");
    assert_eq!(delivered.price.to_string(), "1195.30");
    assert_eq!(
        delivered,
        Purchase {
            context: None,
            ..published
        }
    );
    let header = |name: &str| {
        record
            .headers
            .get(name)
            .map(|value| String::from_utf8(value.to_vec()).unwrap())
    };
    assert_eq!(header(header::REQUEST_ID), context.request_id);
    assert_eq!(header(header::TRACEPARENT), context.traceparent);
}

/// Purchases of one user are delivered in the order in which they were acknowledged.
pub async fn one_users_records_keep_their_order(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    let users = (0..4_u64).map(|user| {
        let sink = Arc::clone(&sink);
        tokio::spawn(async move {
            let mine =
                (0..15).map(|number| purchase_of(&format!("user-{user}"), user * 100 + number));
            publish(&*sink, &mine.collect::<Vec<_>>()).await;
        })
    });
    for user in users.collect::<Vec<_>>() {
        user.await.expect("publish");
    }
    let mut last = BTreeMap::new();
    for batch in read(&*source, 60).await {
        for record in &batch.records {
            let purchase = decode(record, &batch.partition).expect("a purchase");
            let before = last.insert(purchase.user_id, purchase.id);
            assert!(
                before.is_none_or(|before| before < purchase.id),
                "{before:?} before {:?}",
                purchase.id
            );
        }
    }
}

/// A publish that was polled once and then dropped still completes.
pub async fn a_dropped_publish_may_still_complete(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    for purchase in purchases(0..10) {
        let mut call = sink.publish(&purchase);
        if let Poll::Ready(receipt) = poll_once(&mut call).await {
            receipt.expect("publish");
        }
    }
    assert_eq!(ids(&read(&*source, 10).await), expected(0..10));
}

/// A closed sink rejects purchases, and acknowledged ones stay.
pub async fn a_closed_sink_rejects_publishes(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    publish(&*sink, &purchases(0..5)).await;
    soon("close", sink.close(DEADLINE)).await.expect("close");
    let error = soon("publish", sink.publish(&purchase(5)))
        .await
        .expect_err("the sink is closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let results = soon("publish_many", sink.publish_many(&purchases(5..7))).await;
    let closed = |result| matches!(result, Err(error) if Error::kind(&error) == ErrorKind::Closed);
    assert!(results.len() == 2 && results.into_iter().all(closed));
    assert_eq!(ids(&read(&*source, 5).await), expected(0..5));
    publish(&*fixture.sink().await, &[purchase(5)]).await;
    assert_eq!(
        ids(&read(&*source, 1).await),
        expected(5..6),
        "another sink still publishes"
    );
}

/// A batch contains at most the configured number of records.
pub async fn batches_respect_the_record_limit(fixture: &dyn LogFixture) {
    publish(&*fixture.sink().await, &purchases(0..35)).await;
    let source = fixture.source(GROUP).await;
    for batch in read(&*source, 35).await {
        assert!(
            (1..=BATCH_RECORDS).contains(&batch.records.len()),
            "{} records",
            batch.records.len()
        );
    }
}

/// A new group starts at the earliest record.
pub async fn a_new_group_starts_at_the_earliest(fixture: &dyn LogFixture) {
    publish(&*fixture.sink().await, &purchases(0..5)).await;
    for group in ["first", "second"] {
        let source = fixture.source(group).await;
        assert_eq!(ids(&read(&*source, 5).await), expected(0..5), "{group}");
    }
}

/// Reads and commits of one group do not affect another.
pub async fn groups_are_independent(fixture: &dyn LogFixture) {
    publish(&*fixture.sink().await, &purchases(0..5)).await;
    let one = fixture.source("one").await;
    let two = fixture.source("two").await;
    let batches = read(&*one, 5).await;
    commit(&*one, &positions(&batches)).await;
    assert_eq!(ids(&read(&*two, 5).await), expected(0..5));
}

/// Uncommitted records are redelivered to the group's next member.
pub async fn uncommitted_records_are_redelivered(fixture: &dyn LogFixture) {
    publish(&*fixture.sink().await, &purchases(0..5)).await;
    let source = fixture.source(GROUP).await;
    read(&*source, 5).await;
    close(&*source).await;
    let source = fixture.source(GROUP).await;
    assert_eq!(ids(&read(&*source, 5).await), expected(0..5));
}

/// Committed records are not redelivered to the group's next member.
pub async fn committed_records_are_not_redelivered(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    publish(&*sink, &purchases(0..5)).await;
    assert_all(
        CommitOutcome::Committed,
        &commit(&*source, &positions(&read(&*source, 5).await)).await,
    );
    close(&*source).await;
    publish(&*sink, &purchases(5..8)).await;
    let source = fixture.source(GROUP).await;
    assert_eq!(ids(&read(&*source, 3).await), expected(5..8));
}

/// A commit with a smaller offset than before moves the position back.
pub async fn a_smaller_offset_moves_the_position_back(fixture: &dyn LogFixture) {
    publish(
        &*fixture.sink().await,
        &(0..6)
            .map(|number| purchase_of("user-1", number))
            .collect::<Vec<_>>(),
    )
    .await;
    let source = fixture.source(GROUP).await;
    let end = positions(&read(&*source, 6).await);
    assert_eq!(commit(&*source, &end).await, [CommitOutcome::Committed]);
    let mut back = end[0].clone();
    back.next_offset -= 4;
    assert_eq!(commit(&*source, &[back]).await, [CommitOutcome::Committed]);
    close(&*source).await;
    let source = fixture.source(GROUP).await;
    assert_eq!(ids(&read(&*source, 4).await), expected(2..6));
}

/// A commit returns one outcome per position, in the order of the call.
pub async fn commit_returns_one_outcome_per_position(fixture: &dyn LogFixture) {
    publish(&*fixture.sink().await, &purchases(0..5)).await;
    let source = fixture.source(GROUP).await;
    let good = positions(&read(&*source, 5).await);
    let mut mixed = good.clone();
    let mut of_no_epoch = good[0].clone();
    of_no_epoch.partition.epoch += 1_000;
    mixed.insert(0, of_no_epoch);
    let outcomes = commit(&*source, &mixed).await;
    assert_eq!(outcomes[0], CommitOutcome::Fenced);
    assert_eq!(outcomes[1..], vec![CommitOutcome::Committed; good.len()]);
    assert_eq!(commit(&*source, &[]).await, []);
}

/// Dropping a pending `next` loses nothing.
pub async fn a_dropped_next_loses_nothing(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    let mut seen = BTreeSet::new();
    let mut note = |event: SourceEvent| match event {
        SourceEvent::Batch(batch) => seen.extend(ids(&[batch])),
        SourceEvent::Revoked(revocation) => revocation.done(),
        other => panic!("neither a batch nor a revocation, but {other:?}"),
    };
    for purchase in purchases(0..30) {
        let mut call = source.next();
        if let Poll::Ready(event) = poll_once(&mut call).await {
            note(event.expect("next"));
        }
        drop(call);
        publish(&*sink, std::slice::from_ref(&purchase)).await;
    }
    publish(&*sink, &[purchase(30)]).await;
    while seen.len() < 31 {
        seen.extend(ids(&read(&*source, 1).await));
    }
    assert_eq!(seen, expected(0..31));
}

/// A rebalance waits until the owner has given the partitions up.
pub async fn a_rebalance_waits_for_the_revocation(fixture: &dyn LogFixture) {
    if !declared(fixture.capabilities().revokes, "revocations") {
        return;
    }
    let first = fixture.source(GROUP).await;
    publish(&*fixture.sink().await, &purchases(0..40)).await;
    let batches = read(&*first, 40).await;
    let second = fixture.source(GROUP).await;
    let revocation = revocation_of(&*first, &*second).await;
    assert_eq!(revocation.cause, RevocationCause::Rebalance);
    assert!(!revocation.partitions.is_empty() && !revocation.timeout.is_zero());
    // Commits succeed until the revocation is done, unless joins reject them; no other member gets
    // the partitions before.
    let outcomes = commit(&*first, &positions(&batches)).await;
    let can = fixture.capabilities().commits_during_joins;
    if outcomes.contains(&CommitOutcome::Fenced) && !declared(can, "commits during joins") {
        return;
    }
    assert_all(CommitOutcome::Committed, &outcomes);
    let given_up = revocation.partitions.clone();
    revocation.done();
    publish(&*fixture.sink().await, &purchases(40..120)).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 80 {
        let event = tokio::select! {
            event = next(&*first) => event,
            event = next(&*second) => event,
        };
        match event {
            SourceEvent::Batch(batch) => {
                assert!(!given_up.contains(&batch.partition), "its epoch is over");
                let new = ids(&[batch]);
                assert!(
                    new.iter().all(|id| !expected(0..40).contains(id)),
                    "committed before the hand-over"
                );
                seen.extend(new);
            }
            SourceEvent::Revoked(revocation) => revocation.done(),
            other => panic!("neither a batch nor a revocation, but {other:?}"),
        }
    }
}

/// A revocation that is never done ends at its timeout: another member gets the partitions, and
/// commits of the old epoch are fenced.
pub async fn a_revocation_ends_at_its_timeout(fixture: &dyn LogFixture) {
    if !declared(fixture.capabilities().revokes, "revocations") {
        return;
    }
    let first = fixture.source(GROUP).await;
    publish(&*fixture.sink().await, &purchases(0..40)).await;
    let batches = read(&*first, 40).await;
    let second = fixture.source(GROUP).await;
    let revocation = revocation_of(&*first, &*second).await;
    // Kept until its timeout: the second member gets the partitions nevertheless, from the start.
    let again = read(&*second, 1).await;
    let lost: Vec<_> = again.iter().map(|batch| batch.partition.index).collect();
    let mut old = positions(&batches);
    old.retain(|position| lost.contains(&position.partition.index));
    assert!(!old.is_empty());
    assert_all(CommitOutcome::Fenced, &commit(&*first, &old).await);
    revocation.done();
}

/// `next_control` returns revocations and the close, but no batches.
pub async fn next_control_returns_no_batch(fixture: &dyn LogFixture) {
    let (sink, first) = sink_and_source(fixture, GROUP).await;
    publish(&*sink, &purchases(0..5)).await;
    // There are records to read, as this shows; they stay unread.
    let mut all = ids(&read(&*first, 1).await);
    publish(&*sink, &purchases(5..40)).await;
    let mut call = first.next_control();
    assert!(poll_once(&mut call).await.is_pending());
    drop(call);
    if fixture.capabilities().revokes {
        let second = fixture.source(GROUP).await;
        let event = tokio::select! {
            control = soon("control event", first.next_control()) => control.expect("control event"),
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
    let event = soon("control event", first.next_control())
        .await
        .expect("control event");
    assert!(matches!(event, ControlEvent::Closed), "{event:?}");
}

/// A commit of an ended epoch moves nothing.
pub async fn a_commit_of_an_ended_epoch_is_fenced(fixture: &dyn LogFixture) {
    publish(&*fixture.sink().await, &purchases(0..5)).await;
    let first = fixture.source(GROUP).await;
    let old = positions(&read(&*first, 5).await);
    close(&*first).await;
    let second = fixture.source(GROUP).await;
    let batches = read(&*second, 5).await;
    assert!(
        positions(&batches)
            .iter()
            .all(|position| !old.contains(position)),
        "a new owner has a new epoch"
    );
    for source in [&first, &second] {
        match soon("commit", source.commit(&old)).await {
            Ok(outcomes) => {
                assert!(
                    outcomes
                        .iter()
                        .all(|outcome| *outcome == CommitOutcome::Fenced),
                    "{outcomes:?}"
                );
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "{error}"),
        }
    }
    close(&*second).await;
    let third = fixture.source(GROUP).await;
    assert_eq!(
        ids(&read(&*third, 5).await),
        expected(0..5),
        "nothing was moved"
    );
}

/// The lag of a member is the number of uncommitted records.
pub async fn lag_counts_uncommitted_records(fixture: &dyn LogFixture) {
    let (sink, source) = sink_and_source(fixture, GROUP).await;
    publish(&*sink, &purchases(0..25)).await;
    let batches = read(&*source, 25).await;
    soon("a lag of what was read", lag_of(&*source, 25)).await;
    commit(&*source, &positions(&batches)).await;
    publish(&*sink, &purchases(25..27)).await;
    soon("a lag of what came later", lag_of(&*source, 2)).await;
}

/// A closed source returns `Closed`, and another member of the group gets its partitions.
pub async fn a_closed_source_releases_its_partitions(fixture: &dyn LogFixture) {
    let (sink, first) = sink_and_source(fixture, GROUP).await;
    publish(&*sink, &purchases(0..5)).await;
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
    publish(&*sink, &purchases(5..25)).await;
    assert_eq!(ids(&read(&*second, 20).await), expected(5..25));
}

/// A record of another producer is delivered unchanged, even if it is not a purchase.
pub async fn foreign_records_are_delivered_unchanged(fixture: &dyn LogFixture) {
    if !declared(
        fixture.capabilities().foreign_records,
        "records of other producers",
    ) {
        return;
    }
    let source = fixture.source(GROUP).await;
    for record in foreign_records() {
        fixture.append(record.clone()).await;
        let batches = read(&*source, 1).await;
        let found = &batches[0].records[0];
        assert_eq!((&found.key, &found.value), (&record.key, &record.value));
        assert_eq!(found.headers, record.headers);
    }
}

fn foreign_records() -> [LogRecord; 3] {
    let headers = Headers::builder()
        .with("odd", Some(b"\xff\x00"))
        .with("none", None)
        .with("odd", Some(b""))
        .build();
    let binary = Bytes::from_static(b"\x00\xff\xfe not text");
    [
        LogRecord::new(0, at(0), Some(binary.clone()))
            .with_key(Some(binary))
            .with_headers(headers),
        LogRecord::new(1, at(0), Some(Bytes::new())).with_key(Some(Bytes::from_static(b"k"))),
        LogRecord::new(2, at(0), None).with_key(Some(Bytes::from_static(b"k"))),
    ]
}

async fn dead_letters(fixture: &dyn LogFixture) -> Vec<DeadLetter> {
    let source = fixture.source(GROUP).await;
    publish(&*fixture.sink().await, &purchases(0..1)).await;
    let partition = read(&*source, 1).await[0].partition.clone();
    let records = foreign_records().into_iter();
    // Not a conflict: a log may delete an old conflict whose record it does not have.
    records
        .map(|record| {
            DeadLetter::new(
                record,
                partition.clone(),
                Reason::from(DecodeError::Empty),
                3,
            )
        })
        .collect()
}

/// A dead letter contains value, key and headers unchanged, the position, and the reason.
pub async fn dead_letters_are_byte_identical(fixture: &dyn LogFixture) {
    let dead_letters = dead_letters(fixture).await;
    soon("put", fixture.dead_letters().await.put(&dead_letters))
        .await
        .expect("put");
    let mut kept = fixture.pending_dead_letters().await;
    kept.sort_by_key(|dead_letter| dead_letter.record.offset);
    assert_eq!(kept.len(), dead_letters.len());
    for (kept, put) in kept.iter().zip(&dead_letters) {
        assert_eq!(kept.record, put.record);
        assert_eq!(
            (&kept.partition.topic, kept.partition.index),
            (&put.partition.topic, put.partition.index)
        );
        assert_eq!(
            (&kept.reason, kept.attempts, &kept.version),
            (&put.reason, put.attempts, &put.version)
        );
    }
}

/// Dead letters that are put again are still stored, possibly twice.
pub async fn dead_letters_may_be_put_again(fixture: &dyn LogFixture) {
    let dead_letters = dead_letters(fixture).await;
    let port = fixture.dead_letters().await;
    for _ in 0..2 {
        soon("put", port.put(&dead_letters)).await.expect("put");
    }
    let kept: BTreeSet<u64> = fixture
        .pending_dead_letters()
        .await
        .iter()
        .map(|dead_letter| dead_letter.record.offset)
        .collect();
    assert_eq!(
        kept,
        dead_letters
            .iter()
            .map(|dead_letter| dead_letter.record.offset)
            .collect()
    );
}
