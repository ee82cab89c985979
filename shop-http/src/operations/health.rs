//! `GET /health`: the state of a service, for people and dashboards.
//!
//! A [`HealthForm`] chooses the word for a healthy service, what the status depends on, and the
//! members that are there without `?details=true`. A caller that may not inspect the service gets
//! the status alone.
//!
//! A member whose value a service lacks or does not know is absent, and not `null` (see
//! [`without_nulls`]), except for an unknown `outbox` of a role.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use futures_util::future::join_all;
use serde_json::{Value, json};
use shop_api::{EntityHealth, IngestHealth};
use shop_core::ingest::{Component, IngestMonitor};
use shop_core::ports::CurrencyState;

use super::health_form::HealthForm;
use super::{Checks, needs_operator};
use crate::auth::Caller;
use crate::metrics::phase_name;
use crate::part_reports::CurrentReports;
use crate::response::HttpResult;
use crate::role::RoleState;
use crate::routes::groups::Listener;
use crate::service::{Service, ServiceKind, check_with_timeout, is_healthy};

/// The query parameter of `/health` for all members, in a form that shows few by default.
const DETAILS: &str = "details=true";
/// The query parameter of `/health` for the last hour.
const HISTORY: &str = "history=true";
/// The seconds after which an open transaction of another producer degrades a service: the default
/// `transaction.timeout.ms` of producers.
const MAX_TRANSACTION_SECONDS: u64 = 60;

/// The state of the handler of `/health`.
#[derive(Clone)]
pub(crate) struct HealthState {
    pub(crate) service: Arc<Service>,
    pub(crate) form: HealthForm,
}

/// Handles `GET /health`: reports the state of the service in the form of the handler's state.
pub(crate) async fn report_health(state: HealthState, head: Parts) -> HttpResult {
    let HealthState { service, form } = state;
    let (checks, ingest, roles) = tokio::join!(
        Checks::run_all(&service),
        read_purchase_ingest(&service),
        join_all(
            service
                .own_role_states()
                .map(|role| read_role(&service, role))
        ),
    );
    let parts = checks.parts();
    let reasons = texts_of(&checks.reports);
    let is_store_ready = checks.is_purchase_store_ready();
    let faults = service.faults();
    let logs = service.metrics.inspected(|_topic| true);
    let reloads = service.metrics.freshness();
    let is_log_failing = service.metrics.is_log_failing();
    let currency = service.currency();
    let now = service.clock.now();
    let transaction_seconds = ingest
        .as_ref()
        .and_then(|ingest| ingest.open_transaction_seconds);

    let is_degraded = (form.counts_parts && parts.values().any(|works| !works))
        || checks.has_ingest(|status| status.stuck.is_some() || needs_operator(status))
        || transaction_seconds >= Some(MAX_TRANSACTION_SECONDS)
        || logs.iter().any(|log| !log.gaps.is_empty())
        || !faults.unavailable.is_empty()
        || !faults.lost.is_empty()
        || !faults.files.is_empty()
        || reloads
            .values()
            .any(|reload| reload.is_failing || reload.not_after.is_some_and(|end| end < now))
        || is_log_failing;
    let is_unhealthy = form.reports_store && is_store_ready == Some(false);
    let (code, status) = if is_unhealthy {
        (StatusCode::INTERNAL_SERVER_ERROR, "unhealthy")
    } else if is_degraded {
        (StatusCode::OK, "degraded")
    } else {
        (StatusCode::OK, form.healthy)
    };
    let caller = Caller::from_extensions(&head.extensions);
    if service.may_inspect(&caller).is_err() {
        return Ok((code, Json(json!({"status": status}))).into_response());
    }

    let mongodb = match is_store_ready {
        Some(true) if form.reports_store => Some("connected"),
        Some(false) if form.reports_store => Some("disconnected"),
        _ => None,
    };
    let has_details = form.has_details
        || service.listener == Listener::Admin
        || has_parameter(&head.uri, DETAILS);
    if !has_details {
        let body = without_nulls(json!({"status": status, "mongodb": mongodb}));
        return Ok((code, Json(body)).into_response());
    }

    // Facing writes the log, so it does not matter whether its ingest can read it.
    let can_read_log = service.kind == ServiceKind::Facing
        || !checks.has_ingest(|status| status.errors.contains_key(&Component::Source));
    let history = has_parameter(&head.uri, HISTORY).then(|| service.metrics.history());
    let mut body = without_nulls(json!({
        "status": status,
        "kafkaReady": checks.is_log_ready() && can_read_log,
        "mongoReady": is_store_ready,
        "mongodb": mongodb,
        "parts": parts,
        "reasons": Some(reasons).filter(|reasons| !reasons.is_empty()),
        "ingest": ingest,
        "history": history,
        "unavailable_partitions": Some(faults.unavailable).filter(|names| !names.is_empty()),
        "lost_acknowledgements": Some(faults.lost).filter(|gaps| !gaps.is_empty()),
        "files": Some(faults.files).filter(|files| !files.is_empty()),
        "currency": currency.as_ref().and_then(CurrencyState::problem),
        "log_lines": is_log_failing.then(|| json!({"failing": true})),
    }));
    for (role, health) in roles {
        body[role] = json!(health);
    }
    for (name, reload) in reloads {
        body[name] = without_nulls(json!({
            "age_seconds": reload.age.as_secs(),
            "failing": reload.is_failing,
            "not_after": reload.not_after,
        }));
    }
    Ok((code, Json(body)).into_response())
}

