//! Members of a group, beyond the kit.

use shop_core::log::{CommitOutcome, RevocationCause};

use crate::prelude::*;

/// A reader that pauses longer than the session stays a member. Its commits have the epoch of the leader: without it, the
/// next member cannot tell that an unclean election has replaced records before the position.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_member_commits_with_the_epoch_of_the_leader() {
    // The minimum of brokers by default.
    let session = Duration::from_secs(6);
    let fixture = on_broker_with(|options| {
        options.partitions = 1;
        options.session_timeout = session;
    });
    let Some(fixture) = fixture.await else {
        return;
    };
    let sink = fixture.log().sink();
    let source = fixture.source("group").await;
    soon("publish", sink.publish(&purchase(0))).await.unwrap();
    let batch = next_batch(&*source).await;
    // A member that did not poll would be evicted after two sessions and the revocation timeout.
    let interrupted = tokio::time::timeout(session * 3, source.next_control()).await;
    assert!(interrupted.is_err(), "nothing was revoked: {interrupted:?}");

    let group = format!("{}-group", fixture.topic());
    let topic = fixture.topic();
    // The first leader's epoch is 0. An offset that was not read has none.
    for (next, epoch) in [(1, 0), (1_000, -1)] {
        let position = [CommitOffset::new(batch.partition.clone(), next)];
        let outcomes = soon("commit", source.commit(&position)).await.unwrap();
        assert_eq!(outcomes, [CommitOutcome::Committed]);
        let committed = soon("fetch", raw::committed(fixture.addresses(), &group, topic)).await;
        assert_eq!(committed, (next.try_into().unwrap(), epoch));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_is_denied_after_another_member_takes_the_instance_id() {
    let identity = Some("the-one".to_owned());
    let Some(fixture) = on_broker_with(|options| options.group_instance_id = identity).await else {
        return;
    };
    let sink = fixture.log().sink();
    sink.publish(&purchase(1)).await.unwrap();
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
    assert!(was_lost);
    assert!(error.message().contains("KAFKA_INSTANCE_ID"), "{error}");
    let position = [CommitOffset::new(batch.partition, 1)];
    let outcomes = first.commit(&position).await.unwrap();
    assert_eq!(outcomes, [CommitOutcome::Fenced]);
    // It is reported while nothing is read.
    for error in [error, soon("next", first.next()).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    }
}
