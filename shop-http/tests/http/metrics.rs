//! The values of `/metrics` after requests and ingest.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use futures_util::FutureExt;
use serde_json::json;
use shop_core::Timestamp;
use shop_core::conformance::fault::{Call, Fault, Faults};
use shop_core::ingest::{Ingest, IngestMonitor, IngestOptions};
use shop_core::inspect::LogInspection;
use shop_core::log::{LogRecord, LogUsage};
use shop_core::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use shop_core::ports::{Durability, PurchaseSink, PurchaseStore};
use shop_http::{HttpOptions, Metrics, Parts, PurchasesRole, ServiceKind, StoreSink, router};
use tower::ServiceExt;

use crate::entities::Entities;
use crate::shop::{JSON, TestResponse, get, post, purchase, request, send};

/// Both services in one process. Ingest of purchases, users and orders is not started.
pub(crate) struct Measured {
    pub(crate) log: InMemoryLog,
    pub(crate) store: InMemoryStore,
    pub(crate) faults: Faults,
    pub(crate) facing: Router,
    pub(crate) management: Router,
    /// Those of management.
    pub(crate) metrics: Metrics,
    ingest: Option<Ingest>,
    monitor: IngestMonitor,
    /// Kept because their monitors need them.
    _entities: Entities,
}

impl Measured {
    pub(crate) fn new() -> Self {
        let mut options = InMemoryLogOptions::default();
        options.partitions = 4;
        let log = InMemoryLog::new(options);
        let store = InMemoryStore::new();
        let faults = Faults::new();
        let stored = faults.store(Arc::new(store.clone()));
        let source = Arc::new(log.source("purchase-group"));
        let letters = Arc::new(log.dead_letters());
        let metrics = Metrics::new();
        // Metrics of a program for its log and its store.
        let usage = Some(LogUsage::new(1, 1, None, 0));
        metrics.note_retention("purchases", None);
        metrics.note_log(
            "purchases",
            LogInspection {
                usage,
                ..LogInspection::default()
            },
        );
        metrics.count_unreadable(Arc::default());
        metrics.count_dropped_lines(Arc::default(), Arc::default());
        metrics.note_build(&[("commit", "0123456789ab"), ("features", "embedded")]);
        metrics.count_expired(Arc::default());
        let ingest = Ingest::new(
            source,
            Arc::clone(&stored) as _,
            letters,
            IngestOptions::default(),
        );
        let ingest = ingest.with_observer(metrics.ingest_observer());
        let mut purchases = PurchasesRole::new(
            Arc::new(StoreSink::new(stored, Durability::Memory)),
            Arc::new(store.clone()),
        );
        purchases.ingest = Some(ingest.monitor());
        let mut back = Parts::new(ServiceKind::Management, purchases);
        back.metrics = metrics.clone();
        let entities = Entities::new();
        back.roles.push(Arc::new(entities.accounts()));
        let query = faults.query(Arc::new(store.clone()));
        let front = Parts::facing(faults.sink(Arc::new(log.sink())), query);
        front
            .metrics
            .count_dropped_lines(Arc::default(), Arc::default());
        front
            .metrics
            .note_build(&[("commit", "0123456789ab"), ("features", "embedded")]);
        let options = HttpOptions::default();
        let facing = router(front, options.clone());
        let management = router(back, options);
        let monitor = ingest.monitor();
        let ingest = Some(ingest);
        let _entities = entities;
        Self {
            log,
            store,
            faults,
            facing,
            management,
            metrics,
            ingest,
            monitor,
            _entities,
        }
    }

    pub(crate) fn start(&mut self) -> IngestMonitor {
        let ingest = self.ingest.take().unwrap();
        tokio::spawn(ingest.run(std::future::pending()));
        self.monitor.clone()
    }
}

