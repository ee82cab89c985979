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
use shop_core::log::LogFaults;
use shop_core::ports::CurrencyState;

use super::health_form::HealthForm;
use super::{Checks, needs_operator};
use crate::auth::Caller;
use crate::metrics::phase_name;
use crate::part_reports::CurrentReports;
use crate::refreshed::Freshness;
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
    let report = HealthReport::read(&service).await;
    let (code, status) = report.status(&form);
    let caller = Caller::from_extensions(&head.extensions);
    if service.may_inspect(&caller).is_err() {
        return Ok((code, Json(json!({"status": status}))).into_response());
    }

    // The member is named after MongoDB, whichever store the service uses.
    let mongodb = match report.is_store_ready {
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

    let history = has_parameter(&head.uri, HISTORY).then(|| service.metrics.history());
    let body = report.into_body(status, mongodb, history.as_ref());
    Ok((code, Json(body)).into_response())
}

/// The state of a service, as it is read for one response.
struct HealthReport<'a> {
    service: &'a Service,
    checks: Checks<'a>,
    /// Whether each part works, by its name.
    parts: BTreeMap<&'static str, bool>,
    /// Whether the store of purchases is ready, on management with purchases.
    is_store_ready: Option<bool>,
    /// The ingest of purchases, if it runs in this process.
    ingest: Option<IngestHealth>,
    /// The roles beside purchases whose tasks run in this process, by name.
    roles: Vec<(&'static str, EntityHealth)>,
    /// The faults of the log to which purchases are published.
    faults: LogFaults,
    /// How current the files are that are read again while they are in use, by name.
    reloads: BTreeMap<&'static str, Freshness>,
    /// Whether the diagnostic log of the program cannot be written.
    is_diagnostic_log_failing: bool,
}

impl<'a> HealthReport<'a> {
    /// Reads the state of `service`, from all its ports concurrently.
    async fn read(service: &'a Service) -> Self {
        let (checks, ingest, roles) = tokio::join!(
            Checks::run_all(service),
            read_purchase_ingest(service),
            join_all(
                service
                    .own_role_states()
                    .map(|role| read_role(service, role))
            ),
        );
        Self {
            service,
            parts: checks.parts(),
            is_store_ready: checks.is_purchase_store_ready(),
            checks,
            ingest,
            roles,
            faults: service.faults(),
            reloads: service.metrics.freshness(),
            is_diagnostic_log_failing: service.metrics.is_diagnostic_log_failing(),
        }
    }

    /// Returns the status of the response, and the word for the state of the service.
    fn status(&self, form: &HealthForm) -> (StatusCode, &'static str) {
        if form.reports_store && self.is_store_ready == Some(false) {
            return (StatusCode::INTERNAL_SERVER_ERROR, "unhealthy");
        }

        let has_failing_part = self.parts.values().any(|works| !works);
        if self.is_degraded_beside_parts() || (form.counts_parts && has_failing_part) {
            return (StatusCode::OK, "degraded");
        }
        (StatusCode::OK, form.healthy)
    }

    /// Returns whether the service is degraded whatever the state of its parts is, which the caller
    /// checks. One of these needs an operator:
    ///
    /// - an ingest that is stuck or does not recover, or that waits too long for a transaction
    /// - a gap in a log that ingest reads
    /// - a fault of the log or of the embedded files that this process writes
    /// - a file that cannot be read again, such as keys, or an expired certificate
    /// - the diagnostic log of the program
    fn is_degraded_beside_parts(&self) -> bool {
        let has_failing_ingest = self
            .checks
            .any_ingest(|status| status.stuck.is_some() || needs_operator(status));
        let has_long_transaction = self
            .ingest
            .as_ref()
            .and_then(|ingest| ingest.open_transaction_seconds)
            .is_some_and(|seconds| seconds >= MAX_TRANSACTION_SECONDS);
        let log_inspections = self.service.metrics.all_log_inspections();
        let has_gap = log_inspections.iter().any(|log| !log.gaps.is_empty());

        let faults = &self.faults;
        let has_log_fault = !faults.unavailable.is_empty() || !faults.lost.is_empty();
        let has_file_fault = !faults.files.is_empty();

        let now = self.service.clock.now();
        let has_stale_file = self.reloads.values().any(|reload| {
            let is_expired = reload.not_after.is_some_and(|expiry| expiry < now);
            reload.is_failing || is_expired
        });

        has_failing_ingest
            || has_long_transaction
            || has_gap
            || has_log_fault
            || has_file_fault
            || has_stale_file
            || self.is_diagnostic_log_failing
    }

