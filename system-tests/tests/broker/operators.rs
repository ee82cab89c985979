//! Administrative access: dead letters.

use shop_core::conformance::LogFixture as _;
use shop_core::log::{
    DeadLetterFilter, DeadLetters as _, LogAdmin, LogAdminExt as _, RecordPosition, Resolution,
};

use crate::servers;
use crate::support::{OF, record, scanned, soon};

/// An operator may have given the topic of dead letters a retention.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_broker_deleted_dead_letters_are_not_listed() {
    let Some(fixture) = servers::on_broker().await else {
        return;
    };
    let log = fixture.log();
    for value in ["poison 1", "poison 2", "poison 3"] {
        log.append(record(Some("u1"), value)).await.unwrap();
    }
    let letters = scanned(log).await;
    log.dead_letters().put(&letters).await.unwrap();
    let page = async || {
        LogAdmin::dead_letters(log, &DeadLetterFilter::default(), 10)
            .await
            .unwrap()
    };
    assert_eq!(page().await, letters);
    let dead_letter_topic = format!("{}.dlq", letters[0].partition.topic);
    fixture
        .delete_before(&RecordPosition::new(dead_letter_topic, 0, 1))
        .await;
    assert_eq!(page().await, letters[1..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_dead_letter_that_is_too_large_the_head_is_kept() {
    let Some(fixture) = servers::on_broker().await else {
        return;
    };
    let log = fixture.log();
    log.append(record(Some("u1"), "poison")).await.unwrap();
    let mut letters = [scanned(log).await.remove(0), scanned(log).await.remove(0)];
    letters[1].record.offset += 1;
    letters[1].record.value = Some(vec![0; 20 << 20].into());
    log.dead_letters().put(&letters).await.unwrap();
    let kept = soon("list", log.pending_dead_letters()).await.unwrap();
    assert_eq!((&kept[0], kept.len()), (&letters[0], 2));
    assert_eq!(
        kept[1].record.value.as_ref().map(shop_core::Bytes::len),
        Some(64 << 10)
    );
    assert!(
        kept[1].reason.detail().contains("; of its 2097"),
        "{}",
        kept[1].reason.detail()
    );
    assert!(
        log.resolve(&kept[..1], OF, Resolution::Replayed)
            .await
            .is_ok()
            && log
                .resolve(&kept[1..], OF, Resolution::Replayed)
                .await
                .is_err()
    );
}
