//! `GET /metrics`: all metrics of this service, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use futures_util::future::join_all;

use crate::auth::Caller;
use crate::metrics::Scrape;
use crate::response::HttpResult;
use crate::service::{Entity, Service, check_with_timeout};

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Exports the current state of users, or of orders.
async fn note(scrape: &Scrape, service: &Service, entity: Entity<'_>) {
    let relay = async {
        if let Some(relay) = entity.relay {
            let backlog = check_with_timeout(relay.backlog()).await.ok();
            scrape.note_relay(entity.name, relay, backlog.as_ref(), service.clock.now());
        }
    };
    let events = async {
        if let Some(events) = entity.ingest {
            let lag = check_with_timeout(events.lag()).await.ok();
            scrape.note_events(entity.subscribed_topic, events, lag.as_ref(), service.clock.now());
        }
    };
    tokio::join!(relay, events);
}

pub(crate) async fn get(
    State(service): State<Arc<Service>>,
    caller: Caller,
) -> HttpResult<impl IntoResponse> {
    service.may_inspect(&caller)?;
    let scrape = service.metrics.scrape();
    // Concurrently: Prometheus waits for ten seconds, and each of these may take two of them.
    let purchases = async {
        if let Some(ingest) = service.ingest() {
            let lag = check_with_timeout(ingest.lag()).await.ok();
            scrape.note_ingest(ingest, lag.as_ref(), service.clock.now());
        }
    };
    let entities = join_all(service.own_entities().map(|entity| note(&scrape, &service, entity)));
    tokio::join!(purchases, entities);
    Ok(([(CONTENT_TYPE, TEXT)], scrape.rendered().await))
}
