//! Effects of the options and of a topic's settings.

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use shop_core::conformance::assert_fails;
use shop_core::log::LogRecord;
use shop_core::ports::{Durability, PurchaseSink as _};
use shop_core::{ErrorKind, Outcome, Timestamp};
use shop_kafka::KafkaLog;

use crate::fixture::KafkaFixture;
use crate::servers::on_broker;
use crate::support::{purchase, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_has_the_required_number_of_replicas() {
    let Some(fixture) = on_broker().await else {
        return;
    };
    let sink = fixture.log().sink();
    // The default of a topic, once it was queried.
    let known = Durability::Broker { replicas: Some(1) };
    let last = async {
        loop {
            let receipt = sink.publish(&purchase(1)).await.unwrap();
            if receipt.durability == known {
                return;
            }
            assert_eq!(receipt.durability, Durability::Broker { replicas: None });
        }
    };
    soon("learn it", last).await;
    assert_eq!(sink.durability(), known);
}

/// An administrator of the brokers of `fixture`, and its topic's name with a suffix.
fn administrator(fixture: &KafkaFixture) -> (AdminClient<DefaultClientContext>, String) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", fixture.addresses());
    (
        config.create().unwrap(),
        format!("{}.other", fixture.topic()),
    )
}

/// A log on a new topic with one replica and this setting.
async fn log_on_topic(fixture: &KafkaFixture, (name, value): (&str, &str)) -> KafkaLog {
    let (admin, topic) = administrator(fixture);
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set(name, value);
    admin
        .create_topics([&new], &AdminOptions::new())
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let mut options = KafkaFixture::options(fixture.addresses());
    options.topic = topic;
    KafkaLog::open(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_has_at_most_the_replicas_of_the_topic() {
    let Some(fixture) = on_broker().await else {
        return;
    };
    let log = log_on_topic(&fixture, ("min.insync.replicas", "2")).await;
    let receipt = soon("publish", log.sink().publish(&purchase(1)))
        .await
        .unwrap();
    assert_eq!(receipt.durability, Durability::Broker { replicas: Some(1) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_topic_is_rejected() {
    let Some(fixture) = on_broker().await else {
        return;
    };
    let log = log_on_topic(&fixture, ("cleanup.policy", "compact,delete")).await;
    let sink = log.sink();
    let purchases = [purchase(1), purchase(2)];
    let mut errors: Vec<_> = vec![
        soon("publish", sink.publish(&purchases[0]))
            .await
            .unwrap_err(),
    ];
    errors.extend(
        soon("publish", sink.publish_many(&purchases))
            .await
            .into_iter()
            .map(Result::unwrap_err),
    );
    errors.push(soon("check", sink.check()).await.unwrap_err());
    let record = LogRecord::new(0, Timestamp::MIN, Some(Bytes::from_static(b"{}")));
    errors.push(soon("append", log.append(record)).await.unwrap_err());
    let (admin, topic) = administrator(&fixture);
    for error in errors {
        assert_fails(&error, ErrorKind::Denied, Outcome::NotApplied);
        assert!(
            error.to_string().contains(&topic) && error.to_string().contains("compact"),
            "{error}"
        );
    }
    let mut options = KafkaFixture::options(fixture.addresses());
    options.topic = topic.clone();
    options.foreign = true;
    let foreign = KafkaLog::open(options.clone()).await.unwrap();
    let record = LogRecord::new(0, Timestamp::MIN, Some(Bytes::from_static(b"{}")));
    soon(
        "append",
        foreign.append(record.with_key(Some(Bytes::from_static(b"k")))),
    )
    .await
    .unwrap();
    options.topic += ".missing";
    let missing = KafkaLog::open(options).await.unwrap();
    let error = soon("check", missing.sink().check()).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unavailable,
        "it is not created: {error}"
    );
    let topic = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("cleanup.policy", "delete");
    admin
        .alter_configs([&topic], &AdminOptions::new())
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    soon("notice it", async { while sink.check().await.is_err() {} }).await;
    soon("publish", sink.publish(&purchases[0])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_above_the_limit_of_the_broker_is_rejected() {
    let Some(fixture) = on_broker().await else {
        return;
    };
    // The brokers' default is 1 MiB and a little.
    let record = LogRecord::new(0, Timestamp::MIN, Some(Bytes::from(vec![b'x'; 2 << 20])));
    let error = soon("append", fixture.log().append(record))
        .await
        .unwrap_err();
    assert_fails(&error, ErrorKind::TooLarge, Outcome::NotApplied);
}
