//! Liveness, readiness and the state of the service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::future::{OptionFuture, join_all};
use serde_json::{Value, json};
use shop_core::ErrorKind;
use shop_core::api::StuckBody;
use shop_core::ingest::{Component, IngestMonitor, IngestStatus, Phase};
use shop_core::log::Lag;
use shop_core::ports::PurchaseSink as _;
use shop_core::shop::LocalPorts;

use crate::auth::Caller;
use crate::compat::RequestDialect;
use crate::metrics::phase_word;
use crate::refreshed::Freshness;
use crate::routes::groups::Listener;
use crate::service::{OtherRole, Service, ServiceKind, check_with_timeout, is_healthy};

/// The query of `/health` for all members, in the dialect that has few.
const DETAILS: &str = "details=true";
/// The query of `/health` for the last hour.
const HISTORY: &str = "history=true";
/// How long another producer's transaction may be open, like the default `transaction.timeout.ms` of producers.
const MAX_TRANSACTION_SECONDS: u64 = 60;
/// After this time of failing inserts without a success, the store of an ingest does not count as ready.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// The maximum number of gaps in `/health`.
const MAX_GAPS: usize = 10;

/// `GET /healthz`: the process is alive. Checks nothing else.
pub(crate) async fn alive_text() -> &'static str {
    "Success"
}

/// `GET /livez` and `GET /-/healthy`: the process is alive. Checks nothing else.
pub(crate) async fn alive() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// `GET /readyz`: whether this process can serve requests: its own files are usable. An unavailable broker or store
/// does not count: requests that need neither still work, and `/health` reports the rest.
pub(crate) async fn ready_to_answer(State(service): State<Arc<Service>>) -> Response {
    let LocalPorts { log, store, .. } = service.local();
    // The sink of management is its store.
    let sink = if service.kind == ServiceKind::Facing {
        log
    } else {
        store
    };
    let is_ready = Checks::of(&service, [sink, store], |role| role.is_local)
        .await
        .all_respond();
    probed(
        is_ready,
        json!({"status": if is_ready { "ready" } else { "not ready" }}),
    )
}

/// The response of a probe.
fn probed(is_ready: bool, body: Value) -> Response {
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body)).into_response()
}

/// Which ports of a service respond. Those that it does not have, or that were not asked, count as responding.
pub(crate) struct Checks<'a> {
    service: &'a Service,
    writes: bool,
    reads: bool,
    /// The other roles, in the order of [`Service::other_roles`].
    others: Vec<bool>,
}

impl<'a> Checks<'a> {
    /// Checks all ports concurrently.
    pub(crate) async fn all(service: &'a Service) -> Self {
        Self::of(service, [true, true], |_| true).await
    }

    /// Checks what readiness depends on. Facing accepts purchases while listings are unavailable.
    async fn of_readiness(service: &'a Service) -> Self {
        let is_management = service.kind == ServiceKind::Management;
        Self::of(service, [true, is_management], |_| is_management).await
    }

