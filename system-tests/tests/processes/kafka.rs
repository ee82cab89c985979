//! The log on Kafka and the store in MongoDB or PostgreSQL, on real servers that are killed and paused.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use shop_client::{NewPurchase, Outcome};

use futures_util::{StreamExt, stream};
use shop_core::log::LogRecord;
use shop_core::{Clock as _, SystemClock};
use shop_kafka::KafkaLog;

use crate::kills::{Plan, SERVICES, Victim};
use crate::postgres_server::Cluster;
use crate::process::{Binary, Process, borrow_settings, get, stored, until, until_stored};
use crate::servers::Servers;

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

/// Starts management, and facing that asks it for listings.
pub(crate) async fn start_both(servers: &Servers) -> (Process, Process) {
    let management = start(Binary::Management, servers, &[]).await;
    let url = ("MANAGEMENT_URL", management.url.as_str());
    let facing = start(Binary::Facing, servers, &[url]).await;
    (management, facing)
}

fn ada() -> NewPurchase {
    NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("29.99")
        .unwrap()
}

/// A purchase to repeat until it is accepted: an attempt that fails may have been recorded.
fn first() -> NewPurchase {
    ada().with_key("order-0").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facing_and_management_work_over_kafka_and_mongodb() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let (management, facing) = start_both(&servers).await;
    let client = facing.client();
    until("accept a purchase", async || {
        client.buy(first()).await.is_ok()
    })
    .await;
    let bought = client
        .buy(ada().with_key("order-7").unwrap())
        .await
        .unwrap();
    assert!(
        format!("{:?}", bought.receipt).contains("Broker"),
        "{bought:?}"
    );
    let id = bought.purchase.id;
    let listing = get(&facing.path(&format!("/getAllUserBuys/u1?wait_for={id}&wait=10")))
        .await
        .1;
    assert_eq!(listing["count"], 2, "{listing}");
    assert_eq!(get(&management.path("/purchases/u1")).await.1["count"], 2);
    assert!(
        get(&facing.path("/health")).await.1.get("ingest").is_none(),
        "management runs ingest"
    );

    // No record is redelivered after a clean shutdown.
    management.terminate().await;
    let management = start(Binary::Management, &servers, &[]).await;
    let third = client.buy(ada()).await.unwrap().purchase.id;
    let pending = format!("/v1/purchases/{third}?wait_for={third}&wait=10");
    until("store the third", async || {
        get(&management.path(&pending)).await.0 == 200
    })
    .await;
    let ingest = management.ingest().await;
    assert_eq!(
        (&ingest["inserted"], &ingest["duplicates"]),
        (&1.into(), &0.into()),
        "{ingest}"
    );
    let stored = management.client().buy(ada()).await.unwrap();
    assert!(
        format!("{:?}", stored.receipt).contains("Replicated"),
        "{stored:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_unavailable_at_the_start_is_reported_and_waited_for() {
    let Some(servers) = Servers::start(&["kafka", "mongo"]).await else {
        return;
    };
    // Unavailable at the start.
    servers.ctl("kill", "kafka").await;
    let facing = start(Binary::Facing, &servers, &[]).await;
    let client = facing.client();
    let error = client.buy(first()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    // With another status of a probe, its Service would lose the process, which serves listings.
    for (path, status) in [
        ("/-/ready", 503),
        ("/livez", 200),
        ("/readyz", 200),
        ("/getAllUserBuys/u1", 200),
    ] {
        assert_eq!(get(&facing.path(path)).await.0, status, "{path}");
    }
    servers.ctl("start", "kafka").await;
    until("accept a purchase", async || {
        client.buy(first()).await.is_ok()
    })
    .await;
    until_stored(&facing, "u1", 1).await;
    assert_eq!(get(&facing.path("/-/ready")).await.0, 200);
    facing.signal(Signal::TERM);
    assert!(facing.ended().await.success());
}

/// Hits services and servers under load, with the store in MongoDB, or in PostgreSQL if there is a cluster.
async fn survive(servers: &Servers, postgres: Option<&Cluster>) {
    let folder = tempfile::tempdir().unwrap();
    let (settings, store) = match postgres {
        Some(cluster) => (
            [servers.settings(), vec![("DATABASE_URL", cluster.url())]].concat(),
            "postgres",
        ),
        None => (settings(servers), "mongo"),
    };
    let [facing, management] = SERVICES;
    let plan = Plan {
        rounds: 3,
        victims: &[
            facing,
            management,
            Victim::Server("kafka"),
            Victim::Server(store),
        ],
        servers: Some(servers),
        postgres,
    };
    plan.survive(folder.path(), settings).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_kills_and_pauses_lose_and_duplicate_nothing() {
    let Some(servers) = Servers::start(&["kafka", "mongo"]).await else {
        return;
    };
    survive(&servers, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_duplicate_nothing_on_kafka_and_postgres() {
    let Some(servers) = Servers::start(&["kafka"]).await else {
        return;
    };
    let Some(cluster) = crate::postgres::cluster() else {
        return;
    };
    survive(&servers, Some(&cluster)).await;
}

/// The number of records that wait for the store, 6 KB each. A store without an index scans all of them for a summary.
const WAITING: usize = 20_000;

/// The backlog is larger than the memory of a process, then Kafka becomes unavailable too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_with_a_backlog() {
    let Some(servers) =
        Servers::start_with(&["kafka", "mongo"], &[("MONGO_STORE", "memory")]).await
    else {
        return;
    };
    let facing = start(Binary::Facing, &servers, &[]).await;
    until("accept a purchase", async || {
        facing.client().buy(first()).await.is_ok()
    })
    .await;
    until_stored(&facing, "u1", 1).await;
    let at_rest = facing.peak_memory();

    servers.ctl("pause", "mongo").await;
    let log = KafkaLog::open(servers.log("purchases")).await.unwrap();
    let long = "x".repeat(6_000);
    let append = async |number: usize| {
        let value = format!(
            r#"{{"username":"ada","userid":"u{}","price":1,"more":"{long}"}}"#,
            number % 7
        );
        let record = LogRecord::new(0, SystemClock.now(), Some(value.into()));
        until("append", async || log.append(record.clone()).await.is_ok()).await;
    };
    stream::iter(0..WAITING)
        .map(append)
        .buffer_unordered(1_000)
        .collect::<()>()
        .await;
    let waits = async || facing.ingest().await["waiting_for"]["store"].is_string();
    until("wait for the store", async || waits().await).await;
    servers.ctl("kill", "kafka").await;
    // Rejected purchases leave no memory behind.
    let refused = stream::iter(0..200).map(async |_| facing.client().buy(ada()).await.is_err());
    assert!(refused.buffer_unordered(100).all(std::future::ready).await);
    let peak = facing.peak_memory();
    println!("{at_rest} MiB at rest, at most {peak} MiB while 120 MB wait");
    assert!(peak - at_rest < 64, "{at_rest} MiB at rest, {peak} MiB");

    servers.ctl("start", "kafka").await;
    servers.ctl("resume", "mongo").await;
    let status = async || facing.ingest().await;
    // Inserts sent during the pause were stored after it, and are repeated.
    let carried = |status: &Value| {
        status["inserted"].as_u64().unwrap() + status["duplicates"].as_u64().unwrap()
    };
    until("store all", async || {
        carried(&status().await) > WAITING as u64
    })
    .await;
    assert_eq!(status().await["dead_lettered"], 0);
    let mut users = 0;
    for user in 0..7 {
        users += stored(&facing, &format!("u{user}")).await;
    }
    assert_eq!(users, WAITING as u64 + 1);
}