/// The value of one series in the response.
pub(crate) fn value(response: &TestResponse, series: &str) -> Option<f64> {
    let line = response
        .text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

async fn metrics(router: &Router) -> TestResponse {
    get(router, "/metrics").await
}

#[track_caller]
fn assert_all(response: &TestResponse, expected: &[(&str, f64)]) {
    for (series, expected) in expected {
        let text = &response.text;
        assert_eq!(
            value(response, series),
            Some(*expected),
            "{series} in:\n{text}"
        );
    }
}

const GOOD: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

#[tokio::test]
async fn metrics_have_the_usual_methods_and_headers() {
    let shop = Measured::new();
    for service in [&shop.facing, &shop.management] {
        let response = get(service, "/metrics").await;
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(
            response.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        assert!(response.header("x-request-id").is_some());
        assert!(response.text.ends_with('\n'));
        let head = send(
            service,
            request(Method::HEAD, "/metrics", &[], Body::empty()),
        )
        .await;
        assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
        let posted = post(service, "/metrics", "{}").await;
        assert_eq!(
            (posted.status, posted.json(), posted.header("allow")),
            (
                StatusCode::METHOD_NOT_ALLOWED,
                json!({"error": "Method Not Allowed"}),
                Some("GET,HEAD")
            )
        );
        assert!(get(service, "/").await.json().get("/metrics").is_some());
    }
}

#[tokio::test]
async fn process_metrics_have_fractions_and_no_zero_for_unlimited() {
    let shop = Measured::new();
    let seconds = |text: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix("process_cpu_seconds_total "))
            .unwrap()
            .to_owned()
    };
    let mut text = get(&shop.facing, "/metrics").await.text;
    // Whole seconds are possible, but rare.
    while !seconds(&text).contains('.') {
        text = get(&shop.facing, "/metrics").await.text;
    }
    assert!(
        text.contains("\n# TYPE process_cpu_seconds_total counter\n"),
        "{text}"
    );
    assert!(
        !text.contains("max_bytes 0\n") && !text.contains("max_fds 0\n"),
        "{text}"
    );
}

