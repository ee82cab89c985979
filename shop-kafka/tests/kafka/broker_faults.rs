//! Faults of the brokers: the outcomes of publishes and readiness are right, and records that are deleted unread are
//! reported.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr::{
    self, RD_KAFKA_RESP_ERR_INVALID_RECORD as INVALID_RECORD,
    RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP as INVALID_TIMESTAMP,
    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND as WRITTEN_WITH_AN_ERROR,
    RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER as FATAL,
    RD_KAFKA_RESP_ERR_POLICY_VIOLATION as POLICY_VIOLATION,
};
use shop_core::log::{CommitOffset, GapCause};
use shop_core::record::decode;
use shop_core::{Blame, Outcome, PurchaseId};

use crate::prelude::*;
use crate::support::record;

/// The ids of all purchases in the log, each of which it has once.
async fn in_log(log: &KafkaLog) -> BTreeSet<PurchaseId> {
    let letters = scanned(log).await;
    let id_of = |letter: &DeadLetter| decode(&letter.record, &letter.partition).unwrap().id;
    let ids: BTreeSet<_> = letters.iter().map(id_of).collect();
    assert_eq!(ids.len(), letters.len(), "a purchase is in the log twice");
    ids
}

/// Publishes while the next writes get these errors.
async fn survive(errors: Vec<RDKafkaRespErr>) {
    let fixture = KafkaFixture::in_process_with(|options| {
        options.publish_timeout = Duration::from_secs(4);
    })
    .await;
    let sink = fixture.log().sink();
    let publish = async |purchases: &[Purchase]| {
        let published = join_all(purchases.iter().map(|purchase| sink.publish(purchase)));
        soon("publish", published).await
    };
    let before: Vec<_> = (0..14).map(purchase).collect();
    for receipt in publish(&before).await {
        receipt.unwrap();
    }

    let cluster = fixture.cluster().unwrap();
    cluster.fail_next(RDKafkaApiKey::Produce, errors.clone());
    let purchases: Vec<_> = (0..21).map(purchase).collect();
    let published = publish(&purchases).await;
    // A replaced producer does not make the log unavailable.
    let ready = async { while sink.check().await.is_err() {} };
    soon("be ready", ready).await;

    let held = in_log(fixture.log()).await;
    let mut failed = 0;
    for (purchase, result) in purchases.iter().zip(published) {
        let is_held = held.contains(&purchase.id);
        match result {
            Ok(_) => assert!(is_held, "{errors:?}: an acknowledged purchase is missing"),
            Err(error) => {
                failed += 1;
                let may_be_held = error.outcome() != Outcome::NotApplied;
                assert!(may_be_held || !is_held, "{errors:?}: {error} is in the log");
            }
        }
    }
    let may_fail = errors.contains(&FATAL);
    assert!(failed == 0 || may_fail, "{errors:?}: {failed} failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_and_readiness_are_right_under_errors_of_writes() {
    for errors in [
        vec![WRITTEN_WITH_AN_ERROR; 2],
        // It ends the producer.
        vec![FATAL],
        vec![WRITTEN_WITH_AN_ERROR, WRITTEN_WITH_AN_ERROR, FATAL],
    ] {
        survive(errors).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_brokers_refuse_is_not_the_fault_of_its_buyer() {
    for refusal in [INVALID_TIMESTAMP, INVALID_RECORD, POLICY_VIOLATION] {
        let fixture = KafkaFixture::in_process().await;
        let sink = fixture.log().sink();
        sink.publish(&purchase(0)).await.unwrap();

        let cluster = fixture.cluster().unwrap();
        cluster.fail_next(RDKafkaApiKey::Produce, vec![refusal]);
        let purchase = purchase(1);
        let error = soon("refuse", sink.publish(&purchase)).await.unwrap_err();
        assert_eq!(error.kind().blame(), Blame::Surroundings, "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");

        // The same purchase is taken after the repair.
        soon("publish", sink.publish(&purchase)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_deleted_unread_are_a_gap() {
    let fixture = KafkaFixture::in_process_with(|options| options.batch_bytes = 4 << 20).await;
    let append = async |bytes| {
        let record = record(Some("user-1"), &"x".repeat(bytes));
        fixture.log().append(record).await.unwrap();
    };
    append(1).await;
    let source = fixture.source("group").await;
    let batch = next_batch(&*source).await;
    let position = CommitOffset::new(batch.partition, 1);
    source.commit(&[position]).await.unwrap();
    soon("close", source.close(Duration::from_secs(20)))
        .await
        .unwrap();

    // More than this cluster keeps of a partition.
    for _ in 0..8 {
        append(900_000).await;
    }
    let source = fixture.source("group").await;
    let event = soon("next", source.next()).await.unwrap();
    let SourceEvent::Gap(gap) = event else {
        panic!("no gap: {event:?}")
    };
    assert_eq!((gap.cause, gap.from), (GapCause::Deleted, 1));
    let batch = next_batch(&*source).await;
    assert_eq!(batch.records[0].offset, gap.to);
}
