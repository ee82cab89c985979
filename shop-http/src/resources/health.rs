//! How the service is: alive, ready, and what it is waiting for.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use shop_core::ingest::{Component, IngestMonitor, IngestStatus, Phase, StuckRecord};

use crate::dialect::RequestDialect;
use crate::response::Json;
use crate::service::parts::LocalPorts;
use crate::service::{Entity, Service, check_with_timeout, is_healthy};
use crate::service_kind::ServiceKind;

/// What `/health` says when something needs an operator.
pub(crate) const DEGRADED: &str = "degraded";
/// Why `/-/ready` of facing is 503.
pub(crate) const KAFKA_UNAVAILABLE: &str = "Kafka not connected";
pub(crate) const LOG_UNAVAILABLE: &str = "The log is not writable";
pub(crate) const INGEST_STOPPED: &str = "Ingest has stopped";

/// `GET /healthz`: the process lives. Looks at nothing else.
pub(crate) async fn alive_text() -> &'static str {
    "Success"
}

/// `GET /livez` and `GET /-/healthy`: the process lives. Looks at nothing else.
pub(crate) async fn alive() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// `GET /readyz`: whether this process can answer anything: its own files are usable. A broker or a store that is
/// unavailable does not count: what needs neither is still answered, and `/health` reports the rest.
pub(crate) async fn ready_to_answer(State(service): State<Arc<Service>>) -> Response {
    let LocalPorts { log, store } = service.local();
    // The sink of management is its store.
    let sink = if service.kind == ServiceKind::Facing { log } else { store };
    let entities = service.entities().filter(|entity| entity.is_local);
    let (sink, query, entities) = tokio::join!(
        async { !sink || sink_is_healthy(&service).await },
        async { !store || query_is_healthy(&service).await },
        join_all(entities.map(|entity| is_healthy(entity.check)))
    );
    if sink && query && !entities.contains(&false) {
        Json(json!({"status": "ready"})).into_response()
    } else {
        unavailable(json!({"status": "not ready"}))
    }
}

/// What the readiness of a service is made of.
struct Ports {
    /// Purchases can be taken into the log, or, on management, the loops that read it run.
    log: bool,
    /// The stores answer.
    store: bool,
    /// No ingest of this process has stopped.
    ingest: bool,
}

impl Ports {
    const fn are_ready(&self) -> bool {
        self.log && self.store && self.ingest
    }

    async fn check(service: &Service) -> Self {
        let ingest = service.ingests().all(|ingest| ingest.status().phase != Phase::Stopped);
        match service.kind {
            ServiceKind::Facing => Self { log: sink_is_healthy(service).await, store: true, ingest },
            ServiceKind::Management => {
                let log = service.ingests().map(IngestMonitor::status).all(|status| runs(&status));
                let (writes, reads, entities) = tokio::join!(
                    sink_is_healthy(service),
                    query_is_healthy(service),
                    join_all(service.entities().map(|entity| is_healthy(entity.check)))
                );
                Self { log, store: writes && reads && !entities.contains(&false), ingest }
            }
        }
    }
}

/// Whether purchases can be written, if there are any here.
async fn sink_is_healthy(service: &Service) -> bool {
    let Some(purchases) = &service.purchases else { return true };
    is_healthy(purchases.sink.check()).await
}

/// Whether purchases can be read, if there are any here.
async fn query_is_healthy(service: &Service) -> bool {
    let Some(purchases) = &service.purchases else { return true };
    is_healthy(purchases.query.check_reads()).await
}

/// Whether the loop reads, or waits for its turn or for an outage to be over.
fn runs(status: &IngestStatus) -> bool {
    matches!(status.phase, Phase::Running)
}

/// `GET /-/ready`: whether requests should be sent here.
pub(crate) async fn ready(State(service): State<Arc<Service>>) -> Response {
    let ports = Ports::check(&service).await;
    let word = |up: bool| if up { "up" } else { "down" };
    match (service.kind, ports.are_ready()) {
        (ServiceKind::Facing, true) => Json(json!({"status": "ready"})).into_response(),
        (ServiceKind::Facing, false) => unavailable(json!({"detail": why_not_ready(&service, &ports)})),
        (ServiceKind::Management, true) => {
            Json(json!({"status": "ready", "mongo": "up", "kafka": "up"})).into_response()
        }
        (ServiceKind::Management, false) => {
            let detail = json!({"status": "not_ready", "mongo": word(ports.store), "kafka": word(ports.log)});
            unavailable(json!({"detail": detail}))
        }
    }
}

/// Why facing is not ready. The text about Kafka is the one that 004 documents.
fn why_not_ready(service: &Service, ports: &Ports) -> &'static str {
    match ports {
        Ports { log: true, .. } => INGEST_STOPPED,
        _ if service.local().log => LOG_UNAVAILABLE,
        _ => KAFKA_UNAVAILABLE,
    }
}

/// `GET /ready`: the same, in other words.
pub(crate) async fn legacy_ready(State(service): State<Arc<Service>>) -> Response {
    let ports = Ports::check(&service).await;
    let is_ready = ports.are_ready();
    let status = if is_ready { "ready" } else { "not ready" };
    let mut body = json!({"status": status, "kafkaReady": ports.log});
    if service.kind == ServiceKind::Management {
        body["mongoReady"] = ports.store.into();
    }
    if is_ready { Json(body).into_response() } else { unavailable(body) }
}

