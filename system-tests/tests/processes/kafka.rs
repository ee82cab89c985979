//! The log on Kafka and the store in MongoDB or PostgreSQL, on real servers that are killed and paused.

use std::future::ready;

use futures_util::{StreamExt, stream};

use crate::kills::{Plan, SERVICES, Victim};
use crate::prelude::*;

pub(crate) fn settings(servers: &Servers) -> Vec<(&'static str, String)> {
    let mut settings = servers.settings();
    settings.push(("MONGODB_DATABASE", servers.name("shop")));
    settings
}

pub(crate) async fn start(binary: Binary, servers: &Servers, more: &[(&str, &str)]) -> Process {
    let settings = settings(servers);
    let mut settings = borrow_settings(&settings);
    settings.extend(more);
    // Without embedded files, the folder is not created.
    let nowhere = Path::new("/nonexistent/shop-data");
    Process::start(binary, nowhere, &settings).await
}

/// Starts management, and facing that asks it for listings. Both are ready.
pub(crate) async fn start_both(servers: &Servers) -> (Process, Process) {
    let management = start(Binary::Management, servers, &[]).await;
    let url = ("MANAGEMENT_URL", management.url.as_str());
    let facing = start(Binary::Facing, servers, &[url]).await;
    buy_first(&facing).await;
    (management, facing)
}

/// Buys for u1. An attempt that fails may have been recorded, and is repeated with the same key.
async fn buy_first(facing: &Process) {
    let first: NewPurchase = purchase_of("u1").with_key("order-0").unwrap();
    until("accept a purchase", async || {
        facing.client().buy(first.clone()).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facing_and_management_work_over_kafka_and_mongodb() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let (management, facing) = start_both(&servers).await;
    let client = facing.client();
    let bought = client.buy(purchase_of("u1")).await.unwrap();
    assert!(format!("{bought:?}").contains("Broker"), "{bought:?}");
    let id = bought.purchase.id;
    let listing = facing.path(&format!("/getAllUserBuys/u1?wait_for={id}&wait=10"));
    assert_eq!(get(&listing).await.1["count"], 2);
    assert!(facing.ingest().await.is_null(), "management runs ingest");

    // No record is redelivered after a clean shutdown.
    management.stop().await;
    let management = start(Binary::Management, &servers, &[]).await;
    client.buy(purchase_of("u1")).await.unwrap();
    until_stored(&management, "u1", 3).await;
    let ingest = management.ingest().await;
    assert_eq!(ingest["inserted"], 1, "{ingest}");
    assert_eq!(ingest["duplicates"], 0, "{ingest}");
    let stored = management.client().buy(purchase_of("u1")).await.unwrap();
    assert!(format!("{stored:?}").contains("Replicated"), "{stored:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_kills_and_pauses_lose_and_duplicate_nothing() {
    let Some(servers) = Servers::start(&["kafka", "mongo"]).await else {
        return;
    };
    let [facing, management] = SERVICES;
    let [kafka, mongo] = ["kafka", "mongo"].map(Victim::Server);
    let plan = Plan {
        victims: &[facing, management, kafka, mongo],
        servers: Some(&servers),
        postgres: None,
    };
    plan.survive(settings(&servers)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_duplicate_nothing_on_kafka_and_postgres() {
    let Some(servers) = Servers::start(&["kafka"]).await else {
        return;
    };
    let Some(cluster) = cluster() else {
        return;
    };
    let [facing, management] = SERVICES;
    let [kafka, postgres] = ["kafka", "postgres"].map(Victim::Server);
    let plan = Plan {
        victims: &[facing, management, kafka, postgres],
        servers: Some(&servers),
        postgres: Some(&cluster),
    };
    let mut settings = servers.settings();
    settings.push(("DATABASE_URL", cluster.url()));
    plan.survive(settings).await;
}

/// The number of records that wait for the store, 30 KB each. A store without an index scans all of them for a summary.
const WAITING: usize = 4_000;

/// The backlog is larger than the memory of a process, then Kafka becomes unavailable too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_with_a_backlog() {
    let memory = [("MONGO_STORE", "memory")];
    let Some(servers) = Servers::start_with(&["kafka", "mongo"], &memory).await else {
        return;
    };
    let facing = start(Binary::Facing, &servers, &[]).await;
    buy_first(&facing).await;
    until_stored(&facing, "u1", 1).await;
    let at_rest = facing.peak_memory();

    servers.ctl("pause", "mongo").await;
    let log = KafkaLog::open(servers.log("purchases")).await.unwrap();
    let long = "x".repeat(30_000);
    let append = async |number: usize| {
        let user = number % 7;
        let value = format!(r#"{{"username":"ada","userid":"u{user}","price":1,"more":"{long}"}}"#);
        let record = LogRecord::new(0, SystemClock.now(), Some(value.into()));
        until("append", async || log.append(record.clone()).await.is_ok()).await;
    };
    let appends = stream::iter(0..WAITING).map(append);
    appends.buffer_unordered(1_000).collect::<()>().await;
    until("wait for the store", async || {
        facing.ingest().await["waiting_for"]["store"].is_string()
    })
    .await;
    servers.ctl("kill", "kafka").await;
    // Rejected purchases leave no memory behind.
    let client = facing.client();
    let refused = stream::iter(0..100).map(async |_| client.buy(purchase_of("u1")).await.is_err());
    assert!(refused.buffer_unordered(100).all(ready).await);
    let peak = facing.peak_memory();
    println!("{at_rest} MiB at rest, at most {peak} MiB while 120 MB wait");
    assert!(peak - at_rest < 64, "{at_rest} MiB at rest, {peak} MiB");

    servers.ctl("start", "kafka").await;
    servers.ctl("resume", "mongo").await;
    // Inserts sent during the pause were stored after it, and are repeated.
    until("store all", async || {
        let ingest = facing.ingest().await;
        let count = |name: &str| ingest[name].as_u64().unwrap();
        count("inserted") + count("duplicates") > WAITING as u64
    })
    .await;
    assert_eq!(facing.ingest().await["dead_lettered"], 0);
    let mut users = 0;
    for user in 0..7 {
        users += stored(&facing, &format!("u{user}")).await;
    }
    assert_eq!(users, WAITING as u64 + 1);
}
