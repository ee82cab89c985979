//! A Kafka topic with purchases.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use shop_core::Purchase;
use shop_core::ports::PurchaseSink;
use shop_kafka::{KafkaLog, KafkaLogOptions};

use crate::sample::purchases;

/// Publishes `records` purchases into the topic of `options`.
pub async fn fill_topic(options: KafkaLogOptions, records: u64) {
    let sink = KafkaLog::open(options).await.unwrap().sink();
    let all = purchases(records);
    let publish = async |purchase: &Purchase| while sink.publish(purchase).await.is_err() {};
    stream::iter(&all)
        .map(publish)
        .buffer_unordered(5_000)
        .collect::<()>()
        .await;
    sink.close(Duration::from_secs(10)).await.unwrap();
}
