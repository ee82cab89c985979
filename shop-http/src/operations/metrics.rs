//! `GET /metrics`: all metrics of this service, for Prometheus.
//!
//! The service counts most metrics as things happen. [`ScrapeSource`] exports the others for each
//! scrape: the state of the ingests and outboxes of this process, the faults of the log, and which
//! parts work.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use futures_util::future::join_all;

use super::Checks;
use crate::auth::Caller;
use crate::metrics::{Scrape, ScrapeSource};
use crate::response::HttpResult;
use crate::role::RoleState;
use crate::routes::mount::Mount;
use crate::service::{Service, check_with_timeout};

/// The media type of Prometheus' text format.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Exports the current state of the outbox and of the ingest of another role, if they run in this
/// process. A value that cannot be queried in time is left out of this scrape.
async fn export_role(scrape: &Scrape, service: &Service, role: RoleState<'_>) {
    let export_outbox = async {
        if let Some(outbox) = role.outbox {
            let pending_events = check_with_timeout(outbox.pending).await.ok();
            let pending = pending_events.map(|events| (events.count, events.oldest));
            scrape.export_outbox(role.name, outbox.published, pending, service.clock.now());
        }
    };
    let export_events = async {
        if let (Some(ingest), Some(topic)) = (role.ingest, role.subscribed_topic) {
            let lag = check_with_timeout(ingest.lag()).await.ok();
            scrape.export_events(topic, ingest, lag.as_ref(), service.clock.now());
        }
    };

    tokio::join!(export_outbox, export_events);
}

#[async_trait]
impl ScrapeSource for Service {
    async fn export_state(&self, scrape: &Scrape) {
        scrape.export_log_faults(&self.faults());

        let export_ingest = async {
            if let Some(ingest) = self.ingest() {
                let lag = check_with_timeout(ingest.lag()).await.ok();
                scrape.export_ingest(ingest, lag.as_ref(), self.clock.now());
            }
        };
        let export_roles = join_all(
            self.own_role_states()
                .map(|role| export_role(scrape, self, role)),
        );
        let export_parts =
            async { scrape.export_dependencies(&Checks::run_all(self).await.parts()) };

        // The exports run concurrently, because each may take two seconds, and Prometheus waits for
        // ten seconds.
        tokio::join!(export_ingest, export_roles, export_parts);
    }
}

/// Handles `GET /metrics`: exports all metrics.
pub(crate) async fn get(service: Arc<Service>, head: Parts) -> HttpResult {
    let mount = Mount::from_request(&head.uri, &head.extensions);
    service.may_inspect(&Caller::from_extensions(&head.extensions))?;

    let scrape = service.metrics.scrape();
    service.export_state(&scrape).await;
    // The program around a mounted service exports the metrics of its process itself.
    if mount.prefix().is_empty() {
        scrape.export_process();
    }
    let media_type = [(CONTENT_TYPE, MEDIA_TYPE)];
    Ok((media_type, scrape.into_text().await).into_response())
}
