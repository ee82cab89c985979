//! The access log and the audit log.
//!
//! The access log contains a line for each request, or for a sample of the requests. The audit log
//! contains a line for each write, and for each read of data that belongs to other users.
//!
//! An [`AccessLogEntry`] collects the facts about one request. It moves into the body of the
//! response, and writes both lines when it is dropped: after the last byte was sent, or when the
//! client disconnected.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use axum::extract::Request;
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use tokio::time::Instant;

use crate::auth::{Principal, Trail};
use crate::header_names::PURCHASE_ID;
use crate::metrics::RouteSeries;
use crate::options::{AccessLog, HttpOptions, TrustedProxies};
use crate::watched_body::watch_body;

/// The access log of a router, which begins an entry for each request.
pub(crate) struct AccessLogger {
    /// One of this many requests is logged in the access log.
    sampling_interval: NonZeroU64,
    request_count: AtomicU64,
    trusted_proxies: TrustedProxies,
}

impl AccessLogger {
    /// Creates the logs that `options` ask for, or returns `None` if they turn the access log off,
    /// and with it the audit log.
    pub(crate) fn new(options: &HttpOptions) -> Option<Self> {
        let sampling_interval = match options.access_log {
            AccessLog::Off => return None,
            AccessLog::All => NonZeroU64::MIN,
            AccessLog::OneIn(interval) => interval,
        };
        Some(Self {
            sampling_interval,
            request_count: AtomicU64::new(0),
            trusted_proxies: options.trusted_proxies.clone(),
        })
    }

    /// Begins the entry of `request`, which has the id `request_id` and was received from `peer` at
    /// `started_at`.
    ///
    /// `outer_template` is the template of the prefix at which outer routers mounted `route`.
    pub(crate) fn begin(
        &self,
        request: &Request,
        peer: Option<SocketAddr>,
        route: Arc<RouteSeries>,
        outer_template: String,
        request_id: &HeaderValue,
        started_at: Instant,
    ) -> AccessLogEntry {
        let request_number = self.request_count.fetch_add(1, Ordering::Relaxed);
        AccessLogEntry {
            trail: Arc::default(),
            is_sampled: request_number.is_multiple_of(self.sampling_interval.get()),
            request_id: request_id.clone(),
            method: request.method().clone(),
            route,
            outer_template,
            client_address: peer.map(|peer| {
                self.trusted_proxies
                    .client_behind(peer.ip(), request.headers())
            }),
            started_at,
            status: None,
            purchase_id: None,
            sent_bytes: 0,
        }
    }
}

/// The facts about one request, which are written to the logs when this entry is dropped.
pub(crate) struct AccessLogEntry {
    /// The facts that the route of the request records.
    pub(crate) trail: Arc<Trail>,
    /// Whether the request is logged in the access log.
    is_sampled: bool,
    request_id: HeaderValue,
    method: Method,
    route: Arc<RouteSeries>,
    outer_template: String,
    client_address: Option<IpAddr>,
    started_at: Instant,
    /// The status of the response. `None` if the client disconnected before the response.
    status: Option<u16>,
    /// The id of the purchase that the response is about.
    purchase_id: Option<HeaderValue>,
    /// The number of bytes of the response body that were sent.
    sent_bytes: u64,
}

impl AccessLogEntry {
    /// Attaches this entry to the body of `response`. The body drops the entry when the body was sent
    /// or the client disconnected, and the drop writes the lines of both logs.
    pub(crate) fn until_sent(mut self: Box<Self>, response: Response) -> Response {
        self.status = Some(response.status().as_u16());
        self.purchase_id = response.headers().get(PURCHASE_ID).cloned();

        watch_body(response, move |polled| {
            // This reference moves the whole entry into the closure. If the closure used only the
            // field, it would copy the number, and the entry would be dropped before the response.
            let entry = &mut self;
            if let Poll::Ready(Some(Ok(frame))) = &polled
                && let Some(data) = frame.data_ref()
            {
                entry.sent_bytes += data.len() as u64;
            }
            polled
        })
    }
}

impl Drop for AccessLogEntry {
    /// Writes the line of the access log, if the request is sampled, and the line of the audit log,
    /// if an action was recorded.
    fn drop(&mut self) {
        let audited = self.trail.audited.get();
        if !self.is_sampled && audited.is_none() {
            return;
        }

        let sender = self.trail.principal.get();
        let principal = sender.and_then(Principal::name);
        // Most principals have their subject as their name. The subject is then not logged again.
        let subject = sender
            .and_then(Principal::subject)
            .filter(|subject| Some(*subject) != principal);
        let client_address = self.client_address.map(|address| address.to_string());
        let request_id = self.request_id.to_str().ok();

        // Neither line is attached to a parent: the span of the request contains its path, which
        // may contain names of users.
        if self.is_sampled {
            let micros = (self.started_at.elapsed().as_secs_f64() * 1_000_000.0).round();
            tracing::info!(
                target: "access",
                parent: None,
                principal,
                subject,
                client.address = client_address.as_deref(),
                http.method = self.method.as_str(),
                http.route = self.route.template(&self.outer_template).as_deref(),
                http.status = self.status,
                bytes = self.sent_bytes,
                duration_ms = micros / 1_000.0,
                request.id = request_id,
            );
        }

        if let Some(audited) = audited {
            tracing::info!(
                target: "audit",
                parent: None,
                principal,
                subject,
                client.address = client_address.as_deref(),
                action = audited.action,
                allowed = audited.is_allowed,
                user.id = audited.user.as_deref(),
                purchases = audited.purchases,
                denied = audited.denied,
                positions = audited.positions.as_deref(),
                resolved = self.trail.resolved_count.get(),
                reason = audited.reason.as_deref(),
                purchase.id = self.purchase_id.as_ref().and_then(|id| id.to_str().ok()),
                http.status = self.status,
                request.id = request_id,
            );
        }
    }
}
