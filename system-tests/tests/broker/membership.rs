//! Members of a group, beyond the kit.

use std::collections::BTreeSet;
use std::time::Duration;

use shop_core::conformance::LogFixture as _;
use shop_core::log::{CommitOffset, CommitOutcome, RevocationCause, SourceEvent};
use shop_core::ports::PurchaseSink as _;
use shop_core::record::decode;
use shop_core::{ErrorKind, PurchaseId};
use shop_kafka::KafkaLogOptions;

use crate::fixture::KafkaFixture;
use crate::support::{next_batch, purchase, soon};
use crate::{raw, servers};

/// Without it, the next member cannot tell that an unclean election has replaced records before the position.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_has_the_epoch_of_the_leader() {
    let Some(fixture) = servers::on_broker_with(|options| options.partitions = 1).await else {
        return;
    };
    let sink = fixture.log().sink();
    let source = fixture.source("group").await;
    for number in 0..3 {
        soon("publish", sink.publish(&purchase(number)))
            .await
            .unwrap();
    }
    let batch = next_batch(&*source).await;
    let group = format!("{}-group", fixture.topic());
    let topic = fixture.topic();
    // The first leader's epoch is 0. An offset that was not read has none.
    for (next, epoch) in [(1, 0), (1_000, -1)] {
        let position = CommitOffset::new(batch.partition.clone(), next);
        soon("commit", source.commit(&[position])).await.unwrap();
        let committed = soon("fetch", raw::committed(fixture.addresses(), &group, topic)).await;
        assert_eq!(committed, (next.try_into().unwrap(), epoch));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_keeps_the_membership_on_a_broker() {
    // The minimum of brokers by default.
    let session = Duration::from_secs(6);
    let with_session = |options: &mut KafkaLogOptions| options.session_timeout = session;
    let Some(fixture) = servers::on_broker_with(with_session).await else {
        return;
    };
    stays_a_member(&fixture, session).await;
}

/// A reader that pauses longer than the session timeout stays a member, and gets every record once.
async fn stays_a_member(fixture: &KafkaFixture, session: Duration) {
    const COUNT: u64 = 400;
    let sink = fixture.log().sink();
    let source = fixture.source("group").await;
    let purchases: Vec<_> = (0..COUNT).map(purchase).collect();
    let wanted: BTreeSet<PurchaseId> = purchases.iter().map(|purchase| purchase.id).collect();
    for chunk in purchases.chunks(100) {
        let calls = chunk.iter().map(|purchase| sink.publish(purchase));
        let calls: Vec<_> = calls.map(Box::pin).collect();
        for call in calls {
            soon("publish", call).await.unwrap();
        }
    }
    let mut found = Vec::new();
    let first = next_batch(&*source).await;
    let mut batches = vec![first];
    // A member that did not poll would be evicted after two sessions and the revocation timeout.
    let interrupted = tokio::time::timeout(session * 3, source.next_control()).await;
    assert!(interrupted.is_err(), "nothing was revoked: {interrupted:?}");
    loop {
        found.extend(batches.iter().flat_map(|batch| {
            batch
                .records
                .iter()
                .map(|record| decode(record, &batch.partition).unwrap().id)
        }));
        let ends = batches.iter().filter_map(|batch| {
            batch
                .records
                .last()
                .map(|last| CommitOffset::new(batch.partition.clone(), last.offset + 1))
        });
        let outcomes = source.commit(&ends.collect::<Vec<_>>()).await.unwrap();
        assert!(
            outcomes
                .iter()
                .all(|outcome| *outcome == CommitOutcome::Committed),
            "{outcomes:?}"
        );
        if found.len() >= wanted.len() {
            break;
        }
        let batch = next_batch(&*source).await;
        batches = vec![batch];
    }
    assert_eq!(found.len(), wanted.len(), "nothing is duplicated");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_is_denied_after_another_member_takes_the_instance_id() {
    let with_identity =
        |options: &mut KafkaLogOptions| options.group_instance_id = Some("the-one".into());
    let Some(fixture) = servers::on_broker_with(with_identity).await else {
        return;
    };
    fixture.log().sink().publish(&purchase(1)).await.unwrap();
    let first = fixture.source("group").await;
    let batch = next_batch(&*first).await;
    let _second = fixture.source("group").await;
    let mut was_lost = false;
    let error = loop {
        match soon("next", first.next()).await {
            Ok(SourceEvent::Revoked(revocation)) => {
                was_lost |= revocation.cause == RevocationCause::Lost;
            }
            Ok(event) => panic!("{event:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let text = error.message();
    assert!(
        was_lost && text.contains("another process") && text.contains("KAFKA_INSTANCE_ID"),
        "{error}"
    );
    let outcomes = first
        .commit(&[CommitOffset::new(batch.partition, 1)])
        .await
        .unwrap();
    assert_eq!(outcomes, [CommitOutcome::Fenced]);
    let again = soon("next", first.next()).await.unwrap_err();
    assert_eq!(
        again.kind(),
        ErrorKind::Denied,
        "it is reported while nothing is read: {again}"
    );
}
