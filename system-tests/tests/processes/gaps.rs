//! Records that Kafka deletes before ingest has read them.

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use shop_core::log::RecordPosition;

use crate::kafka::{append_all, settings, start};
use crate::prelude::*;

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
    append_all(&servers, &[ADA; 200]).await;
    until_stored(&management, "u1", 200).await;
    management.stop().await;

    let unread = append_all(&servers, &[ADA; 300]).await;
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

    let of_servers = settings(&servers);
    let nowhere = Path::new("/nonexistent/shop-data");
    let mut terminal = Terminal::on(nowhere, &borrow_settings(&of_servers));
    let position = format!("{topic}-{partition}-{}", offset + 249);
    terminal
        .run(&format!(
            "management verify --wait 0
            management verify --wait 0 --json
            management dlq ls
            management dlq replay {position}
            management dlq drop --reason gap
            management verify --wait 0
            management status"
        ))
        .await;
    terminal.assert_shown("gap");
}
