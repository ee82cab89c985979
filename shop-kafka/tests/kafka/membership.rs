//! Members of a group, beyond the kit.

use shop_core::conformance::LogFixture as _;
use shop_core::log::{CommitOffset, CommitOutcome, RevocationCause, SourceEvent};
use shop_core::ports::PurchaseSink as _;
use shop_core::{ErrorKind, Retry};

use crate::fixture::KafkaFixture;
use crate::support::{next_batch, purchase, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_member_commits_nothing() {
    let fixture = KafkaFixture::in_process().await;
    fixture.log().sink().publish(&purchase(1)).await.unwrap();
    let source = fixture.source("group").await;
    let batch = next_batch(&*source).await;
    let position = [CommitOffset::new(batch.partition, 1)];
    fixture.cluster().unwrap().evict_members(1);
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
