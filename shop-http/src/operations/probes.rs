//! Short responses about a service: for probes, for load balancers, and at `/v1` for clients.
//!
//! | path | checks |
//! |---|---|
//! | `/healthz`, `/livez`, `/-/healthy` | nothing: the process responds |
//! | `/readyz` | the files of this process, and the setting of its currency |
//! | `/-/ready` | the ports on which readiness depends |
//! | `/v1` | all ports |
//!
//! A service that is not ready responds with 503.

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use shop_core::ports::CurrencyState;

use super::{CheckedPorts, Checks};
use crate::response::HttpResult;
use crate::service::{Service, ServiceKind};

/// Handles `GET /healthz`: reports that the process is alive, as a text.
pub(crate) async fn report_liveness_as_text(_service: Arc<Service>, _head: Parts) -> HttpResult {
    Ok("Success".into_response())
}

/// Handles `GET /livez` and `GET /-/healthy`: reports that the process is alive.
pub(crate) async fn report_liveness(_service: Arc<Service>, _head: Parts) -> HttpResult {
    Ok(Json(json!({"status": "alive"})).into_response())
}

/// Handles `GET /readyz`: reports whether this process can serve requests, because its own files
/// are usable.
///
/// The process stays ready while a broker or a store on another machine is unavailable: requests
/// that need neither still work, and `/health` reports the outage. It is not ready if its settings
/// name another currency than the store, because other processes of the service may have the right
/// one.
pub(crate) async fn report_local_readiness(service: Arc<Service>, _head: Parts) -> HttpResult {
    let has_local_store = service.has_local_store();
    // The sink of management is its store.
    let is_sink_local = match service.kind {
        ServiceKind::Facing => service.has_local_log(),
        ServiceKind::Management => has_local_store,
    };

    let local_ports = CheckedPorts {
        sink: is_sink_local,
        listings: has_local_store,
        role: |role| role.is_local,
    };
    let checks = Checks::run(&service, local_ports).await;
    let is_ready = checks.all_respond() && !checks.has_other_currency();
    respond_to_probe(is_ready, &json!({"status": readiness_word(is_ready)}))
}

/// Handles `GET /-/ready`: reports whether the service is ready for requests.
///
/// The members are named after MongoDB and Kafka, whichever store and log the service uses.
pub(crate) async fn report_readiness(service: Arc<Service>, _head: Parts) -> HttpResult {
    let checks = Checks::run_for_readiness(&service).await;
    let is_ready = checks.is_service_ready();

    let body = match service.kind {
        ServiceKind::Facing if is_ready => json!({"status": "ready"}),
        ServiceKind::Facing => json!({"detail": why_facing_is_not_ready(&checks)}),
        ServiceKind::Management if is_ready => {
            json!({"status": "ready", "mongo": "up", "kafka": "up"})
        }
        ServiceKind::Management => {
            let mongo = up_or_down(checks.is_store_ready());
            let kafka = up_or_down(checks.is_log_ready());
            json!({"detail": {"status": "not_ready", "mongo": mongo, "kafka": kafka}})
        }
    };
    respond_to_probe(is_ready, &body)
}

/// Whether a service is ready for requests, for a probe of a role.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether the service is ready, for which `/-/ready` is 200.
    pub is_ready: bool,
    /// Whether the log is ready: on facing, whether it accepts purchases.
    pub is_log_ready: bool,
    /// Whether the store of purchases is ready, on a management service with purchases.
    pub is_store_ready: Option<bool>,
}

/// Checks the ports on which the readiness of `service` depends, as `/-/ready` does.
pub async fn check_readiness(service: &Service) -> Readiness {
    let checks = Checks::run_for_readiness(service).await;
    Readiness {
        is_ready: checks.is_service_ready(),
        is_log_ready: checks.is_log_ready(),
        is_store_ready: checks.is_purchase_store_ready(),
    }
}

/// Handles `GET /v1`: describes the service to clients: its roles, whether it is ready, and its
/// parts.
///
/// This path exists wherever `/v1` does, while the other paths may be on an admin listener alone.
pub(crate) async fn describe_service(service: Arc<Service>, _head: Parts) -> HttpResult {
    let mut roles = Vec::new();
    if service.purchases.is_some() {
        roles.push("purchases");
    }
    roles.extend(service.role_states().iter().map(|role| role.name));

    let checks = Checks::run_all(&service).await;
    let is_ready = checks.is_service_ready();
    let mut body = json!({
        "roles": roles,
        "status": readiness_word(is_ready),
        "parts": checks.parts(),
    });
    // The member is always the currency of the store, and never the currency in the settings: facing
    // reads this member from management as the currency of the store.
    let currency_state = service.currency();
    let stored_currency = currency_state.as_ref().and_then(CurrencyState::stored);
    if let Some(currency) = stored_currency {
        body["currency"] = currency.as_str().into();
    }
    respond_to_probe(is_ready, &body)
}

/// Returns a response with `body`. The status is 200 if the service is ready, else 503.
pub fn respond_to_probe(is_ready: bool, body: &Value) -> HttpResult {
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((status, Json(body)).into_response())
}

/// Returns the word for the readiness of a service. Only management's `/-/ready` uses another word.
const fn readiness_word(is_ready: bool) -> &'static str {
    if is_ready { "ready" } else { "not ready" }
}

/// Returns the word for the state of a part in management's `/-/ready`.
const fn up_or_down(is_up: bool) -> &'static str {
    if is_up { "up" } else { "down" }
}

/// Returns the reason why facing is not ready, as text for the response.
fn why_facing_is_not_ready(checks: &Checks<'_>) -> &'static str {
    if !checks.accepts_currency() {
        return "The currency is not known yet, or the store has another one";
    }
    if checks.is_log_ready() {
        return "Ingest has stopped";
    }
    if checks.service.has_local_log() {
        return "The log is not writable";
    }
    "Kafka not connected"
}
