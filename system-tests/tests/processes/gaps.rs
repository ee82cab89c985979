//! Records that Kafka deletes before ingest has read them.

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use shop_core::log::RecordPosition;

use crate::kafka::{settings, start};
use crate::prelude::*;

/// Publishes purchases of one user, which are in one partition. Returns their positions.
async fn publish(servers: &Servers, count: usize) -> Vec<RecordPosition> {
    let log = KafkaLog::open(servers.log("purchases")).await.unwrap();
    let purchases = Vec::from_iter((0..count).map(|_| published_purchase_of("u1")));
    let receipts = log.sink().publish_many(&purchases).await;
    receipts
        .into_iter()
        .map(|receipt| receipt.unwrap().position.unwrap())
        .collect()
}

/// Deletes the records before `position`, as retention does.
async fn delete_before(servers: &Servers, position: &RecordPosition) {
    let mut list = TopicPartitionList::new();
    let partition = position.partition.try_into().unwrap();
    let offset = Offset::Offset(position.offset.try_into().unwrap());
    list.add_partition_offset(&position.topic, partition, offset)
        .unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers.address("SHOP_TEST_KAFKA"));
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let options = AdminOptions::new();
    let deleted = soon("delete records", admin.delete_records(&list, &options)).await;
    for partition in deleted.unwrap().elements() {
        partition.error().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_deleted_unread_are_reported_until_dropped() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let management = start(Binary::Management, &servers, &[]).await;
    publish(&servers, 200).await;
    until_stored(&management, "u1", 200).await;
    management.stop().await;

    let unread = publish(&servers, 300).await;
    delete_before(&servers, &unread[250]).await;
    let management = start(Binary::Management, &servers, &[]).await;
    until_stored(&management, "u1", 250).await;
    let RecordPosition {
        topic,
        partition,
        offset,
        ..
    } = &unread[0];
    let gap = json!({
        "topic": topic, "partition": partition, "from": offset, "to": offset + 250, "count": 250, "cause": "deleted",
    });
    until("report the gap", async || {
        management.ingest().await["gaps"] == json!({ "records": 250, "pending": [gap] })
    })
    .await;
    assert_eq!(
        get(&management.path("/health")).await.1["status"],
        "degraded"
    );
    for series in [
        format!(
            "shop_ingest_lost_records_total{{topic=\"{topic}\",partition=\"{partition}\"}} 250\n"
        ),
        format!("shop_dead_letters_waiting{{topic=\"{topic}\",reason=\"gap\"}} 1\n"),
        // The broker's default: 7 days. It is read once a minute.
        format!("shop_log_retention_seconds{{topic=\"{topic}\"}} 604800\n"),
    ] {
        until(&series, async || {
            management.metrics().await.contains(&series)
        })
        .await;
    }

    let of_servers = settings(&servers);
    let mut terminal = Terminal::with(&borrow_settings(&of_servers));
    let position = format!("{topic}-{partition}-{}", offset + 249);
    for words in [
        "verify --wait 0",
        "verify --wait 0 --json",
        "dlq ls",
        &format!("dlq replay {position}"),
        "dlq drop --reason gap",
        "verify --wait 0",
    ] {
        terminal.run(words).await;
    }
    terminal.assert_shown("gap");
}