    /// Returns the body of the response with all members.
    fn into_body(
        self,
        status: &'static str,
        mongodb: Option<&'static str>,
        history: Option<&Value>,
    ) -> Value {
        let checks = &self.checks;
        let faults = self.faults;
        let reasons = report_texts(&checks.reports);
        let currency = self.service.currency();
        // Facing writes the log, so it does not matter whether its ingest can read it.
        let can_read_log = self.service.kind == ServiceKind::Facing
            || !checks.any_ingest(|status| status.errors.contains_key(&Component::Source));

        let mut body = without_nulls(json!({
            "status": status,
            "kafkaReady": checks.is_log_ready() && can_read_log,
            "mongoReady": self.is_store_ready,
            "mongodb": mongodb,
            "parts": self.parts,
            "reasons": Some(reasons).filter(|reasons| !reasons.is_empty()),
            "ingest": self.ingest,
            "history": history,
            "unavailable_partitions": Some(faults.unavailable).filter(|names| !names.is_empty()),
            "lost_acknowledgements": Some(faults.lost).filter(|gaps| !gaps.is_empty()),
            "files": Some(faults.files).filter(|files| !files.is_empty()),
            "currency": currency.as_ref().and_then(CurrencyState::problem),
            "log_lines": self.is_diagnostic_log_failing.then(|| json!({"failing": true})),
        }));
        for (role, health) in self.roles {
            body[role] = json!(health);
        }
        for (name, reload) in self.reloads {
            body[name] = without_nulls(json!({
                "age_seconds": reload.age.as_secs(),
                "failing": reload.is_failing,
                "not_after": reload.not_after,
            }));
        }
        body
    }
}

/// Returns the sentences of `reports` by part and name.
fn report_texts(reports: &CurrentReports) -> BTreeMap<&str, BTreeMap<&str, &str>> {
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

/// Returns whether the query of `uri` contains `parameter`, such as `details=true`.
fn has_parameter(uri: &Uri, parameter: &str) -> bool {
    let query = uri.query().unwrap_or_default();
    query.split('&').any(|pair| pair == parameter)
}

/// Returns `body` without its members that are `null`. Members of inner objects stay as they are.
fn without_nulls(mut body: Value) -> Value {
    if let Some(members) = body.as_object_mut() {
        members.retain(|_name, member| !member.is_null());
    }
    body
}

/// Reads the state of another role, and returns it with the name of the role.
async fn read_role(service: &Service, role: RoleState<'_>) -> (&'static str, EntityHealth) {
    let outbox_error = role.outbox.as_ref().and_then(|outbox| outbox.waits_for);
    // An unknown count is reported as `null`.
    let count_events = async {
        let pending_events = check_with_timeout(role.outbox?.pending).await.ok()?;
        Some(pending_events.count)
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

/// Reads the state of `ingest`. `consumes` returns whether the ingest consumes a topic.
async fn read_ingest(
    service: &Service,
    ingest: &IngestMonitor,
    consumes: impl Fn(&str) -> bool,
) -> IngestHealth {
    let status = ingest.status();
    let lag = check_with_timeout(ingest.lag()).await.ok();
    let phase = phase_name(&status, lag.as_ref());
    let logs = service.metrics.log_inspections(consumes);
    IngestHealth::new(phase, status, lag.as_ref(), &logs)
}
