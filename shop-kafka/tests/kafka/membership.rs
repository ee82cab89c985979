//! Members of a group, beyond the kit.

use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID as UNKNOWN_MEMBER;
use shop_core::Retry;
use shop_core::log::{CommitOffset, CommitOutcome, RevocationCause};

use crate::prelude::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_member_commits_nothing() {
    let fixture = KafkaFixture::in_process().await;
    fixture.log().sink().publish(&purchase(1)).await.unwrap();
    let source = fixture.source("group").await;
    let batch = next_batch(&*source).await;
    let position = [CommitOffset::new(batch.partition, 1)];
    let cluster = fixture.cluster().unwrap();
    cluster.fail_next(RDKafkaApiKey::Heartbeat, vec![UNKNOWN_MEMBER]);
    // Before the member notices its eviction, before its reader is notified, and after.
    let commits = async {
        loop {
            match source.commit(&position).await {
                Ok(outcomes) if outcomes == [CommitOutcome::Committed] => {}
                Ok(outcomes) => break outcomes,
                Err(error) => {
                    assert_eq!(
                        (error.kind(), error.retry()),
                        (ErrorKind::Unavailable, Retry::Safe)
                    );
                }
            }
        }
    };
    assert_eq!(soon("commit", commits).await, [CommitOutcome::Fenced]);
    let SourceEvent::Revoked(lost) = soon("next", source.next()).await.unwrap() else {
        panic!("a loss")
    };
    assert_eq!(lost.cause, RevocationCause::Lost);
}
