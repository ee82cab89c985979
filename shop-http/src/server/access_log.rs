//! The access log: a line per request. The audit log: a line per write, and per read of what belongs to others.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::str::FromStr;
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
use crate::options::HttpOptions;
use crate::server::client::TrustedProxies;
use crate::watched_body::watched;

/// Which requests have a line in the access log (default none).
///
/// A line is an event of `tracing` with the target `access`, at the level `INFO`, when the response was sent or the client
/// disconnected. It has the principal, its user id if that is another, the address of the client (as [`TrustedProxies`]
/// determine it), the route as a template, the status, the bytes of the body and the duration of the response, and the id
/// of the request.
///
/// With an access log there is also an audit log, with the target `audit`: a line per write, per replay or discard of dead
/// letters, and per read of what belongs to another user by a known principal, whether it was allowed or not. Lines of the
/// audit log are not sampled.
///
/// Neither has a body, a name of a user, a key or a token.
///
/// ```
/// use std::num::NonZeroU64;
///
/// use shop_http::AccessLog;
///
/// assert_eq!("on".parse(), Ok(AccessLog::All));
/// assert_eq!("1/100".parse(), Ok(AccessLog::OneIn(NonZeroU64::new(100).unwrap())));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AccessLog {
    /// None, and no audit log.
    #[default]
    Off,
    /// All.
    All,
    /// One of this many.
    OneIn(NonZeroU64),
}

/// A text that is not an [`AccessLog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be on, off, or 1/n for one of n requests")]
pub struct InvalidAccessLog;

impl FromStr for AccessLog {
    type Err = InvalidAccessLog;

    /// Reads `off`, `on` or `1/n`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::All),
            text => {
                let number = text.strip_prefix("1/").and_then(|number| number.parse().ok());
                number.map(Self::OneIn).ok_or(InvalidAccessLog)
            }
        }
    }
}

/// Writes the access log of a router.
#[derive(Debug)]
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
        let proxies = options.trusted_proxies.clone();
        Some(Self { one_in, requests: AtomicU64::new(0), proxies })
    }

    /// Begins the entry of `request`, whose id is `id`, at `begun`.
    pub(crate) fn begin(
        &self,
        request: &Request,
        (route, outer): (Arc<RouteSeries>, String),
        id: &HeaderValue,
        begun: Instant,
    ) -> Entry {
        let is_sampled = self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.one_in.get());
        let client = self.proxies.client_of(request);
        Entry {
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
pub(crate) struct Entry {
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

impl Entry {
    /// Writes the lines when `response` was sent, or the client disconnected.
    pub(crate) fn until_sent(mut self, response: Response) -> Response {
        self.status = Some(response.status().as_u16());
        self.purchase = response.headers().get(PURCHASE_ID).cloned();
        watched(response, move |polled| {
            let entry = &mut self;
            if let Poll::Ready(Some(Ok(frame))) = &polled {
                entry.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            polled
        })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let (sender, request) = (self.trail.principal.get(), self.id.to_str().ok());
        let principal = sender.and_then(Principal::name);
        // The same for most users of tokens.
        let subject = sender.and_then(Principal::subject).filter(|subject| Some(*subject) != principal);
        let audited = self.trail.audited.get();
        // Formatted once for both lines, and not for a request without any.
        let client =
            self.client.filter(|_| self.is_sampled || audited.is_some()).map(|client| client.to_string());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_log_is_on_off_or_sampled() {
        let share = |number| Ok(AccessLog::OneIn(NonZeroU64::new(number).unwrap()));
        for (text, log) in [
            ("off", Ok(AccessLog::Off)),
            ("On", Ok(AccessLog::All)),
            ("1/1", share(1)),
            ("1/250", share(250)),
            ("1/0", Err(InvalidAccessLog)),
            ("2/3", Err(InvalidAccessLog)),
            ("0.1", Err(InvalidAccessLog)),
            ("", Err(InvalidAccessLog)),
        ] {
            assert_eq!(text.parse(), log, "{text}");
        }
    }
}
