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
use crate::service::{OtherRole, Service, check_with_timeout};

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Exports the current state of another role.
async fn note(scrape: &Scrape, service: &Service, role: OtherRole<'_>) {
    let outbox = async {
        if let Some(outbox) = role.outbox {
            let pending = check_with_timeout(outbox.backlog).await.ok();
            scrape.note_outbox(role.name, outbox.published, pending, service.clock.now());
        }
    };
    let events = async {
        if let Some(events) = role.ingest {
            let lag = check_with_timeout(events.lag()).await.ok();
            scrape.note_events(
                role.subscribed_topic,
                events,
                lag.as_ref(),
                service.clock.now(),
            );
        }
    };
    tokio::join!(outbox, events);
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
        scrape.note_faults(&self.faults());
        let roles = join_all(self.own_roles().map(|role| note(scrape, self, role)));
        let parts = async { scrape.note_dependencies(&Checks::all(self).await.parts()) };
        tokio::join!(purchases, roles, parts);
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
