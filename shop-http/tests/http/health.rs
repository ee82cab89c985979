//! Probes and health of the services.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};
use shop_core::conformance::fault::{Call, Fault, Faults};
use shop_core::ingest::{Component, Ingest, IngestOptions, Phase};
use shop_core::log::{Gap, GapCause, LogFaults, LogRecord, Partition};
use shop_core::memory::{InMemoryLog, InMemorySink, InMemoryStore};
use shop_core::ports::{Durability, PurchaseSink, Receipt};
use shop_core::{
    Error, ErrorKind, Purchase, Result, Timestamp, async_trait, ingest::DeadLetterLimit,
};
use shop_http::{
    HttpOptions, LocalPorts, Parts, PurchasesRole, Role, RoleState, ServiceKind, StoreSink, router,
};
use tokio::sync::oneshot;

use crate::shop::{Shop, facing_parts_of, get, post};

#[tokio::test]
async fn both_services_are_live_and_ready() {
    let shop = Shop::new();
    for service in [&shop.facing, &shop.management] {
        assert_eq!(get(service, "/healthz").await.text, "Success");
        for alive in ["/-/healthy", "/livez"] {
            get(service, alive)
                .await
                .is(200, &json!({"status": "alive"}));
        }
        let index = get(service, "/").await.json();
        assert!(
            index.as_object().unwrap().values().all(Value::is_string),
            "{index}"
        );
        assert!(index.get("/").is_some() && index.get("/healthz").is_some());
    }
    get(&shop.facing, "/-/ready")
        .await
        .is(200, &json!({"status": "ready"}));
    let all = json!({"status": "ready", "mongo": "up", "kafka": "up"});
    get(&shop.management, "/-/ready").await.is(200, &all);
}