    /// Checks writes, reads and the other roles, as far as they are selected.
    async fn of(
        service: &'a Service,
        [writes, reads]: [bool; 2],
        selects: impl Fn(&OtherRole<'_>) -> bool,
    ) -> Self {
        let purchases = |is_selected| service.purchases.as_ref().filter(|_| is_selected);
        let writes = purchases(writes).map(|purchases| is_healthy(purchases.sink.check()));
        let reads = purchases(reads).map(|purchases| is_healthy(purchases.query.check_reads()));
        let others = service
            .other_roles()
            .into_iter()
            .filter(selects)
            .map(|role| is_healthy(role.check));
        let (writes, reads, others) = tokio::join!(
            OptionFuture::from(writes),
            OptionFuture::from(reads),
            join_all(others)
        );
        Self {
            service,
            writes: writes.unwrap_or(true),
            reads: reads.unwrap_or(true),
            others,
        }
    }

    fn all_respond(&self) -> bool {
        self.writes && self.reads && !self.others.contains(&false)
    }

    /// Whether the port of writes responds, and takes what callers send: a check of a log or store may succeed while no
    /// write does, such as without enough replicas.
    fn takes_writes(&self) -> bool {
        let purchases = self.service.purchases.as_ref();
        self.writes
            && !purchases.is_some_and(|purchases| purchases.sink.inner().outcomes.is_failing())
    }

    /// Whether purchases can be published to the log. On management: whether the ingests that read the log run,
    /// including while they wait to become the active consumer or for the end of an outage.
    fn log(&self) -> bool {
        let runs = |status: IngestStatus| status.phase == Phase::Running && !is_refused(&status);
        match self.service.kind {
            ServiceKind::Facing => self.takes_writes(),
            ServiceKind::Management => self.service.ingest_statuses().all(runs),
        }
    }

    /// Whether the stores respond, and take what callers send and ingest reads.
    fn store(&self) -> bool {
        let is_failing = |status: IngestStatus| {
            let since = status.failing_since.get(&Component::Store);
            let has_failed = since.is_some_and(|since| since.elapsed() >= STORE_PATIENCE);
            // A store that fails over one record takes the others.
            has_failed && status.stuck.is_none()
        };
        match self.service.kind {
            ServiceKind::Facing => true,
            ServiceKind::Management => {
                let mut ingests = self.service.ingest_statuses();
                self.all_respond() && self.takes_writes() && !ingests.any(is_failing)
            }
        }
    }

    fn are_ready(&self) -> bool {
        // No ingest of this process has stopped, or is refused by its log.
        let needs_operator =
            |status: IngestStatus| status.phase == Phase::Stopped || is_refused(&status);
        let ingests = !self.service.ingest_statuses().any(needs_operator);
        self.log() && self.store() && ingests
    }

    /// The parts that requests need, and whether each works: members of `/health` and `/v1`, and labels of
    /// `shop_dependency_up`. A service is degraded while one does not.
    pub(crate) fn parts(&self) -> BTreeMap<&'static str, bool> {
        let service = self.service;
        let mut parts = BTreeMap::new();
        let mut needs = |part, works| *parts.entry(part).or_insert(true) &= works;
        if service.purchases.is_some() {
            needs(
                if service.kind == ServiceKind::Facing {
                    "log"
                } else {
                    "store"
                },
                self.takes_writes(),
            );
            needs("listings", self.reads);
        }
        if let Some(status) = service.ingest().map(IngestMonitor::status) {
            let fails = |part| status.errors.contains_key(&part);
            needs(
                "log",
                ![Component::Source, Component::Commit, Component::DeadLetters]
                    .into_iter()
                    .any(fails),
            );
            needs("store", !fails(Component::Store));
            needs(
                "ingest",
                status.phase == Phase::Running && status.stuck.is_none(),
            );
        }
        for (role, is_healthy) in service.other_roles().iter().zip(&self.others) {
            let runs =
                |status: IngestStatus| status.phase == Phase::Running && status.errors.is_empty();
            let consumes = role.ingest.is_none_or(|ingest| runs(ingest.status()));
            let publishes = role
                .outbox
                .as_ref()
                .is_none_or(|outbox| outbox.waits_for.is_none());
            needs(role.name, *is_healthy && consumes && publishes);
        }
        parts
    }
}

/// Whether the log refuses to be read: an operator has to change its settings or grant a right.
fn is_refused(status: &IngestStatus) -> bool {
    status
        .errors
        .get(&Component::Source)
        .is_some_and(|error| error.kind() == ErrorKind::Denied)
}

/// `GET /-/ready`: whether the service is ready for requests.
pub(crate) async fn ready(State(service): State<Arc<Service>>) -> Response {
    let checks = Checks::of_readiness(&service).await;
    let (is_ready, word) = (
        checks.are_ready(),
        |up: bool| if up { "up" } else { "down" },
    );
    let body = match (service.kind, is_ready) {
        (ServiceKind::Facing, true) => json!({"status": "ready"}),
        (ServiceKind::Facing, false) => json!({"detail": why_not_ready(&checks)}),
        (ServiceKind::Management, true) => json!({"status": "ready", "mongo": "up", "kafka": "up"}),
        (ServiceKind::Management, false) => {
            let detail = json!({"status": "not_ready", "mongo": word(checks.store()), "kafka": word(checks.log())});
            json!({"detail": detail})
        }
    };
    probed(is_ready, body)
}

/// `GET /v1`: the roles of the service, whether it is ready, and its parts, for clients. It exists wherever `/v1` does:
/// the other paths may be on an admin listener alone.
pub(crate) async fn of_v1(State(service): State<Arc<Service>>) -> Response {
    let purchases = service.purchases.as_ref().map(|_| "purchases");
    let roles: Vec<_> = purchases
        .into_iter()
        .chain(service.other_roles().iter().map(|role| role.name))
        .collect();
    let checks = Checks::all(&service).await;
    let is_ready = checks.are_ready();
    let status = if is_ready { "ready" } else { "not ready" };
    let mut body = json!({"roles": roles, "status": status, "parts": checks.parts()});
    if let Some(currency) = &service.options.currency {
        body["currency"] = currency.as_str().into();
    }
    probed(is_ready, body)
}

