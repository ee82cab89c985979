//! Administrative access: resolved dead letters.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use shop_core::log::{LogExt as _, Resolution};

use crate::prelude::*;
use crate::support::record;

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
        log.put_dead_letters(&letters).await.unwrap();
    }
    log.resolve(&letters[..30], OF, Resolution::Dropped)
        .await
        .unwrap();
    let mut pending = soon("read", log.pending_dead_letters()).await.unwrap();
    pending.sort_by_key(DeadLetter::position);
    assert_eq!(pending, letters[30..]);
}
