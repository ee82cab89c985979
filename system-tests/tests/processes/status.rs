//! `management status`.

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use shop_core::log::Log as _;

use crate::kafka;
use crate::prelude::*;

#[tokio::test]
async fn status_of_the_embedded_default_with_services_and_without() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[ALL_ROLES]).await;
    append_all(folder.path(), &[ADA, "poison"]).await;
    until("dead-letter it", async || dead_lettered(&facing).await == 1).await;

    let port = facing.port().to_owned();
    let mut terminal = Terminal::on(folder.path(), &[ALL_ROLES, ("PORT", &port)]);
    terminal.run("management status").await;
    facing.stop().await;
    append(folder.path(), "unread").await;
    terminal
        .run(
            "management status
            management status --json",
        )
        .await;
    terminal.assert_shown("status");
}

/// Writes a purchase of four days ago.
async fn append_old(servers: &Servers, topic: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers.address("SHOP_TEST_KAFKA"));
    let producer: BaseProducer = config.create().unwrap();
    let time = SystemClock.now().as_millis() - 4 * 86_400_000;
    let record = BaseRecord::<(), str>::to(topic)
        .payload(ADA)
        .timestamp(time);
    producer.send(record).unwrap();
    let flush = tokio::task::spawn_blocking(move || producer.flush(PATIENCE));
    soon("write the record", flush).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_on_kafka_that_is_unread_for_half_of_the_retention_is_a_finding() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    // A service creates the topics, and consumes from none of them.
    let off = ("SHOP_INGEST", "off");
    let service = kafka::start(Binary::Management, &servers, &[off]).await;
    let log = KafkaLog::open(servers.log("purchases")).await.unwrap();
    until("create it", async || {
        log.positions("none").await.is_ok() && log.put_dead_letters(&[]).await.is_ok()
    })
    .await;
    let topic = servers.name("purchases");
    append_old(&servers, &topic).await;

    let of_servers = kafka::settings(&servers);
    let mut settings = borrow_settings(&of_servers);
    settings.extend([("PORT", service.port()), ("LOG_LEVEL", "error")]);
    let finding = format!("- {topic}: records have been unread for 4d, half of the retention");
    // It waits a second for the unread record.
    until("name it", async || {
        let output = Binary::Management.run(&["status"], &settings).await;
        output.status.code() == Some(1) && text(&output.stdout).contains(&finding)
    })
    .await;
}
