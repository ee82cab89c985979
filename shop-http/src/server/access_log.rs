//! The access log: a line per request. The audit log: a line per write, and per read of what
//! belongs to others.

use std::net::IpAddr;
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

/// Writes the access log of a router.
pub(crate) struct AccessLogger {
    one_in: NonZeroU64,
    requests: AtomicU64,
    proxies: TrustedProxies,
}

impl AccessLogger {
    /// `None` if there is no access log.
    pub(crate) fn new(options: &HttpOptions) -> Option<Self> {
        let one_in = match options.access_log {
            AccessLog::Off => return None,
            AccessLog::All => NonZeroU64::MIN,
            AccessLog::OneIn(number) => number,
        };
        Some(Self {
            one_in,
            requests: AtomicU64::new(0),
            proxies: options.trusted_proxies.clone(),
        })
    }

    /// Begins the entry of `request`, whose id is `id`, at `begun`.
    pub(crate) fn begin(
        &self,
        request: &Request,
        route: Arc<RouteSeries>,
        outer: String,
        id: &HeaderValue,
        begun: Instant,
    ) -> AccessLogEntry {
        let is_sampled = self
            .requests
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(self.one_in.get());
        let client = self.proxies.client_of(request);
        AccessLogEntry {
            trail: Arc::default(),
            is_sampled,
            id: id.clone(),
            method: request.method().clone(),
            route,
            outer,
            client,
            begun,
            status: None,
            purchase: None,
            bytes: 0,
        }
    }
}

/// The lines of one request, written when this is dropped.
pub(crate) struct AccessLogEntry {
    pub(crate) trail: Arc<Trail>,
    is_sampled: bool,
    id: HeaderValue,
    method: Method,
    route: Arc<RouteSeries>,
    outer: String,
    client: Option<IpAddr>,
    begun: Instant,
    /// `None` if the client disconnected before the response.
    status: Option<u16>,
    purchase: Option<HeaderValue>,
    bytes: u64,
}

impl AccessLogEntry {
    /// Writes the lines when `response` was sent, or the client disconnected.
    pub(crate) fn until_sent(mut self, response: Response) -> Response {
        self.status = Some(response.status().as_u16());
        self.purchase = response.headers().get(PURCHASE_ID).cloned();
        watch_body(response, move |polled| {
            let entry = &mut self;
            if let Poll::Ready(Some(Ok(frame))) = &polled {
                entry.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            polled
        })
    }
}

impl Drop for AccessLogEntry {
    fn drop(&mut self) {
        let sender = self.trail.principal.get();
        let request = self.id.to_str().ok();
        let principal = sender.and_then(Principal::name);
        // The same for most users of tokens.
        let subject = sender
            .and_then(Principal::subject)
            .filter(|subject| Some(*subject) != principal);
        let audited = self.trail.audited.get();
        // Formatted once for both lines, and not for a request without any.
        let client = self
            .client
            .filter(|_| self.is_sampled || audited.is_some())
            .map(|client| client.to_string());
        // The span of the request contains its path, which may contain names.
        if self.is_sampled {
            let micros = (self.begun.elapsed().as_secs_f64() * 1_000_000.0).round();
            tracing::info!(
                target: "access",
                parent: None,
                principal,
                subject,
                client.address = client.as_deref(),
                http.method = self.method.as_str(),
                http.route = self.route.template(&self.outer).as_deref(),
                http.status = self.status,
                bytes = self.bytes,
                duration_ms = micros / 1_000.0,
                request.id = request,
            );
        }
        if let Some(audited) = audited {
            tracing::info!(
                target: "audit",
                parent: None,
                principal,
                subject,
                client.address = client.as_deref(),
                action = audited.action,
                allowed = audited.is_allowed,
                user.id = audited.user.as_deref(),
                purchases = audited.batch.map(|(purchases, _)| purchases),
                denied = audited.batch.map(|(_, denied)| denied),
                positions = audited.positions.as_deref(),
                resolved = self.trail.resolved.get(),
                reason = audited.reason.as_deref(),
                purchase.id = self.purchase.as_ref().and_then(|id| id.to_str().ok()),
                http.status = self.status,
                request.id = request,
            );
        }
    }
}
