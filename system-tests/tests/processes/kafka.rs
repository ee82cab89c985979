//! The log on Kafka and the store in MongoDB or PostgreSQL, on real servers that are killed and paused.

use shop_core::log::RecordPosition;

use crate::kills::{Victim, survive_kills};
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

/// Appends records to the purchases at once, as another producer. They have one key, and so are in one partition, where they
/// may pass one another: a test that depends on the order of two values appends them by two calls. Returns their positions.
pub(crate) async fn append_all(servers: &Servers, values: &[&str]) -> Vec<RecordPosition> {
    let log = KafkaLog::open(servers.log("purchases")).await.unwrap();
    let appends = values.iter().map(|value| {
        let mut record = record_of(*value);
        record.key = Some("u1".into());
        log.append(record)
    });
    let appended = join_all(appends).await.into_iter();
    let mut positions: Vec<_> = appended.map(Result::unwrap).collect();
    positions.sort_by_key(|position| position.offset);
    positions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facing_and_management_work_over_kafka_and_mongodb() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let management = start(Binary::Management, &servers, &[]).await;
    let url = ("MANAGEMENT_URL", management.url.as_str());
    let facing = start(Binary::Facing, &servers, &[url]).await;
    until("accept a purchase", async || {
        facing.client().shop().buy(purchase_of("u1")).await.is_ok()
    })
    .await;
    let buy = async || facing.client().shop().buy(purchase_of("u2")).await.unwrap();
    let id = buy().await.purchase.id;
    let listing = facing.path(&format!("/getAllUserBuys/u2?wait_for={id}&wait=10"));
    assert_eq!(get(&listing).await.1["count"], 1);
    assert!(facing.ingest().await.is_null(), "management runs ingest");

    // No record is redelivered after a clean shutdown.
    management.stop().await;
    let management = start(Binary::Management, &servers, &[]).await;
    buy().await;
    until_stored(&management, "u2", 2).await;
    assert_eq!(management.ingest().await["duplicates"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_kills_and_pauses_lose_and_duplicate_nothing() {
    let Some(servers) = Servers::start(&["kafka", "mongo"]).await else {
        return;
    };
    let victims = ["kafka", "mongo"].map(|name| Victim::Server(&servers, name));
    survive_kills(settings(&servers), &victims).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_duplicate_nothing_on_kafka_and_postgres() {
    let Some(servers) = Servers::start(&["kafka"]).await else {
        return;
    };
    let Some(cluster) = cluster() else {
        return;
    };
    let mut settings = servers.settings();
    settings.push(("DATABASE_URL", cluster.url()));
    let victims = [
        Victim::Server(&servers, "kafka"),
        Victim::Postgres(&cluster),
    ];
    survive_kills(settings, &victims).await;
}

/// The backlog is larger than the memory of a process, then Kafka becomes unavailable too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_with_a_backlog() {
    let memory = &[("MONGO_STORE", "memory")];
    let Some(servers) = Servers::start_with(&["kafka", "mongo"], memory).await else {
        return;
    };
    let facing = start(Binary::Facing, &servers, &[]).await;
    append_all(&servers, &[ADA]).await;
    until_stored(&facing, "u1", 1).await;
    let at_rest = facing.peak_memory();

    servers.ctl("pause", "mongo").await;
    let long = "x".repeat(30_000);
    let purchase = format!(r#"{{"username":"ada","userid":"u1","price":1,"more":"{long}"}}"#);
    for _ in 0..4 {
        append_all(&servers, &[&*purchase; 1_000]).await;
    }
    until("wait for the store", async || {
        facing.ingest().await["waiting_for"]["store"].is_string()
    })
    .await;
    servers.ctl("kill", "kafka").await;
    // Rejected purchases leave no memory behind.
    let shop = facing.client().shop();
    let refused = join_all((0..100).map(|_| shop.buy(purchase_of("u1")))).await;
    assert!(refused.iter().all(Result::is_err));
    let peak = facing.peak_memory();
    println!("{at_rest} MiB at rest, at most {peak} MiB while 120 MB wait");
    assert!(peak - at_rest < 64, "{at_rest} MiB at rest, {peak} MiB");
}
