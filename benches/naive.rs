//! The handler that one writes first: it parses a purchase, awaits rdkafka's producer, and echoes the purchase. It has no
//! ids, validation, metrics or log.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::echo::{self, Purchase};
use crate::scale::variable;

/// The producer, and its topic.
#[derive(Clone)]
struct Log {
    producer: FutureProducer,
    topic: String,
}

async fn buy(
    State(log): State<Log>,
    Json(purchase): Json<Purchase>,
) -> (StatusCode, Json<Purchase>) {
    let value = serde_json::to_vec(&purchase).unwrap();
    let record = FutureRecord::to(&log.topic)
        .key(&purchase.userid)
        .payload(&value);
    log.producer.send(record, Duration::ZERO).await.unwrap();
    (StatusCode::CREATED, Json(purchase))
}

/// Serves until the process ends. As durable as `facing`: librdkafka's default is `acks=all`.
///
/// # Errors
/// When it cannot listen.
pub(crate) async fn serve() -> std::io::Result<()> {
    let producer = ClientConfig::new()
        .set(
            "bootstrap.servers",
            variable("KAFKA_BOOTSTRAP_SERVERS").unwrap(),
        )
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .create()
        .unwrap();
    let log = Log {
        producer,
        topic: variable("KAFKA_TOPIC").unwrap(),
    };
    let router = Router::new()
        .route("/buy", post(buy))
        .route("/healthz", get(async || "ok"));
    echo::serve_router(router.with_state(log)).await
}
