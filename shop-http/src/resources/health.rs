//! How the service is: alive, ready, and what it is waiting for.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Map, Value, json};
use shop_core::ingest::{IngestMonitor, IngestStatus, Part, Phase};

use crate::account_role::Account;
use crate::dialect::Speaks;
use crate::json_answer::Json;
use crate::service::{Role, Service};

/// `GET /healthz`: the process lives. Looks at nothing else.
pub(crate) async fn alive_text() -> &'static str {
    "Success"
}

/// `GET /-/healthy`: the process lives. Looks at nothing else.
pub(crate) async fn alive() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// What the readiness of a service is made of.
struct Ports {
    /// Purchases can be taken into the log, or, on management, the loops that read it run.
    log: bool,
    /// The stores answer.
    store: bool,
}

impl Ports {
    async fn of(service: &Service) -> Self {
        match service.role {
            Role::Facing => Self { log: service.is_well(service.sink.check()).await, store: true },
            Role::Management => {
                let loops =
                    service.ingest.iter().chain(service.accounts().filter_map(|account| account.events));
                let log = loops.map(IngestMonitor::status).all(|status| runs(&status));
                let (writes, reads, accounts) = tokio::join!(
                    service.is_well(service.sink.check()),
                    service.is_well(service.query.check()),
                    join_all(service.accounts().map(|account| service.is_well(account.check)))
                );
                Self { log, store: writes && reads && !accounts.contains(&false) }
            }
        }
    }
}

/// Whether the loop reads, or waits for its turn or for an outage to be over.
fn runs(status: &IngestStatus) -> bool {
    matches!(status.phase, Phase::Running)
}

/// `GET /-/ready`: whether requests should be sent here.
pub(crate) async fn ready(State(service): State<Arc<Service>>) -> Response {
    let ports = Ports::of(&service).await;
    let word = |up: bool| if up { "up" } else { "down" };
    match (service.role, ports.log && ports.store) {
        (Role::Facing, true) => Json(json!({"status": "ready"})).into_response(),
        (Role::Facing, false) => unavailable(json!({"detail": "Kafka not connected"})),
        (Role::Management, true) => {
            Json(json!({"status": "ready", "mongo": "up", "kafka": "up"})).into_response()
        }
        (Role::Management, false) => {
            let detail = json!({"status": "not_ready", "mongo": word(ports.store), "kafka": word(ports.log)});
            unavailable(json!({"detail": detail}))
        }
    }
}

/// `GET /ready`: the same, in other words.
pub(crate) async fn ready_naked(State(service): State<Arc<Service>>) -> Response {
    let ports = Ports::of(&service).await;
    let is_ready = ports.log && ports.store;
    let status = if is_ready { "ready" } else { "not ready" };
    let mut body = json!({"status": status, "kafkaReady": ports.log});
    if service.role == Role::Management {
        body["mongoReady"] = ports.store.into();
    }
    if is_ready { Json(body).into_response() } else { unavailable(body) }
}

fn unavailable(body: Value) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

/// What `/health` says of the ingest that runs in this process.
#[derive(Serialize)]
struct IngestHealth {
    phase: &'static str,
    inserted: u64,
    duplicates: u64,
    dead_lettered: u64,
    in_flight: usize,
    /// The records behind the group's position in the partitions that this process reads, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    /// How old the oldest purchase of the last batch was when it was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    freshness_ms: Option<u64>,
    /// What it waits for, and what kind of trouble that is: not what a driver said of it.
    waiting_for: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_because: Option<String>,
}

impl IngestHealth {
    async fn of(service: &Service, ingest: &IngestMonitor) -> Self {
        let lag = service.in_time(ingest.lag()).await.ok().map(|lag| lag.total());
        Self::new(ingest.status(), lag)
    }

    fn new(status: IngestStatus, lag: Option<u64>) -> Self {
        Self {
            phase: status.phase.as_str(),
            inserted: status.tally.inserted,
            duplicates: status.tally.duplicates,
            dead_lettered: status.tally.dead_lettered,
            in_flight: status.in_flight,
            lag,
            freshness_ms: status.freshness.and_then(|age| u64::try_from(age.as_millis()).ok()),
            waiting_for: status
                .troubles
                .iter()
                .map(|(part, error)| (part.to_string(), kind_word(error)))
                .collect(),
            stopped_because: status.failure.map(|error| error.message().to_owned()),
        }
    }
}

/// The kind of a trouble: not what a driver said of it.
fn kind_word(error: &shop_core::Error) -> String {
    format!("{:?}", error.kind()).to_lowercase()
}

/// What `/health` says of users, or of orders, that are kept in this process.
#[derive(Serialize)]
struct AccountHealth {
    /// Whether their store answers.
    store: bool,
    /// How many events wait to be published, if that is known.
    outbox: Option<u64>,
    /// What kind of trouble keeps them there, if any does.
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox_waits_for: Option<String>,
    /// The ingest that brings in the other role's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<IngestHealth>,
}

impl AccountHealth {
    async fn of(service: &Service, account: Account<'_>) -> (String, Value) {
        let outbox = async {
            let backlog = service.in_time(account.relay?.backlog()).await.ok()?;
            Some(backlog.entries)
        };
        let events = async { Some(IngestHealth::of(service, account.events?).await) };
        let (store, outbox, events) = tokio::join!(service.is_well(account.check), outbox, events);
        let trouble = account.relay.and_then(|relay| relay.status().trouble);
        let outbox_waits_for = trouble.map(|error| kind_word(&error));
        let health = Self { store, outbox, outbox_waits_for, events };
        (account.name.to_owned(), serde_json::to_value(health).unwrap_or_default())
    }
}

/// `GET /health`: how the service is, for people and dashboards.
pub(crate) async fn health(State(service): State<Arc<Service>>, Speaks(dialect): Speaks) -> Response {
    let ports = Ports::of(&service).await;
    let mut body = Map::new();
    let mut code = StatusCode::OK;
    match service.role {
        Role::Facing => {
            body.insert("status".into(), dialect.health.well.into());
            body.insert("kafkaReady".into(), ports.log.into());
        }
        Role::Management => {
            let reads = |ingest: &IngestMonitor| !ingest.status().troubles.contains_key(&Part::Source);
            let reads = service
                .ingest
                .iter()
                .chain(service.accounts().filter_map(|account| account.events))
                .all(reads);
            body.insert("kafkaReady".into(), (ports.log && reads).into());
            body.insert("mongoReady".into(), ports.store.into());
            let mut word = dialect.health.well;
            if dialect.health.tells_of_the_store {
                let store = if ports.store { "connected" } else { "disconnected" };
                body.insert("mongodb".into(), store.into());
            }
            if dialect.health.tells_of_the_store && !ports.store {
                word = "unhealthy";
                code = StatusCode::INTERNAL_SERVER_ERROR;
            }
            body.insert("status".into(), word.into());
        }
    }
    if let Some(ingest) = &service.ingest {
        let health = IngestHealth::of(&service, ingest).await;
        body.insert("ingest".into(), serde_json::to_value(health).unwrap_or_default());
    }
    body.extend(join_all(service.own_accounts().map(|account| AccountHealth::of(&service, account))).await);
    (code, Json(Value::Object(body))).into_response()
}
