//! `management status`.

use std::process::Output;

use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use shop_client::NewPurchase;
use shop_core::log::{DeadLetters as _, LogAdmin as _};
use shop_core::{Clock as _, SystemClock};
use shop_kafka::KafkaLog;

use crate::kafka;
use crate::postgres;
use crate::process::{
    ADA, ALL_ROLES, Binary, PATIENCE, Process, borrow_settings, get, must_buy, until,
};
use crate::servers::Servers;
use crate::verify::{append, text};

async fn status(settings: &[(&str, &str)]) -> Output {
    Binary::Management
        .run(&["status"], &[settings, &[("LOG_LEVEL", "error")]].concat())
        .await
}

async fn json(settings: &[(&str, &str)]) -> Value {
    let output = Binary::Management
        .run(&["status", "--json"], settings)
        .await;
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The lines of a report, with single spaces.
fn lines(output: &Output) -> Vec<String> {
    text(&output.stdout)
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

fn port(process: &Process) -> &str {
    process.url.rsplit(':').next().unwrap()
}

#[tokio::test]
async fn status_of_the_embedded_default_with_services_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let missing = status(&[("SHOP_DATA_DIR", data)]).await;
    assert_eq!(missing.status.code(), Some(3), "{missing:?}");
    assert!(
        text(&missing.stdout).contains("  - log: does not exist"),
        "{missing:?}"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it creates nothing"
    );

    let facing = Process::start(Binary::Facing, folder.path(), &[ALL_ROLES]).await;
    for _ in 0..3 {
        must_buy(&facing, ADA).await;
    }
    let settings = [("SHOP_DATA_DIR", data), ("PORT", port(&facing)), ALL_ROLES];
    let beside = status(&settings).await;
    let printed = lines(&beside);
    assert_eq!(beside.status.code(), Some(0), "{beside:?}");
    for line in [
        "Healthy: true",
        "PART STATE BACKEND",
        &format!("store reachable embedded, {data}/shop.db"),
        &format!("orders reachable embedded, {data}/orders.db"),
        &format!("service healthy {}", facing.url),
        "GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG OLDEST-UNREAD RETENTION",
        "purchase-group purchases 0 4 4 0 - -",
    ] {
        assert!(
            printed.iter().any(|known| known == line),
            "{line}: {printed:#?}"
        );
    }
    for start in [
        "order_service_group user_created 0 ",
        &format!("{data}/shop.db "),
    ] {
        assert!(
            printed.iter().any(|line| line.starts_with(start)),
            "{start}: {printed:#?}"
        );
    }
    facing.stop().await;

    // No service: unread records are named with their age, and dead letters by their reason.
    append(folder.path(), "poison").await;
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    until("dead-letter it", async || {
        facing.ingest().await["dead_lettered"] == 1
    })
    .await;
    facing.stop().await;
    append(folder.path(), "unread").await;
    let alone = status(&[("SHOP_DATA_DIR", data)]).await;
    let printed = lines(&alone);
    assert_eq!(alone.status.code(), Some(0), "{alone:?}");
    let unread = printed
        .iter()
        .find(|line| line.starts_with("purchase-group purchases 0 5 6 1 "))
        .unwrap();
    assert!(unread.ends_with("s -"), "{unread}");
    assert!(
        printed.iter().any(|line| line == "purchases undecodable 1"),
        "{printed:#?}"
    );
    assert!(
        printed
            .iter()
            .any(|line| line.starts_with("service no response ")),
        "{printed:#?}"
    );
    let report = json(&[("SHOP_DATA_DIR", data)]).await;
    assert_eq!(
        (&report["healthy"], &report["findings"]),
        (&json!(true), &json!([])),
        "{report}"
    );
    let topic = &report["topics"][0];
    assert_eq!(
        (&topic["lag"], &topic["dead_letters"]),
        (&json!(1), &json!({ "undecodable": 1 })),
        "{report}"
    );
    assert_eq!(topic["partitions"][0]["committed"], 5, "{report}");
    assert_eq!(report["service"]["status"], Value::Null, "{report}");
    assert!(
        report["files"]
            .as_array()
            .unwrap()
            .iter()
            .all(|file| file["bytes"].as_u64() > Some(4_096))
    );
}

/// A topic with a record that is unread for more than half of the retention.
async fn an_old_unread_record_is_a_finding(servers: &Servers, settings: &[(&str, &str)]) {
    let topic = servers.name("unread");
    let log = KafkaLog::open(servers.log("unread")).await.unwrap();
    until("create it", async || {
        log.positions("none").await.is_ok() && log.dead_letters().check().await.is_ok()
    })
    .await;
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config
        .set("bootstrap.servers", servers.address("SHOP_TEST_KAFKA"))
        .create()
        .unwrap();
    let time = SystemClock.now().as_millis() - 4 * 86_400_000;
    producer
        .send(
            BaseRecord::<(), str>::to(&topic)
                .payload(ADA)
                .timestamp(time),
        )
        .unwrap();
    tokio::task::spawn_blocking(move || producer.flush(PATIENCE))
        .await
        .unwrap()
        .unwrap();
    let unread = [settings, &[("KAFKA_TOPIC", &*topic)]].concat();
    let finding = format!("- {topic}: records have been unread for 4d, half of the retention");
    // It waits a second for the unread record.
    until("name it", async || {
        let output = status(&unread).await;
        let printed = lines(&output);
        let is_listed = printed.iter().any(|line| line.ends_with(" - 1 1 4d 7d"));
        output.status.code() == Some(1) && is_listed && printed.contains(&finding)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_on_kafka() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let Some(cluster) = postgres::cluster() else {
        return;
    };
    let (management, facing) = kafka::start_both(&servers).await;
    until("be ready", async || {
        get(&facing.path("/-/ready")).await.0 == 200
    })
    .await;
    let positions: Vec<_> = join_all((0..20).map(async |user| {
        let purchase = NewPurchase::for_user(format!("u{user}"))
            .with_user_name("ada")
            .with_price("1")
            .unwrap();
        facing
            .client()
            .buy(purchase)
            .await
            .unwrap()
            .receipt
            .position
            .unwrap()
    }))
    .await;
    let of_servers = kafka::settings(&servers);
    let mut settings = borrow_settings(&of_servers);
    settings.push(("PORT", port(&management)));
    let mut report = Value::Null;
    until("consume all", async || {
        report = json(&settings).await;
        report["topics"][0]["lag"] == 0
    })
    .await;
    assert_eq!(
        (
            &report["healthy"],
            &report["topics"][0]["retention_seconds"]
        ),
        (&json!(true), &json!(604_800))
    );
    let end = |at: &Value| at["end"].as_u64().unwrap();
    let partitions = report["topics"][0]["partitions"].as_array().unwrap();
    assert_eq!(partitions.iter().map(end).sum::<u64>(), 20, "{report}");
    assert!(
        partitions
            .iter()
            .filter(|at| end(at) > 0)
            .all(|at| at["committed"] == at["end"]),
        "{report}"
    );

    an_old_unread_record_is_a_finding(&servers, &settings).await;

    // Another group, with the store in PostgreSQL: nothing is consumed yet.
    let group = servers.name("status");
    let url = cluster.url();
    let (_folder, store) = Process::fresh(Binary::Facing, &[("POSTGRES_URL", &url)]).await;
    store.stop().await;
    settings.retain(|(name, _)| !name.starts_with("MONGODB"));
    settings.extend([("KAFKA_GROUP_ID", &*group), ("POSTGRES_URL", &url)]);
    let output = status(&settings).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = lines(&output);
    let partition = positions[0].partition;
    let of_partition = format!("{group} {} {partition} - ", positions[0].topic);
    let unread = printed
        .iter()
        .find(|line| line.starts_with(&of_partition))
        .unwrap();
    assert!(unread.ends_with("s 7d"), "{unread}");
    assert!(
        printed
            .iter()
            .any(|line| line.starts_with("store reachable PostgreSQL, ")),
        "{printed:#?}"
    );
}
