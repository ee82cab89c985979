//! `GET /metrics`: all figures of this service, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::service::Service;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) async fn get(State(service): State<Arc<Service>>) -> Response {
    if let Some(ingest) = &service.ingest {
        let lag = service.in_time(ingest.lag()).await.ok();
        service.metrics.note_ingest(ingest, lag.as_ref());
    }
    for account in service.own_accounts() {
        if let Some(relay) = account.relay {
            let backlog = service.in_time(relay.backlog()).await.ok();
            service.metrics.note_relay(account.name, relay, backlog.as_ref(), service.clock.now());
        }
        if let Some(events) = account.events {
            let lag = service.in_time(events.lag()).await.ok();
            service.metrics.note_events(account.hears, events, lag.as_ref());
        }
    }
    ([(CONTENT_TYPE, TEXT)], service.metrics.text()).into_response()
}
