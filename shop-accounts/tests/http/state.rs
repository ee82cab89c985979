//! The events of users and orders in metrics, and in the document of the API.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Method;
use shop_accounts::http::Accounts;
use shop_accounts::orders::Order;
use shop_accounts::outbox::Outbox as _;
use shop_accounts::users::User;
use shop_core::Timestamp;
use shop_core::conformance::fault::{Call, Fault, Faults};
use shop_core::log::LogRecord;
use shop_core::memory::{InMemoryLog, InMemoryLogOptions};
use shop_core::record::Event;
use shop_http::{HttpOptions, Parts, ServiceKind, routes};

use crate::entities::{Entities, management};
use crate::shop::{JSON, get, post, request, send};

const ADA: &str = r#"{"email":"ada@example.com","name":"Ada"}"#;
const PEN: &str = r#"{"user_id":1,"product":"pen","quantity":2,"total_price":50}"#;

/// Waits until the condition holds.
async fn wait_until(mut holds: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), polling).await;
    assert!(waited.is_ok(), "the condition does not hold after 20 s");
}

/// Both roles with the log of users, and management on them. The faults are those of the logs.
fn with_logs() -> (Entities, InMemoryLog, Router, Faults) {
    let log = |topic: &str| {
        let mut options = InMemoryLogOptions::default();
        topic.clone_into(&mut options.topic);
        InMemoryLog::new(options)
    };
    let users = log(User::TOPIC);
    let faults = Faults::new();
    let sink = |log: &InMemoryLog| faults.writer(Arc::new(log.clone()));
    let entities = Entities::over(&users, &log(Order::TOPIC), sink);
    let router = management(entities.accounts(), HttpOptions::default());
    (entities, users, router, faults)
}

/// The value of a series in the metrics.
async fn figure(router: &Router, series: &str) -> f64 {
    let text = get(router, "/metrics").await.text;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("{series} in:\n{text}"));
    value.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn pending_and_ingested_events_are_counted() {
    let (mut entities, users, router, faults) = with_logs();
    let outbox = async |series: &str| {
        figure(&router, &format!("shop_outbox_{series}{{role=\"users\"}}")).await
    };
    let ingested = async |outcome: &str| {
        let labels = format!(r#"topic="user_created",outcome="{outcome}""#);
        figure(&router, &format!("shop_event_records_total{{{labels}}}")).await
    };
    let lag = r#"kafka_consumer_group_lag{topic="user_created",group="order_service_group",partition="0"}"#;
    assert!(outbox("pending").await < 0.5, "exposed from the start");
    let poison = LogRecord::new(0, Timestamp::MIN, Some("poison".into()));
    let _position = users.append(poison);
    wait_until(async || figure(&router, lag).await > 0.5).await;

    faults.always(Call::Append, Fault::unavailable());
    entities.start();
    wait_until(async || ingested("dead_lettered").await > 0.5).await;
    wait_until(async || figure(&router, lag).await < 0.5).await;
    assert_eq!(post(&router, "/users", ADA).await.status, 201);
    wait_until(async || outbox("pending").await > 0.5).await;
    let response = post(&router, "/orders", PEN).await;
    assert_eq!(response.status, 404, "the user's event is not published");
    // The age is measured by the system clock.
    wait_until(async || outbox("oldest_seconds").await > 0.0).await;
    assert!(outbox("published_total").await < 0.5);

    faults.clear(Call::Append);
    wait_until(async || ingested("inserted").await > 0.5).await;
    wait_until(async || post(&router, "/orders", PEN).await.status == 201).await;
    wait_until(async || outbox("published_total").await > 0.5).await;
    wait_until(async || outbox("pending").await < 0.5).await;
    assert!(outbox("oldest_seconds").await < f64::EPSILON);
    for part in ["source", "store", "dead_letters", "commit"] {
        let labels = format!(r#"topic="order_created",part="{part}""#);
        let waiting = format!("shop_event_waiting_seconds{{{labels}}}");
        assert!(figure(&router, &waiting).await < f64::EPSILON);
    }
    let health = get(&router, "/health").await.json();
    assert_eq!(health["orders"]["events"]["dead_lettered"], 1);
    let text = get(&router, "/metrics").await.text;
    let has_purchases = text.contains("\nshop_ingest_records_total{");
    assert!(!has_purchases, "only purchases have these series: {text}");
}

#[tokio::test]
async fn an_event_has_the_request_id_of_its_request() {
    let entities = Entities::new();
    let router = management(entities.accounts(), HttpOptions::default());
    let trace = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
    let headers = [JSON, ("x-request-id", "r-1"), ("traceparent", trace)];
    let request = request(Method::POST, "/users", &headers, ADA);
    assert_eq!(send(&router, request).await.status, 201);
    let pending = entities.users.pending(2).await.unwrap();
    let headers = format!("{:?}", pending[0].record.headers);
    assert!(
        headers.contains("r-1") && headers.contains(trace),
        "{headers}"
    );
}

/// `scenarios/roles.http` has the paths of each role.
#[tokio::test]
async fn the_document_has_the_paths_of_the_roles() {
    let mut users = Entities::new().accounts();
    users.orders = None;
    let mut orders = Entities::new().accounts();
    orders.users = None;
    for (accounts, count) in [(Accounts::default(), 0), (users, 3), (orders, 2)] {
        let mut parts = Parts::new(ServiceKind::Management, None);
        parts.roles.push(Arc::new(accounts));
        let routes = routes(parts);
        let is_of_roles =
            |path: &&str| path.starts_with("/v1/users") || path.starts_with("/v1/orders");
        let served = routes.paths();
        let served: Vec<_> = served
            .iter()
            .map(String::as_str)
            .filter(is_of_roles)
            .collect();
        let document = get(&routes.build(), "/openapi.json").await.json();
        let paths = document["paths"].as_object().unwrap().keys();
        let documented: Vec<_> = paths.map(String::as_str).filter(is_of_roles).collect();
        assert_eq!(documented, served);
        assert_eq!(documented.len(), count);
    }
}
