//! Effects of the options and of a topic's settings.

use rdkafka::admin::{AdminClient, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use shop_core::Outcome;
use shop_core::conformance::assert_fails;
use shop_core::ports::Durability;

use crate::prelude::*;

/// An administrator of the brokers of `fixture`.
pub(crate) fn administrator(fixture: &KafkaFixture) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", fixture.addresses());
    config.create().unwrap()
}

/// Creates a topic with one replica and this setting. Returns the options of its log.
async fn create_topic(fixture: &KafkaFixture, (name, value): (&str, &str)) -> KafkaLogOptions {
    let mut options = KafkaFixture::options(fixture.addresses());
    options.topic = format!("{}.other", fixture.topic());
    let new = NewTopic::new(&options.topic, 1, TopicReplication::Fixed(1)).set(name, value);
    let admin = administrator(fixture);
    let created = admin.create_topics([&new], &AdminOptions::new()).await;
    created.unwrap().remove(0).unwrap();
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_has_at_most_the_replicas_of_the_topic() {
    let Some(fixture) = on_broker().await else {
        return;
    };
    let one = Durability::Broker { replicas: Some(1) };
    let options = create_topic(&fixture, ("min.insync.replicas", "2")).await;
    let log = KafkaLog::open(options).await.unwrap();
    let receipt = soon("publish", log.sink().publish(&purchase(1))).await;
    assert_eq!(receipt.unwrap().durability, one);

    // The default of a topic, once it was queried.
    let sink = fixture.log().sink();
    let learnt = async {
        while sink.publish(&purchase(1)).await.unwrap().durability != one {
            assert_eq!(
                sink.info().durability,
                Durability::Broker { replicas: None }
            );
        }
    };
    soon("learn it", learnt).await;
    assert_eq!(sink.info().durability, one);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_topic_is_rejected() {
    let Some(fixture) = on_broker().await else {
        return;
    };
    let mut options = create_topic(&fixture, ("cleanup.policy", "compact,delete")).await;
    let topic = options.topic.clone();
    let log = KafkaLog::open(options.clone()).await.unwrap();
    let sink = log.sink();
    let purchases = [purchase(1), purchase(2)];
    let published = soon("publish", sink.publish(&purchases[0])).await;
    let mut errors = vec![published.unwrap_err()];
    let published = soon("publish", sink.publish_many(&purchases)).await;
    errors.extend(published.into_iter().map(Result::unwrap_err));
    errors.push(soon("check", sink.check()).await.unwrap_err());
    errors.push(log.append(record(None, "{}")).await.unwrap_err());
    for error in errors {
        assert_fails(&error, ErrorKind::Denied, Outcome::NotApplied);
        let text = error.to_string();
        assert!(text.contains(&topic) && text.contains("compact"), "{text}");
    }

    // A topic of others may be compacted, and is not created.
    options.foreign = true;
    let foreign = KafkaLog::open(options.clone()).await.unwrap();
    let appended = foreign.append(record(Some("k"), "{}"));
    soon("append", appended).await.unwrap();
    options.topic += ".missing";
    let missing = KafkaLog::open(options).await.unwrap();
    let error = soon("check", missing.sink().check()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");

    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("cleanup.policy", "delete");
    let admin = administrator(&fixture);
    let changed = admin.alter_configs([&change], &AdminOptions::new()).await;
    changed.unwrap().remove(0).unwrap();
    soon("notice it", async { while sink.check().await.is_err() {} }).await;
    soon("publish", sink.publish(&purchases[0])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_above_the_limit_of_the_broker_is_rejected() {
    let Some(fixture) = on_broker().await else {
        return;
    };
    // The brokers' default is 1 MiB and a little.
    let appended = fixture.log().append(record(None, &"x".repeat(2 << 20)));
    let error = appended.await.unwrap_err();
    assert_fails(&error, ErrorKind::TooLarge, Outcome::NotApplied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_the_brokers_refuse_is_not_the_fault_of_the_buyer() {
    let Some(fixture) = on_broker().await else {
        return;
    };
    // As if the clock of this machine were behind: each record is too old when it arrives.
    let limit = "message.timestamp.before.max.ms";
    let options = create_topic(&fixture, (limit, "0")).await;
    let topic = options.topic.clone();
    let log = KafkaLog::open(options).await.unwrap();
    let sink = log.sink();
    let purchase = purchase(1);
    let refused = async {
        loop {
            // A record that arrives within its millisecond is taken.
            if let Err(error) = sink.publish(&purchase).await {
                return error;
            }
        }
    };
    let error = soon("refuse", refused).await;
    assert_fails(&error, ErrorKind::Denied, Outcome::NotApplied);
    assert!(error.to_string().contains(limit), "{error}");

    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set(limit, "86400000");
    let admin = administrator(&fixture);
    let changed = admin.alter_configs([&change], &AdminOptions::new()).await;
    changed.unwrap().remove(0).unwrap();
    let taken = async { while sink.publish(&purchase).await.is_err() {} };
    soon("publish", taken).await;
}