fn unavailable(body: Value) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

/// What `/health` says of an ingest of this process, which reads the topics that `is_its` holds for.
async fn ingest_health(service: &Service, ingest: &IngestMonitor, is_its: impl Fn(&str) -> bool) -> Value {
    let lag = check_with_timeout(ingest.lag()).await.ok().map(|lag| lag.total());
    let IngestStatus {
        phase,
        counters: tally,
        in_flight,
        freshness,
        errors: troubles,
        stuck,
        fatal_error: failure,
        ..
    } = ingest.status();
    let waiting_for = troubles.iter().map(|(part, error)| (part.to_string(), kind_word(error)));
    known(json!({
        "phase": phase.as_str(),
        "inserted": tally.inserted,
        "duplicates": tally.duplicates,
        "dead_lettered": tally.dead_lettered,
        // The unresolved dead letters in its log, of every process, if they were counted.
        "dead_letters_waiting": service.metrics.dead_letters_waiting(is_its),
        "in_flight": in_flight,
        // The records behind the group's position in the partitions that this process reads, if that is known.
        "lag": lag,
        // How old the oldest purchase of the last batch was when it was stored.
        "freshness_ms": freshness.and_then(|age| u64::try_from(age.as_millis()).ok()),
        // What it waits for, and what kind of trouble that is: not what a driver said of it.
        "waiting_for": waiting_for.collect::<BTreeMap<_, _>>(),
        // The oldest record that the store does not take while others go on.
        "stuck": stuck.map(stuck_health),
        "stopped_because": failure.map(|error| error.message().to_owned()),
    }))
}

/// What `/health` says of a record that the store does not take.
fn stuck_health(stuck: StuckRecord) -> Value {
    let StuckRecord { topic, partition, offset, id, since, error, .. } = stuck;
    known(json!({
        "topic": &*topic,
        "partition": partition,
        "offset": offset,
        "id": id,
        // Since it was read.
        "age_seconds": since.elapsed().as_secs(),
        "error": kind_word(&error),
    }))
}

/// `body` without those of its members that are not known.
fn known(mut body: Value) -> Value {
    if let Some(members) = body.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    body
}

/// The kind of a trouble: not what a driver said of it.
fn kind_word(error: &shop_core::Error) -> String {
    format!("{:?}", error.kind()).to_lowercase()
}

/// The name of users, or of orders, that are kept in this process, and what `/health` says of them.
async fn entity_health(service: &Service, entity: Entity<'_>) -> (String, Value) {
    let outbox = async {
        let backlog = check_with_timeout(entity.relay?.backlog()).await.ok()?;
        Some(backlog.entries)
    };
    let events = async {
        Some(ingest_health(service, entity.ingest?, |topic| topic == entity.subscribed_topic).await)
    };
    let (store, outbox, events) = tokio::join!(is_healthy(entity.check), outbox, events);
    let trouble = entity.relay.and_then(|relay| relay.status().last_error);
    // Whether their store answers, what kind of trouble keeps events in the outbox, and the ingest of the other role's.
    let mut health = known(json!({
        "store": store,
        "outbox_waits_for": trouble.map(|error| kind_word(&error)),
        "events": events,
    }));
    // How many events wait to be published; `null` where that is not known.
    health["outbox"] = json!(outbox);
    (entity.name.to_owned(), health)
}

/// `GET /health`: how the service is, for people and dashboards. All parts are asked at the same time.
pub(crate) async fn health(
    State(service): State<Arc<Service>>,
    RequestDialect(dialect): RequestDialect,
) -> Response {
    let events: Vec<_> = service.entities().map(|entity| entity.subscribed_topic.to_owned()).collect();
    let is_of_purchases = |topic: &str| !events.iter().any(|other| other == topic);
    let ingest = async { Some(ingest_health(&service, service.ingest()?, is_of_purchases).await) };
    let entities = join_all(service.own_entities().map(|entity| entity_health(&service, entity)));
    let (ports, ingest, entities) = tokio::join!(Ports::check(&service), ingest, entities);
    let mut body = Map::new();
    let mut code = StatusCode::OK;
    let mut word = if service.ingests().any(is_degraded) { DEGRADED } else { dialect.health.healthy };
    match service.kind {
        ServiceKind::Facing => {
            body.insert("status".into(), word.into());
            body.insert("kafkaReady".into(), ports.log.into());
        }
        ServiceKind::Management => {
            let reads = |ingest: &IngestMonitor| !ingest.status().errors.contains_key(&Component::Source);
            body.insert("kafkaReady".into(), (ports.log && service.ingests().all(reads)).into());
            body.insert("mongoReady".into(), ports.store.into());
            if dialect.health.reports_store {
                let store = if ports.store { "connected" } else { "disconnected" };
                body.insert("mongodb".into(), store.into());
            }
            if dialect.health.reports_store && !ports.store {
                word = "unhealthy";
                code = StatusCode::INTERNAL_SERVER_ERROR;
            }
            body.insert("status".into(), word.into());
        }
    }
    body.extend(ingest.map(|ingest| ("ingest".to_owned(), ingest)));
    body.extend(entities);
    (code, Json(Value::Object(body))).into_response()
}

/// Whether an ingest needs an operator: it does not continue by itself.
fn is_degraded(ingest: &IngestMonitor) -> bool {
    let status = ingest.status();
    status.phase == Phase::Stopped || status.stuck.is_some()
}