/// The reason why `/-/ready` of facing is 503. The text about Kafka is the one that 004 documents.
fn why_not_ready(checks: &Checks<'_>) -> &'static str {
    match checks.log() {
        true => "Ingest has stopped",
        false if checks.service.local().log => "The log is not writable",
        false => "Kafka not connected",
    }
}

/// `GET /ready`: the same, in the form of user-buy-list.
pub(crate) async fn legacy_ready(State(service): State<Arc<Service>>) -> Response {
    let checks = Checks::of_readiness(&service).await;
    let is_ready = checks.are_ready();
    let status = if is_ready { "ready" } else { "not ready" };
    let mut body = json!({"status": status, "kafkaReady": checks.log()});
    if service.kind == ServiceKind::Management && service.purchases.is_some() {
        body["mongoReady"] = checks.store().into();
    }
    probed(is_ready, body)
}

/// The state of an ingest of this process, which consumes the topics for which `is_its` holds.
async fn ingest_health(
    service: &Service,
    ingest: &IngestMonitor,
    is_its: impl Fn(&str) -> bool,
) -> Value {
    let status = ingest.status();
    let lag = check_with_timeout(ingest.lag()).await.ok();
    let phase = phase_word(&status, lag.as_ref());
    // Without a partition, that of the group is known to another member.
    let lag = lag.filter(|lag| !lag.records.is_empty());
    let IngestStatus {
        counters,
        in_flight,
        freshness,
        errors,
        stuck,
        fatal_error: failure,
        waiting_refunds: waiting,
        ..
    } = status;
    let logs = service.metrics.inspected(is_its);
    let pending = logs
        .iter()
        .map(|log| log.dead_letters.values().sum::<u64>());
    let mut gaps: Vec<_> = logs.iter().flat_map(|log| &log.gaps).collect();
    let lost = gaps.iter().map(|gap| gap.offset_count()).sum::<u64>();
    gaps.truncate(MAX_GAPS);
    let waiting_for = errors
        .iter()
        .map(|(part, error)| (part.to_string(), error.kind().as_str()));
    known(json!({
        "phase": phase,
        "inserted": counters.inserted,
        "duplicates": counters.duplicates,
        "dead_lettered": counters.dead_lettered,
        // The pending dead letters in its log, of all processes, if they were counted.
        "dead_letters_waiting": pending.reduce(|sum, count| sum + count),
        // The refunds in the store whose purchase is not there, and the time of the oldest, if there are any.
        "waiting_refunds": (waiting.count > 0).then(|| json!({"count": waiting.count, "oldest": waiting.oldest})),
        // Records that the log no longer had when they were to be read.
        "lost_records": counters.lost,
        // The gaps in its log whose dead letters are pending, if there are any.
        "gaps": (!gaps.is_empty()).then(|| json!({"records": lost, "pending": gaps})),
        "in_flight": in_flight,
        // The records after the group's committed offset in the partitions assigned to this process, if known.
        "lag": lag.as_ref().map(Lag::total),
        // For how long records have been waiting for the end of another producer's transaction.
        "open_transaction_seconds": lag.and_then(|lag| Some(lag.transaction_since()?.elapsed().as_secs())),
        // The age in the log of the oldest record of the last batch when it was stored.
        "freshness_ms": freshness.and_then(|age| u64::try_from(age.as_millis()).ok()),
        // The failing parts, with the kind of each error but not a driver's text.
        "waiting_for": waiting_for.collect::<BTreeMap<_, _>>(),
        // The oldest record that the store does not accept while it accepts others, with the error's text: without it,
        // an operator cannot tell whether to fix the store or to park the record.
        "stuck": stuck.map(StuckBody::from),
        "stopped_because": failure.map(|error| error.message().to_owned()),
    }))
}

/// `body` without its unknown members.
fn known(mut body: Value) -> Value {
    if let Some(members) = body.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    body
}

/// The name and the state of another role in this process.
async fn role_health(service: &Service, role: OtherRole<'_>) -> (String, Value) {
    let waits_for = role.outbox.as_ref().and_then(|outbox| outbox.waits_for);
    let outbox = async { Some(check_with_timeout(role.outbox?.backlog).await.ok()?.0) };
    let events = async {
        Some(
            ingest_health(service, role.ingest?, |topic| {
                topic == role.subscribed_topic
            })
            .await,
        )
    };
    let (store, outbox, events) = tokio::join!(is_healthy(role.check), outbox, events);
    // Whether the store responds, the kind of error that keeps events in the outbox, and the ingest of the other role's
    // events.
    let mut health = known(json!({
        "store": store,
        "outbox_waits_for": waits_for.map(ErrorKind::as_str),
        "events": events,
    }));
    // The number of unpublished events; `null` if unknown.
    health["outbox"] = json!(outbox);
    (role.name.to_owned(), health)
}

/// `GET /health`: the state of the service, for people and dashboards. All parts are checked concurrently.
pub(crate) async fn health(
    State(service): State<Arc<Service>>,
    RequestDialect(dialect): RequestDialect,
    uri: Uri,
    caller: Caller,
) -> Response {
    let events: Vec<_> = service
        .other_roles()
        .iter()
        .map(|role| role.subscribed_topic.to_owned())
        .collect();
    let is_of_purchases = |topic: &str| !events.iter().any(|other| other == topic);
    let ingest = async { Some(ingest_health(&service, service.ingest()?, is_of_purchases).await) };
    let others = join_all(service.own_roles().map(|role| role_health(&service, role)));
    let (checks, ingest, others) = tokio::join!(Checks::all(&service), ingest, others);
    let has_store = checks.store();
    let parts = checks.parts();
    let has_lost = service
        .metrics
        .inspected(|_| true)
        .iter()
        .any(|log| !log.gaps.is_empty());
    let is_blocked = ingest
        .as_ref()
        .and_then(|ingest| ingest["open_transaction_seconds"].as_u64());
    let is_blocked = is_blocked >= Some(MAX_TRANSACTION_SECONDS);
    let reloads = service.metrics.freshness();
    let is_outdated = reloads.values().any(|reload| {
        reload.is_failing
            || reload
                .not_after
                .is_some_and(|end| end < service.clock.now())
    });
    let is_down = dialect.health.counts_parts && parts.values().any(|works| !works);
    let is_log_failing = service.metrics.is_log_failing();
    let faults = service.faults();
    let is_faulty = !faults.unavailable.is_empty() || !faults.lost.is_empty();
    let is_failing = has_lost || is_blocked || is_outdated || is_log_failing || is_faulty;
    let is_degraded =
        is_down || is_failing || service.ingest_statuses().any(|status| is_degraded(&status));
    let mut word = if is_degraded {
        "degraded"
    } else {
        dialect.health.healthy
    };
    let mut code = StatusCode::OK;
    let is_management = service.kind == ServiceKind::Management;
    // Users and orders have another store.
    let has_purchases = is_management && service.purchases.is_some();
    let reports_store = has_purchases && dialect.health.reports_store;
    if reports_store && !has_store {
        word = "unhealthy";
        code = StatusCode::INTERNAL_SERVER_ERROR;
    }
    if service.may_inspect(&caller).is_err() {
        return (code, Json(json!({"status": word}))).into_response();
    }

    let store = reports_store.then_some(if has_store {
        "connected"
    } else {
        "disconnected"
    });
    let has_all = dialect.health.has_details
        || service.listener == Listener::Admin
        || asks_for(&uri, DETAILS);
    if !has_all {
        return (code, Json(known(json!({"status": word, "mongodb": store})))).into_response();
    }

    let reads = |status: IngestStatus| !status.errors.contains_key(&Component::Source);
    let reads_log = !is_management || service.ingest_statuses().all(reads);
    let mut body = known(json!({
        "status": word,
        "kafkaReady": checks.log() && reads_log,
        "mongoReady": has_purchases.then_some(has_store),
        "mongodb": store,
        "parts": parts,
        "ingest": ingest,
        "history": asks_for(&uri, HISTORY).then(|| service.metrics.history()),
        "unavailable_partitions": (!faults.unavailable.is_empty()).then_some(faults.unavailable),
        "lost_acknowledgements": (!faults.lost.is_empty()).then_some(faults.lost),
        "log_lines": is_log_failing.then(|| json!({"failing": true})),
    }));
    for (role, health) in others {
        body[role] = health;
    }
    for (file, reload) in reloads {
        body[file] = freshness(&reload);
    }
    (code, Json(body)).into_response()
}

/// The state of something that is read again.
fn freshness(reload: &Freshness) -> Value {
    known(json!({
        "age_seconds": reload.age.as_secs(),
        "failing": reload.is_failing,
        "not_after": reload.not_after,
    }))
}

fn asks_for(uri: &Uri, asked: &str) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|parameter| parameter == asked))
}

/// Whether an ingest needs an operator: it does not recover by itself.
fn is_degraded(status: &IngestStatus) -> bool {
    status.phase == Phase::Stopped || status.stuck.is_some() || is_refused(status)
}