#[tokio::test(start_paused = true)]
async fn unavailable_ports_are_in_readiness() {
    let shop = Shop::new();
    for fault in [
        Fault::unavailable(),
        Fault::Delay(std::time::Duration::from_secs(60)),
    ] {
        shop.faults.always(Call::Check, fault);
        get(&shop.facing, "/-/ready")
            .await
            .is(503, &json!({"detail": "Kafka not connected"}));
        let detail = json!({"status": "not_ready", "mongo": "down", "kafka": "up"});
        get(&shop.management, "/-/ready")
            .await
            .is(503, &json!({"detail": detail}));
        get(&shop.facing, "/health")
            .await
            .has(200, &json!({"status": "degraded"}));
        get(&shop.management, "/health")
            .await
            .has(500, &json!({"status": "unhealthy"}));
        for service in [&shop.facing, &shop.management] {
            assert_eq!(
                get(service, "/healthz").await.status,
                StatusCode::OK,
                "still live"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn facing_without_listings_accepts_purchases_and_is_degraded() {
    let log = InMemoryLog::default();
    let faults = Faults::new();
    let query = faults.query(Arc::new(InMemoryStore::new()));
    let parts = Parts::facing(Arc::new(log.sink()), query);
    let facing = router(parts, HttpOptions::default());
    faults.always(
        Call::Check,
        Fault::Delay(std::time::Duration::from_secs(60)),
    );
    let begun = tokio::time::Instant::now();
    assert_eq!(get(&facing, "/-/ready").await.status, StatusCode::OK);
    assert!(
        begun.elapsed().is_zero(),
        "a probe does not wait for listings"
    );
    let parts = json!({"log": true, "listings": false});
    let health = json!({"status": "degraded", "kafkaReady": true, "parts": parts});
    get(&facing, "/health").await.is(200, &health);
    get(&facing, "/v1").await.is(
        200,
        &json!({"roles": ["purchases"], "status": "ready", "parts": parts}),
    );
    let text = get(&facing, "/metrics").await.text;
    for (part, up) in [("log", 1), ("listings", 0)] {
        assert!(
            text.contains(&format!("\nshop_dependency_up{{part=\"{part}\"}} {up}\n")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_written_degrades() {
    let parts = facing_parts_of(InMemoryStore::new());
    let is_failing = Arc::new(AtomicBool::new(true));
    parts
        .metrics
        .count_dropped_lines(Arc::default(), Arc::clone(&is_failing));
    let facing = router(parts, HttpOptions::default());
    for (status, lines) in [
        ("degraded", json!({"failing": true})),
        ("healthy", Value::Null),
    ] {
        let health = get(&facing, "/health").await.json();
        assert_eq!(
            (&health["status"], &health["log_lines"]),
            (&status.into(), &lines)
        );
        is_failing.store(false, Ordering::Relaxed);
    }
}

/// A log of which one partition has no leader, and that takes purchases or not.
#[derive(Debug)]
struct InCluster {
    log: InMemorySink,
    takes_purchases: Arc<AtomicBool>,
    faults: LogFaults,
}

#[async_trait]
impl PurchaseSink for InCluster {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        if self.takes_purchases.load(Ordering::Relaxed) {
            return self.log.publish(purchase).await;
        }
        Err(Error::new(ErrorKind::Unavailable, "not enough replicas"))
    }

    fn durability(&self) -> Durability {
        self.log.durability()
    }

    fn faults(&self) -> LogFaults {
        self.faults.clone()
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.log.close(deadline).await
    }
}

fn in_cluster(faults: LogFaults) -> (Router, Arc<AtomicBool>) {
    let takes_purchases = Arc::new(AtomicBool::new(true));
    let sink = InCluster {
        log: InMemoryLog::default().sink(),
        takes_purchases: Arc::clone(&takes_purchases),
        faults,
    };
    let parts = Parts::facing(Arc::new(sink), Arc::new(InMemoryStore::new()));
    (router(parts, HttpOptions::default()), takes_purchases)
}

#[tokio::test]
async fn partitions_without_a_leader_and_lost_acknowledgements_degrade_a_service() {
    let mut faults = LogFaults::default();
    faults.unavailable = vec!["purchases-3".to_owned()];
    let partition = Partition::new("cluster".into(), "purchases".into(), 0, 0);
    faults.lost = vec![Gap::new(partition, 20, 40, GapCause::Truncated)];
    let (facing, _) = in_cluster(faults);
    let health = get(&facing, "/health").await.json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["unavailable_partitions"], json!(["purchases-3"]));
    assert_eq!(health["lost_acknowledgements"][0]["count"], 20);
    // The other partitions serve.
    get(&facing, "/-/ready")
        .await
        .is(200, &json!({"status": "ready"}));
    let metrics = get(&facing, "/metrics").await.text;
    for line in [
        "\nshop_log_unavailable_partitions 1\n",
        "\nshop_log_truncated_records_total 20\n",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_not_ready_while_every_publish_fails() {
    let (facing, takes_purchases) = in_cluster(LogFaults::default());
    let body = r#"{"username":"ada","userid":"u1","price":1}"#;
    assert_eq!(post(&facing, "/v1/purchases", body).await.status, 201);
    takes_purchases.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(post(&facing, "/v1/purchases", body).await.status, 503);
    let not_ready = json!({"detail": "Kafka not connected"});
    get(&facing, "/-/ready").await.is(503, &not_ready);
    let health = get(&facing, "/health").await.json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["parts"]["log"], false);
    get(&facing, "/readyz")
        .await
        .is(200, &json!({"status": "ready"}));

    takes_purchases.store(true, Ordering::Relaxed);
    assert_eq!(post(&facing, "/v1/purchases", body).await.status, 201);
    get(&facing, "/-/ready")
        .await
        .is(200, &json!({"status": "ready"}));
}

#[tokio::test]
async fn readiness_depends_only_on_local_files() {
    let log = InMemoryLog::default();
    let store = InMemoryStore::new();
    let faults = Faults::new();
    faults.always(Call::Check, Fault::unavailable());
    let facing_on = |log_is_local, store_is_local| {
        let query = faults.query(Arc::new(store.clone()));
        let mut purchases = PurchasesRole::new(faults.sink(Arc::new(log.sink())), query);
        purchases.local = LocalPorts::new(log_is_local, store_is_local);
        router(
            Parts::new(ServiceKind::Facing, purchases),
            HttpOptions::default(),
        )
    };
    let remote = facing_on(false, false);
    get(&remote, "/readyz")
        .await
        .is(200, &json!({"status": "ready"}));
    get(&remote, "/-/ready")
        .await
        .is(503, &json!({"detail": "Kafka not connected"}));
    let parts = json!({"log": false, "listings": false});
    let body = json!({"roles": ["purchases"], "status": "not ready", "parts": parts});
    get(&remote, "/v1").await.is(503, &body);
    for local in [facing_on(true, false), facing_on(false, true)] {
        get(&local, "/readyz")
            .await
            .is(503, &json!({"status": "not ready"}));
        assert_eq!(get(&local, "/livez").await.status, StatusCode::OK);
    }
    get(&facing_on(true, true), "/-/ready")
        .await
        .is(503, &json!({"detail": "The log is not writable"}));
}

/// A role whose store never answers.
#[derive(Debug)]
struct Vouchers;

impl Role for Vouchers {
    fn states(&self) -> Vec<RoleState<'_>> {
        vec![RoleState::new("vouchers", std::future::pending())]
    }
}

#[tokio::test(start_paused = true)]
async fn components_of_health_are_checked_concurrently() {
    let store = InMemoryStore::new();
    let faults = Faults::new();
    faults.always(
        Call::Check,
        Fault::Delay(std::time::Duration::from_secs(60)),
    );
    let query = faults.query(Arc::new(store.clone()));
    let mut parts = Parts::management(faults.store(Arc::new(store)), Durability::Memory, query);
    parts.roles.push(Arc::new(Vouchers));
    let begun = tokio::time::Instant::now();
    let health = get(&router(parts, HttpOptions::default()), "/health")
        .await
        .json();
    assert_eq!(health["vouchers"]["store"], false);
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

/// Management with its log, faults and ingest.
fn with_ingest(options: IngestOptions) -> (Router, InMemoryLog, Faults, Ingest) {
    let log = InMemoryLog::default();
    let store = InMemoryStore::new();
    let faults = Faults::new();
    let stored = faults.store(Arc::new(store.clone()));
    let source = faults.source(Arc::new(log.source("group")));
    let ingest = Ingest::new(source, stored, Arc::new(log.dead_letters()), options);
    let mut purchases = PurchasesRole::new(
        Arc::new(StoreSink::new(Arc::new(store.clone()), Durability::Memory)),
        Arc::new(store),
    );
    purchases.ingest = Some(ingest.monitor());
    (
        router(
            Parts::new(ServiceKind::Management, purchases),
            HttpOptions::default(),
        ),
        log,
        faults,
        ingest,
    )
}

fn append(log: &InMemoryLog, value: &str) {
    let value = value.to_owned().into_bytes();
    drop(log.append(LogRecord::new(0, Timestamp::MIN, Some(value.into()))));
}

const GOOD: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

#[tokio::test(start_paused = true)]
async fn management_is_ready_while_ingest_runs() {
    let (router, log, faults, ingest) = with_ingest(IngestOptions::default());
    assert_eq!(
        get(&router, "/-/ready").await.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "not started yet"
    );
    let (monitor, (stop, stopped)) = (ingest.monitor(), oneshot::channel());
    let task = tokio::spawn(ingest.run(async move { drop(stopped.await) }));
    faults.always(Call::Insert, Fault::unavailable());
    append(&log, GOOD);
    monitor.wait_for(|status| !status.errors.is_empty()).await;
    assert_eq!(
        get(&router, "/-/ready").await.status,
        StatusCode::OK,
        "ingest retries during an outage"
    );
    let health = get(&router, "/health").await;
    assert_eq!(
        health.json()["ingest"]["waiting_for"],
        json!({"store": "unavailable"})
    );
    assert_eq!(
        (&health.json()["status"], &health.json()["parts"]["store"]),
        (&json!("degraded"), &json!(false))
    );
    assert_eq!(health.json()["ingest"]["lag"], 1);
    assert!(!health.text.contains("on purpose"), "{}", health.text);
    faults.clear(Call::Insert);
    monitor
        .wait_for(|status| status.counters.inserted == 1)
        .await;
    let health = get(&router, "/health").await.json();
    let parts = json!({"log": true, "store": true, "listings": true, "ingest": true});
    assert_eq!(
        (&health["status"], &health["parts"]),
        (&json!("healthy"), &parts)
    );
    let ingest = &health["ingest"];
    assert_eq!(
        (
            &ingest["phase"],
            &ingest["inserted"],
            &ingest["waiting_for"]
        ),
        (&json!("running"), &json!(1), &json!({}))
    );
    assert!(
        ingest["freshness_ms"].is_u64() && ingest["lag"].is_u64(),
        "{ingest}"
    );
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    let ready = get(&router, "/-/ready").await;
    assert_eq!(
        ready.json(),
        json!({"detail": {"status": "not_ready", "mongo": "up", "kafka": "down"}})
    );
}

#[tokio::test(start_paused = true)]
async fn management_is_not_ready_while_reading_is_denied() {
    let (router, log, faults, ingest) = with_ingest(IngestOptions::default());
    let monitor = ingest.monitor();
    tokio::spawn(ingest.run(std::future::pending()));
    for (kind, status) in [
        (ErrorKind::Unavailable, StatusCode::OK),
        (ErrorKind::Denied, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        faults.once(Call::Next, Fault::Refuse(Error::new(kind, "on purpose")));
        append(&log, GOOD);
        let fails = |error: &Error| error.kind() == kind;
        monitor
            .wait_for(|status| status.errors.get(&Component::Source).is_some_and(fails))
            .await;
        assert_eq!(get(&router, "/-/ready").await.status, status);
        let health = get(&router, "/health").await.json();
        assert_eq!(
            (&health["status"], &health["parts"]["log"]),
            (&json!("degraded"), &json!(false))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_dead_letters_end_readiness() {
    let mut options = IngestOptions::default();
    options.dead_letter_limit =
        DeadLetterLimit::consecutive(3).with_setting_name("SHOP_DEAD_LETTER_LIMIT");
    let (router, log, _faults, ingest) = with_ingest(options);
    let monitor = ingest.monitor();
    tokio::spawn(ingest.run(std::future::pending()));
    (0..10).for_each(|_| append(&log, "poison"));
    monitor
        .wait_for(|status| status.phase == Phase::Stopped)
        .await;
    assert_eq!(
        get(&router, "/-/ready").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let health = get(&router, "/health").await.json();
    assert!(
        health["ingest"]["stopped_because"]
            .as_str()
            .unwrap()
            .contains("SHOP_DEAD_LETTER_LIMIT"),
        "{health}"
    );
    assert_eq!(
        (&health["kafkaReady"], &health["status"]),
        (&json!(false), &json!("degraded"))
    );
    assert_eq!(
        get(&router, "/readyz").await.status,
        StatusCode::OK,
        "listings continue"
    );
}

#[tokio::test(start_paused = true)]
async fn facing_with_a_stopped_ingest_is_not_ready_and_still_lists() {
    let mut options = IngestOptions::default();
    options.dead_letter_limit = DeadLetterLimit::consecutive(3);
    let log = InMemoryLog::default();
    let store = InMemoryStore::new();
    let ingest = Ingest::new(
        Arc::new(log.source("group")),
        Arc::new(store.clone()),
        Arc::new(log.dead_letters()),
        options,
    );
    let monitor = ingest.monitor();
    let mut purchases = PurchasesRole::new(Arc::new(log.sink()), Arc::new(store));
    purchases.ingest = Some(monitor.clone());
    purchases.local = LocalPorts::new(true, true);
    let router = router(
        Parts::new(ServiceKind::Facing, purchases),
        HttpOptions::default(),
    );
    tokio::spawn(ingest.run(std::future::pending()));
    monitor
        .wait_for(|status| status.phase == Phase::Running)
        .await;
    assert_eq!(get(&router, "/-/ready").await.status, StatusCode::OK);
    (0..10).for_each(|_| append(&log, "poison"));
    monitor
        .wait_for(|status| status.phase == Phase::Stopped)
        .await;
    get(&router, "/-/ready")
        .await
        .is(503, &json!({"detail": "Ingest has stopped"}));
    get(&router, "/ready")
        .await
        .is(503, &json!({"status": "not ready", "kafkaReady": true}));
    get(&router, "/health")
        .await
        .has(200, &json!({"status": "degraded"}));
    for path in ["/readyz", "/getAllUserBuys/u1"] {
        assert_eq!(get(&router, path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_record_is_reported_with_its_age() {
    let (router, log, faults, ingest) = with_ingest(IngestOptions::default());
    let monitor = ingest.monitor();
    tokio::spawn(ingest.run(std::future::pending()));
    let oldest = async || {
        let text = get(&router, "/metrics").await.text;
        let line = text.lines().find_map(|line| {
            line.strip_prefix("shop_ingest_oldest_uncommitted_seconds{topic=\"purchases\"} ")
        });
        line.unwrap_or_else(|| panic!("{text}"))
            .parse::<f64>()
            .unwrap()
    };
    assert!(
        oldest().await < f64::EPSILON,
        "no age before the first record"
    );
    // Inserts fail; the check of the store passes.
    faults.always(Call::Insert, Fault::unavailable());
    append(&log, GOOD);
    monitor.wait_for(|status| !status.errors.is_empty()).await;
    // The store accepts another record while the first one waits for its next attempt.
    faults.clear(Call::Insert);
    append(&log, GOOD);
    monitor
        .wait_for(|status| status.counters.inserted == 1)
        .await;
    faults.always(Call::Insert, Fault::unavailable());
    monitor.wait_for(|status| status.stuck.is_some()).await;
    tokio::time::advance(std::time::Duration::from_secs(600)).await;
    let health = get(&router, "/health").await.json();
    let status = &health["status"];
    let stuck = &health["ingest"]["stuck"];
    assert_eq!(status, "degraded");
    let place = (
        &stuck["topic"],
        &stuck["partition"],
        &stuck["offset"],
        &stuck["error"],
    );
    assert!(
        place.0 == "purchases" && place.1.is_u64() && place.2 == 0 && place.3 == "unavailable",
        "{stuck}"
    );
    assert_eq!(stuck["position"], format!("purchases-{}-0", place.1));
    assert!(
        stuck["id"].as_str().is_some_and(|id| id.len() == 36),
        "{stuck}"
    );
    assert!(
        stuck["age_seconds"].as_u64().is_some_and(|age| age >= 600),
        "{stuck}"
    );
    assert!(
        stuck["detail"]
            .as_str()
            .is_some_and(|text| text.contains("unavailable on purpose")),
        "{stuck}"
    );
    assert!(oldest().await >= 600.0);

    faults.clear(Call::Insert);
    monitor
        .wait_for(|status| status.oldest_uncommitted.values().all(Option::is_none))
        .await;
    let health = get(&router, "/health").await.json();
    assert_eq!(
        (&health["status"], health["ingest"].get("stuck")),
        (&json!("healthy"), None)
    );
    assert!(oldest().await < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn the_last_hour_is_in_health_on_request() {
    let shop = Shop::new();
    let buy = async || {
        post(
            &shop.facing,
            "/buy",
            r#"{"username":"ada","userid":"u1","price":1}"#,
        )
        .await
        .status
    };
    assert_eq!(buy().await, StatusCode::CREATED);
    shop.faults.always(Call::Publish, Fault::unavailable());
    assert_eq!(buy().await, StatusCode::SERVICE_UNAVAILABLE);
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    let history = get(&shop.facing, "/health?history=true").await.json()["history"].clone();
    let sum = |member: &str| {
        history[member]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(serde_json::Value::as_u64)
            .sum::<u64>()
    };
    assert_eq!(
        ["responses", "errors", "bought"].map(sum),
        [2, 1, 1],
        "{history}"
    );
    assert!(
        history["p99_ms"]
            .as_array()
            .unwrap()
            .iter()
            .any(serde_json::Value::is_f64),
        "{history}"
    );
    let is_unknown = |member: &str| {
        history[member]
            .as_array()
            .unwrap()
            .iter()
            .all(serde_json::Value::is_null)
    };
    assert!(is_unknown("stored") && is_unknown("lag"), "{history}");
    assert_eq!(history["interval_seconds"], 10);
    assert!(
        get(&shop.facing, "/health")
            .await
            .json()
            .get("history")
            .is_none()
    );
}
