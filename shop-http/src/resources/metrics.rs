//! `GET /metrics`: all metrics of this service, for Prometheus.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use futures_util::future::join_all;

use crate::auth::Caller;
use crate::metrics::{Scrape, Source};
use crate::resources::health::Checks;
use crate::response::HttpResult;
use crate::routes::mount::Mount;
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

#[async_trait]
impl Source for Service {
    async fn read(&self, scrape: &Scrape) {
        // Concurrently: Prometheus waits for ten seconds, and each of these may take two of them.
        let purchases = async {
            if let Some(ingest) = self.ingest() {
                let lag = check_with_timeout(ingest.lag()).await.ok();
                scrape.note_ingest(ingest, lag.as_ref(), self.clock.now());
            }
        };
        let entities = join_all(self.own_entities().map(|entity| note(scrape, self, entity)));
        let parts = async { scrape.note_dependencies(&Checks::run(self).await.parts(self)) };
        tokio::join!(purchases, entities, parts);
    }
}

pub(crate) async fn get(
    State(service): State<Arc<Service>>,
    mount: Mount,
    caller: Caller,
) -> HttpResult<impl IntoResponse> {
    service.may_inspect(&caller)?;
    let scrape = service.metrics.scrape();
    service.read(&scrape).await;
    // The program around a mounted service has its own.
    if mount.prefix().is_empty() {
        scrape.note_process();
    }
    Ok(([(CONTENT_TYPE, TEXT)], scrape.rendered().await))
}