/// Sends requests of each kind that the metrics tell apart.
async fn send_requests_of_each_kind(shop: &Measured) {
    for user in 0..5 {
        get(&shop.facing, &format!("/getAllUserBuys/user-{user}")).await;
    }
    post(&shop.facing, "/buy", GOOD).await;
    post(&shop.facing, "/buy", "rubbish").await;
    get(&shop.facing, "/api/v1/getAllUserBuys/u1").await;
    for path in [
        "/nowhere",
        "/nowhere/else",
        "/api/nowhere",
        "/health",
        "/healthz",
    ] {
        get(&shop.facing, path).await;
    }
    let misbehaving = Method::from_bytes(b"MADEUP").unwrap();
    send(
        &shop.facing,
        request(misbehaving, "/buy", &[], Body::empty()),
    )
    .await;
    shop.faults
        .once(Call::Publish, Fault::Delay(Duration::from_secs(2)));
    post(&shop.facing, "/buy", GOOD).await;
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_template_method_and_status() {
    let shop = Measured::new();
    send_requests_of_each_kind(&shop).await;

    let figures = metrics(&shop.facing).await;
    assert_all(
        &figures,
        &[
            (
                r#"http_requests_total{method="GET",route="/getAllUserBuys/{who}",status="200"}"#,
                5.0,
            ),
            (
                r#"http_requests_total{method="POST",route="/buy",status="201"}"#,
                2.0,
            ),
            (
                r#"http_requests_total{method="POST",route="/buy",status="400"}"#,
                1.0,
            ),
            (
                r#"http_requests_total{method="OTHER",route="/buy",status="405"}"#,
                1.0,
            ),
            (
                r#"http_requests_total{method="GET",route="/api/v1/getAllUserBuys/{who}",status="200"}"#,
                1.0,
            ),
            (
                r#"http_requests_total{method="GET",route="unmatched",status="404"}"#,
                3.0,
            ),
            (
                r#"http_requests_total{method="GET",route="/healthz",status="200"}"#,
                1.0,
            ),
            (
                r#"http_request_duration_seconds_count{method="POST",route="/buy"}"#,
                3.0,
            ),
            (
                r#"http_request_duration_seconds_sum{method="POST",route="/buy"}"#,
                2.0,
            ),
            (
                r#"http_request_duration_seconds_bucket{method="POST",route="/buy",le="0.0001"}"#,
                2.0,
            ),
            (
                r#"http_request_duration_seconds_bucket{method="POST",route="/buy",le="1"}"#,
                2.0,
            ),
            (
                r#"http_request_duration_seconds_bucket{method="POST",route="/buy",le="2.5"}"#,
                3.0,
            ),
            (
                r#"flask_http_request_total{method="GET",status="200"}"#,
                8.0,
            ),
            (
                r#"flask_http_request_exceptions_total{method="POST",status="500"}"#,
                0.0,
            ),
            ("http_requests_in_flight", 0.0),
        ],
    );
    for never in [
        "user-1",
        "u1",
        "nowhere",
        "MADEUP",
        r#"route="/health""#,
        r#"="/metrics""#,
    ] {
        assert!(
            !figures.text.contains(never),
            "{never} in:\n{}",
            figures.text
        );
    }
    let others = metrics(&shop.management).await;
    assert!(
        !others.text.contains("http_requests_total{"),
        "each service has separate metrics"
    );
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_response_is_read() {
    let shop = Measured::new();
    shop.store
        .insert((0..2_000).map(|number| purchase("u1", number)).collect())
        .await
        .unwrap();
    let listing = request(Method::GET, "/getAllUserBuys/u1", &[], Body::empty());
    let response = shop.facing.clone().oneshot(listing).await.unwrap();
    assert_all(
        &metrics(&shop.facing).await,
        &[("http_requests_in_flight", 1.0)],
    );
    drop(response);
    let series = r#"http_requests_total{method="GET",route="/getAllUserBuys/{who}",status="200"}"#;
    assert_all(
        &metrics(&shop.facing).await,
        &[("http_requests_in_flight", 0.0), (series, 1.0)],
    );
    // A client that disconnects before the response.
    shop.faults
        .always(Call::Publish, Fault::Delay(Duration::from_secs(60)));
    let buy = request(Method::POST, "/buy", &[JSON], GOOD);
    let mut call = Box::pin(shop.facing.clone().oneshot(buy));
    assert!((&mut call).now_or_never().is_none());
    assert_all(
        &metrics(&shop.facing).await,
        &[("http_requests_in_flight", 1.0)],
    );
    drop(call);
    let figures = metrics(&shop.facing).await;
    // The attempt continues: it is counted when it has ended.
    assert_all(
        &figures,
        &[
            ("http_requests_in_flight", 0.0),
            (r#"shop_publish_total{outcome="unknown"}"#, 0.0),
        ],
    );
    assert!(
        !figures.text.contains(r#"route="/buy""#),
        "no response was sent"
    );
}

#[tokio::test(start_paused = true)]
async fn attempts_to_publish_are_counted_by_outcome() {
    let shop = Measured::new();
    let zeros = metrics(&shop.facing).await;
    assert_all(
        &zeros,
        &[
            ("kafka_producer_messages_total", 0.0),
            (r#"shop_publish_total{outcome="acknowledged"}"#, 0.0),
        ],
    );
    shop.faults.once(Call::Publish, Fault::unavailable());
    shop.faults.once(Call::Publish, Fault::LoseAnswer);
    shop.faults
        .once(Call::Publish, Fault::Delay(Duration::from_secs(60)));
    for _ in 0..5 {
        post(&shop.facing, "/buy", GOOD).await;
    }
    post(&shop.facing, "/buy", r#"{"username":"ada"}"#).await;
    assert_all(
        &metrics(&shop.facing).await,
        &[
            ("kafka_producer_messages_total", 2.0),
            (r#"shop_publish_total{outcome="acknowledged"}"#, 2.0),
            (r#"shop_publish_total{outcome="not_sent"}"#, 1.0),
            (r#"shop_publish_total{outcome="unknown"}"#, 2.0),
            ("shop_publish_duration_seconds_count", 5.0),
            // The publish timeout.
            ("shop_publish_duration_seconds_sum", 5.0),
        ],
    );
    post(&shop.management, "/purchases", GOOD).await;
    let figures = metrics(&shop.management).await;
    assert_all(
        &figures,
        &[(r#"shop_publish_total{outcome="acknowledged"}"#, 1.0)],
    );
    assert!(
        !figures.text.contains("kafka_producer_messages_total"),
        "management writes directly"
    );
}

#[tokio::test(start_paused = true)]
async fn ingest_is_counted_by_outcome() {
    let mut shop = Measured::new();
    let mut conflicting = purchase("u1", 1);
    conflicting.price = "7".parse().unwrap();
    for published in [
        purchase("u1", 1),
        purchase("u1", 2),
        purchase("u1", 2),
        conflicting,
    ] {
        shop.log.sink().publish(&published).await.unwrap();
    }
    let poison =
        LogRecord::new(0, Timestamp::MIN, Some("poison".into())).with_key(Some("u1".into()));
    let place = shop.log.append(poison);
    let lag = format!(
        r#"kafka_consumer_group_lag{{topic="purchases",group="purchase-group",partition="{}"}}"#,
        place.partition
    );
    assert_all(
        &metrics(&shop.management).await,
        &[
            (r#"kafka_messages_processed_total{status="success"}"#, 0.0),
            (r#"kafka_messages_processed_total{status="error"}"#, 0.0),
            ("kafka_message_processing_seconds_count", 0.0),
            (r#"shop_dead_letters_total{reason="refused"}"#, 0.0),
            (r#"shop_ingest_phase{phase="idle"}"#, 1.0),
            (r#"shop_dependency_up{part="ingest"}"#, 0.0),
            (&lag, 5.0),
        ],
    );
    shop.faults
        .once(Call::Insert, Fault::Delay(Duration::from_secs(2)));
    let monitor = shop.start();
    monitor.wait_for(|status| status.in_flight == 1).await;
    let figures = metrics(&shop.management).await;
    assert_all(
        &figures,
        &[
            ("kafka_messages_in_queue", 5.0),
            ("shop_ingest_in_flight_batches", 1.0),
        ],
    );
    assert!(value(&figures, "shop_ingest_in_flight_bytes").unwrap() > 250.0);
    monitor
        .wait_for(|status| status.counters.inserted > 0)
        .await;
    while monitor.lag().await.unwrap().total() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_all(
        &metrics(&shop.management).await,
        &[
            (r#"kafka_messages_processed_total{status="success"}"#, 3.0),
            (r#"kafka_messages_processed_total{status="error"}"#, 2.0),
            (r#"shop_ingest_records_total{outcome="inserted"}"#, 2.0),
            (r#"shop_ingest_records_total{outcome="duplicate"}"#, 1.0),
            (r#"shop_ingest_records_total{outcome="dead_lettered"}"#, 2.0),
            (r#"shop_dead_letters_total{reason="undecodable"}"#, 1.0),
            (r#"shop_dead_letters_total{reason="conflict"}"#, 1.0),
            ("kafka_message_processing_seconds_count", 1.0),
            ("kafka_message_processing_seconds_sum", 2.0),
            ("shop_ingest_batch_records_count", 1.0),
            ("shop_ingest_batch_records_sum", 5.0),
            ("shop_ingest_batch_bytes_count", 1.0),
            // The timestamps of the purchases are at the start of 2026, those of the log now.
            ("shop_ingest_freshness_seconds_count", 1.0),
            (r#"shop_ingest_freshness_seconds_bucket{le="86400"}"#, 1.0),
            ("kafka_messages_in_queue", 0.0),
            ("shop_ingest_in_flight_batches", 0.0),
            ("shop_ingest_in_flight_bytes", 0.0),
            (r#"shop_ingest_phase{phase="idle"}"#, 0.0),
            (r#"shop_ingest_phase{phase="running"}"#, 1.0),
            (r#"shop_dependency_up{part="ingest"}"#, 1.0),
            (&lag, 0.0),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn ingest_errors_are_counted_while_it_retries() {
    let mut shop = Measured::new();
    let waiting = r#"shop_ingest_waiting_seconds{part="store"}"#;
    let retries = r#"shop_ingest_retries_total{part="store"}"#;
    assert_all(
        &metrics(&shop.management).await,
        &[(waiting, 0.0), (retries, 0.0)],
    );
    shop.faults.always(Call::Insert, Fault::unavailable());
    post(&shop.facing, "/buy", GOOD).await;
    let monitor = shop.start();
    monitor
        .wait_for(|status| status.retries.values().sum::<u64>() == 3)
        .await;
    let figures = metrics(&shop.management).await;
    assert_all(
        &figures,
        &[
            (retries, 3.0),
            (r#"shop_ingest_retries_total{part="source"}"#, 0.0),
        ],
    );
    assert!(value(&figures, waiting).unwrap() > 0.0);
    shop.faults.clear(Call::Insert);
    monitor
        .wait_for(|status| status.counters.inserted == 1)
        .await;
    assert_all(
        &metrics(&shop.management).await,
        &[(waiting, 0.0), (retries, 3.0)],
    );
}

#[tokio::test(start_paused = true)]
async fn lag_counts_only_partitions_of_this_process() {
    let mut shop = Measured::new();
    for number in 0..50 {
        shop.log
            .sink()
            .publish(&purchase(&format!("u{number}"), number))
            .await
            .unwrap();
    }
    let lag = |response: &TestResponse| {
        let lines = response
            .text
            .lines()
            .filter(|line| line.starts_with("kafka_consumer_group_lag{"));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum::<f64>()
    };
    let all = metrics(&shop.management).await;
    assert!((lag(&all) - 50.0).abs() < 0.1, "{}", all.text);
    // The store is unavailable, so that nothing is committed, and another member gets its share.
    shop.faults.always(Call::Insert, Fault::unavailable());
    let monitor = shop.start();
    monitor.wait_for(|status| status.in_flight > 0).await;
    let other = Ingest::new(
        Arc::new(shop.log.source("purchase-group")),
        shop.faults.store(Arc::new(shop.store.clone())),
        Arc::new(shop.log.dead_letters()),
        IngestOptions::default(),
    );
    let others = other.monitor();
    tokio::spawn(other.run(std::future::pending()));
    others.wait_for(|status| status.in_flight > 0).await;
    let ours = lag(&metrics(&shop.management).await);
    #[expect(clippy::cast_precision_loss, reason = "it is a small number")]
    let theirs = others.lag().await.unwrap().total() as f64;
    assert!(
        theirs > 0.0 && (ours + theirs - 50.0).abs() < 0.1,
        "{ours} and {theirs}"
    );
}