/// Returns the sentences of `reports` by part and name.
fn texts_of(reports: &CurrentReports) -> BTreeMap<&str, BTreeMap<&str, &str>> {
    let mut texts = BTreeMap::<_, BTreeMap<_, _>>::new();
    for (part, reports) in reports {
        for (name, report) in reports {
            if let Some(text) = report.text() {
                texts.entry(*part).or_default().insert(*name, text);
            }
        }
    }
    texts
}

/// Returns whether the query of `uri` contains `parameter`, which is a name with its value.
fn has_parameter(uri: &Uri, parameter: &str) -> bool {
    let query = uri.query().unwrap_or_default();
    query.split('&').any(|given| given == parameter)
}

/// Returns `body` without its members that are `null`. The members of its members stay as they are.
fn without_nulls(mut body: Value) -> Value {
    if let Some(members) = body.as_object_mut() {
        members.retain(|_name, member| !member.is_null());
    }
    body
}

/// Reads the state of another role, and returns it with the name of the role.
async fn read_role(service: &Service, role: RoleState<'_>) -> (&'static str, EntityHealth) {
    let outbox_error = role.outbox.as_ref().and_then(|outbox| outbox.waits_for);
    let count_events = async {
        let events = check_with_timeout(role.outbox?.pending).await.ok()?;
        Some(events.count)
    };
    let read_events = async {
        let is_subscribed = |topic: &str| role.subscribed_topic == Some(topic);
        Some(read_ingest(service, role.ingest?, is_subscribed).await)
    };

    let (store, outbox, events) = tokio::join!(is_healthy(role.check), count_events, read_events);
    let waits_for = outbox_error.map(|kind| kind.as_str().to_owned());
    (
        role.name,
        EntityHealth::new(store, outbox, waits_for, events),
    )
}

/// Reads the state of the ingest of purchases, if it runs in this process.
async fn read_purchase_ingest(service: &Service) -> Option<IngestHealth> {
    let role_states = service.role_states().into_iter();
    let event_topics: Vec<_> = role_states
        .filter_map(|role| role.subscribed_topic)
        .collect();
    let is_of_purchases = |topic: &str| !event_topics.contains(&topic);
    Some(read_ingest(service, service.ingest()?, is_of_purchases).await)
}

/// Reads the state of `ingest`, which consumes the topics for which `consumes` holds.
async fn read_ingest(
    service: &Service,
    ingest: &IngestMonitor,
    consumes: impl Fn(&str) -> bool,
) -> IngestHealth {
    let status = ingest.status();
    let lag = check_with_timeout(ingest.lag()).await.ok();
    let phase = phase_name(&status, lag.as_ref());
    let logs = service.metrics.inspected(consumes);
    IngestHealth::new(phase, status, lag.as_ref(), &logs)
}
