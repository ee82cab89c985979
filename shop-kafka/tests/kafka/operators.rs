//! Administrative access: resolved dead letters, and outages.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use shop_core::ErrorKind;
use shop_core::log::{DeadLetters as _, LogAdmin as _, Resolution};
use shop_kafka::{KafkaLog, KafkaLogOptions};

use crate::fixture::{InProcessCluster, KafkaFixture};
use crate::support::{OF, dead_letter_states, record, scanned, soon};

/// The dead-letter topic may have been created with several partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_resolved_in_every_partition() {
    let cluster = InProcessCluster::start(1);
    let options = KafkaFixture::options(&cluster.addresses);
    cluster.create_topic(&options.topic, 1);
    cluster.create_topic(&format!("{}.dlq", options.topic), 4);
    let log = KafkaLog::open(options).await.unwrap();
    let appended =
        stream::iter(0..40).then(|number| log.append(record(None, &format!("poison {number}"))));
    appended.try_collect::<Vec<_>>().await.unwrap();
    let letters = scanned(&log).await;
    // Without a key the copies go to any partition.
    for _ in 0..2 {
        log.dead_letters().put(&letters).await.unwrap();
    }
    log.resolve(&letters[..30], OF, Resolution::Dropped)
        .await
        .unwrap();
    let (pending, resolved) = dead_letter_states(&log).await;
    assert_eq!(pending, letters[30..]);
    assert_eq!(resolved, [Resolution::Dropped; 30]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_calls_fail_during_an_outage() {
    let cluster = InProcessCluster::start(1);
    let mut options: KafkaLogOptions = KafkaFixture::options(&cluster.addresses);
    cluster.create_topic(&options.topic, 1);
    cluster.create_topic(&format!("{}.dlq", options.topic), 1);
    options.publish_timeout = Duration::from_secs(3);
    let log = KafkaLog::open(options).await.unwrap();
    log.append(record(None, "poison")).await.unwrap();
    let letters = scanned(&log).await;
    cluster.broker_down(1);
    let mut errors = vec![soon("scan", log.scan()).await.err().unwrap()];
    errors.push(
        soon("replay", log.resolve(&letters, OF, Resolution::Replayed))
            .await
            .unwrap_err(),
    );
    errors.push(
        soon("discard", log.resolve(&letters, OF, Resolution::Dropped))
            .await
            .unwrap_err(),
    );
    for error in errors {
        let kinds = [ErrorKind::Unavailable, ErrorKind::DeadlineExceeded];
        assert!(kinds.contains(&error.kind()), "{error:?}");
    }
}
