//! Users and orders: readiness, health and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::Router;
use serde_json::json;
use shop_accounts::orders::Order;
use shop_accounts::users::User;
use shop_core::log::{LogRecord, LogWriter};
use shop_core::memory::{InMemoryLog, InMemoryLogOptions};
use shop_core::record::Event;
use shop_core::{Error, ErrorKind, Outcome, Result, Timestamp};
use shop_http::HttpOptions;

use crate::entities::Entities;
use crate::outages::Misbehaving;
use crate::shop::{get, post};
use crate::{ADA, PEN, value, wait_until};

/// A log that rejects records while it is switched off.
#[derive(Debug)]
struct SwitchableLog(InMemoryLog, Arc<AtomicBool>);

#[async_trait]
impl LogWriter for SwitchableLog {
    async fn append(&self, record: LogRecord) -> Result<()> {
        LogWriter::check(self).await?;
        LogWriter::append(&self.0, record).await
    }

    async fn check(&self) -> Result<()> {
        if self.1.load(Ordering::SeqCst) {
            return Err(
                Error::new(ErrorKind::Unavailable, "away").with_outcome(Outcome::NotApplied)
            );
        }
        Ok(())
    }
}

/// Both roles, their logs, and a switch that makes the logs unavailable.
fn with_logs() -> (Entities, InMemoryLog, InMemoryLog, Arc<AtomicBool>) {
    let log = |topic: &str| {
        let mut options = InMemoryLogOptions::default();
        topic.clone_into(&mut options.topic);
        InMemoryLog::new(options)
    };
    let users = log(User::TOPIC);
    let orders = log(Order::TOPIC);
    let away = Arc::new(AtomicBool::new(false));
    let sink = |log: &InMemoryLog| {
        Arc::new(SwitchableLog(log.clone(), Arc::clone(&away))) as Arc<dyn LogWriter>
    };
    (Entities::over(&users, &orders, sink), users, orders, away)
}

async fn figure(router: &Router, series: &str) -> f64 {
    let response = get(router, "/metrics").await;
    value(&response, series).unwrap_or_else(|| panic!("{series} in:\n{}", response.text))
}

#[tokio::test(start_paused = true)]
async fn a_role_is_ready_when_its_events_run() {
    let mut entities = Entities::new();
    let router = entities.management(HttpOptions::default());
    let detail = json!({"status": "not_ready", "mongo": "up", "kafka": "down"});
    get(&router, "/-/ready")
        .await
        .is(503, &json!({"detail": detail}));
    assert_eq!(get(&router, "/ready").await.status, 503);
    let facing = entities.facing(HttpOptions::default());
    get(&facing, "/-/ready")
        .await
        .is(200, &json!({"status": "ready"}));
    let parts = json!({"log": true, "listings": true, "users": true, "orders": true});
    let health = json!({"status": "healthy", "kafkaReady": true, "parts": parts});
    get(&facing, "/health").await.is(200, &health);
    entities.start();
    wait_until(async || get(&router, "/-/ready").await.status == 200).await;
    let events = get(&router, "/health").await.json()["orders"]["events"].clone();
    assert_eq!(
        (&events["phase"], &events["waiting_for"]),
        (&json!("running"), &json!({}))
    );
}

#[tokio::test(start_paused = true)]
async fn a_role_is_not_ready_without_its_store() {
    for misbehaving in [
        Misbehaving::Fails(ErrorKind::Unavailable, Outcome::NotApplied),
        Misbehaving::Panics,
        Misbehaving::NeverAnswers,
    ] {
        let router = misbehaving.management();
        let detail = json!({"status": "not_ready", "mongo": "down", "kafka": "up"});
        get(&router, "/-/ready")
            .await
            .is(503, &json!({"detail": detail}));
        let role = json!({"store": false, "outbox": null});
        let health = json!({"status": "degraded", "kafkaReady": true,
            "parts": {"users": false, "orders": false}, "users": role, "orders": role});
        get(&router, "/health").await.is(200, &health);
        assert_eq!(get(&router, "/healthz").await.status, 200, "still live");
    }
}

#[tokio::test(start_paused = true)]
async fn pending_events_are_counted() {
    let (mut entities, _users, _orders, away) = with_logs();
    let router = entities.management(HttpOptions::default());
    let pending = async |role: &str| {
        figure(&router, &format!("shop_outbox_pending{{role=\"{role}\"}}")).await
    };
    let published = async |role: &str| {
        figure(
            &router,
            &format!("shop_outbox_published_total{{role=\"{role}\"}}"),
        )
        .await
    };
    assert!(
        pending("users").await < 0.5 && pending("orders").await < 0.5,
        "exposed from the start"
    );
    away.store(true, Ordering::SeqCst);
    entities.start();
    assert_eq!(post(&router, "/users", ADA).await.status, 201);
    wait_until(async || pending("users").await > 0.5).await;
    assert_eq!(get(&router, "/health").await.json()["users"]["outbox"], 1);
    assert_eq!(
        post(&router, "/orders", PEN).await.status,
        404,
        "the user's event is not published"
    );
    // The age is measured by the system clock.
    wait_until(async || figure(&router, r#"shop_outbox_oldest_seconds{role="users"}"#).await > 0.0)
        .await;
    assert!(published("users").await < 0.5);

    away.store(false, Ordering::SeqCst);
    wait_until(async || post(&router, "/orders", PEN).await.status == 201).await;
    wait_until(async || published("users").await > 0.5 && published("orders").await > 0.5).await;
    wait_until(async || pending("users").await < 0.5 && pending("orders").await < 0.5).await;
    let heard = r#"shop_event_records_total{topic="user_created",outcome="inserted"}"#;
    wait_until(async || figure(&router, heard).await > 0.5).await;
    assert!(figure(&router, r#"shop_outbox_oldest_seconds{role="users"}"#).await < f64::EPSILON);
    assert_eq!(get(&router, "/health").await.json()["users"]["outbox"], 0);
}

#[tokio::test(start_paused = true)]
async fn ingested_events_are_counted_by_topic() {
    let (mut entities, users, _orders, _away) = with_logs();
    let router = entities.management(HttpOptions::default());
    drop(users.append(LogRecord::new(0, Timestamp::MIN, Some("poison".into()))));
    let lag = r#"kafka_consumer_group_lag{topic="user_created",group="order_service_group",partition="0"}"#;
    wait_until(async || figure(&router, lag).await > 0.5).await;
    entities.start();
    let aside = r#"shop_event_records_total{topic="user_created",outcome="dead_lettered"}"#;
    wait_until(async || figure(&router, aside).await > 0.5).await;
    wait_until(async || figure(&router, lag).await < 0.5).await;
    for part in ["source", "store", "dead_letters", "commit"] {
        let waiting =
            format!(r#"shop_event_waiting_seconds{{topic="order_created",part="{part}"}}"#);
        assert!(figure(&router, &waiting).await < f64::EPSILON);
    }
    assert_eq!(
        get(&router, "/health").await.json()["orders"]["events"]["dead_lettered"],
        1
    );
    let text = get(&router, "/metrics").await.text;
    assert!(
        !text.contains("\nshop_ingest_records_total{"),
        "only purchases have these series: {text}"
    );
}
