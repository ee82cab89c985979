//! The options of the routers and the listener.

pub(crate) mod access_log;
pub(crate) mod hosts;
pub(crate) mod proxies;

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderValue;
use shop_core::domain::Currency;

use crate::compat::Dialect;
use access_log::AccessLog;
use hosts::Hosts;
use proxies::TrustedProxies;

shop_core::options! {
    /// The options of the routers and the listener.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use shop_http::HttpOptions;
    ///
    /// let options = HttpOptions::default()
    ///     .max_requests(200)
    ///     .request_timeout(Duration::from_secs(20))
    ///     .cors("https://shop.example".parse()?);
    /// # Ok::<(), shop_http::InvalidList>(())
    /// ```
    #[derive(Debug, Clone)]
    pub struct HttpOptions {
        /// The dialect of the paths outside of `/v1` (default [`Dialect::DEFAULT`]).
        pub dialect: &'static Dialect = Dialect::DEFAULT,
        /// The maximum length of a request's path and query, in bytes (default 8,192; RFC 9110 recommends at least
        /// 8,000).
        pub max_uri_bytes: usize = 8_192,
        /// The maximum size of the names and values of a request's headers together, in bytes (default 16 KiB). More
        /// than 100 headers are always rejected.
        pub max_header_bytes: usize = 16_384,
        /// The maximum size of a request's body, in bytes (default 100 KiB).
        pub max_body_bytes: usize = 102_400,
        /// The maximum size of a batch of purchases, in bytes (default 8 MiB).
        pub max_batch_bytes: usize = 8 << 20,
        /// The maximum number of purchases in a batch (default 10,000).
        pub max_batch_purchases: usize = 10_000,
        /// The maximum size of all batches and their results that are held, together, in bytes (default 64 MiB). Beyond
        /// it a batch gets a 503.
        pub max_batches_bytes: usize = 64 << 20,
        /// The maximum size of a file that is imported, in bytes (default 32 MiB). It counts as a batch while it is held.
        pub max_import_bytes: usize = 32 << 20,
        /// How long a connection may take until its first byte, before it is closed (default 10 s).
        pub first_byte_timeout: Duration = Duration::from_secs(10),
        /// How long a client may take to send the head of a request, before the connection is closed (default 30 s).
        pub header_read_timeout: Duration = Duration::from_secs(30),
        /// How long a connection may be idle between two requests, before it is closed (default 620 s: longer than proxies
        /// keep theirs, so that no request meets the end of its connection).
        pub idle_timeout: Duration = Duration::from_secs(620),
        /// How long a TLS handshake may take (default 10 s).
        pub tls_handshake_timeout: Duration = Duration::from_secs(10),
        /// How long a client may take to send a body (default 10 s).
        pub body_read_timeout: Duration = Duration::from_secs(10),
        /// How long a publish may take (default 5 s). After that its outcome is reported as unknown.
        pub publish_timeout: Duration = Duration::from_secs(5),
        /// How long one query of the store or of another service may take (default 5 s).
        pub query_timeout: Duration = Duration::from_secs(5),
        /// How long a request may take until its response begins (default 30 s). It is longer than the sum of the other
        /// time-outs, so that these expire first and report more. A write continues after it, and its outcome is
        /// reported as unknown.
        pub request_timeout: Duration = Duration::from_secs(30),
        /// How long a client may read nothing of its response before the connection is closed (default 30 s).
        pub write_timeout: Duration = Duration::from_secs(30),
        /// The minimum rate at which a client reads, in bytes per second (default 1,024). A client that is slower on
        /// average, over about [`write_timeout`](Self::write_timeout), loses its connection. 0 for no minimum.
        pub min_read_rate: u32 = 1_024,
        /// The maximum of concurrent writes, and that of concurrent reads (default 1,024 each). A streamed listing
        /// counts until its end. Requests beyond it get a 503 at once, except those for health and metrics.
        pub max_requests: usize = 1_024,
        /// The maximum of reads that wait for a purchase to be stored (default 1,024). They do not count as
        /// [`max_requests`](Self::max_requests) while they wait. Beyond it they get a 503 at once.
        pub max_waits: usize = 1_024,
        /// The maximum size of all responses to reads that are held for clients, together, in bytes (default 64 MiB).
        /// Responses below 16 KiB do not count, a streamed one counts as 256 KiB. Beyond it a read gets a 503.
        pub max_response_bytes: usize = 64 << 20,
        /// The maximum of streams of events (default 1,000). Beyond it a reader gets a 503.
        pub max_event_streams: usize = 1_000,
        /// How long a client may take to read a streamed response (default 10 min). After that it is truncated.
        pub response_timeout: Duration = Duration::from_secs(600),
        /// The maximum of writes of one client per second (default none). The client is the
        /// [`Principal`](crate::Principal), else its address, of IPv6 a network of 64 bits. Beyond it a write gets a
        /// 429. A request that authentication rejects with 401 counts for its address.
        ///
        /// Clients are counted in this process alone: of *n* replicas, each allows as much. Outside of
        /// [`serve`](crate::serve) the address is that of [`ConnectInfo`](axum::extract::ConnectInfo), if the program
        /// adds it.
        pub rate_writes: Option<NonZeroU32> = None,
        /// The same for reads.
        pub rate_reads: Option<NonZeroU32> = None,
        /// The maximum of open connections (default 4,096). For more, the connections that are idle for longest are
        /// closed, those without any request first. While none is idle for a second, more wait to be accepted.
        pub max_connections: usize = 4_096,
        /// The maximum of open connections of one client address, of an IPv6 network of 64 bits (default none). For
        /// more, the client's oldest idle connection is closed, or the new one. Trusted proxies have no maximum.
        pub client_connections: Option<NonZeroU32> = None,
        /// The proxies whose header `X-Forwarded-For` names the client, for limits and the access log (default none).
        pub trusted_proxies: TrustedProxies = TrustedProxies::default(),
        /// The origins whose pages may call facing (default all). Pages of others, and on management those of all other
        /// origins, may not write.
        pub cors: CorsOrigins = CorsOrigins::Any,
        /// The hosts that requests may name, except for probes, `/health` and `/metrics` (default all).
        pub hosts: Hosts = Hosts::Any,
        /// Which requests have a line in the access log, and whether there is an audit log (default
        /// [`AccessLog::Off`]).
        pub access_log: AccessLog = AccessLog::Off,
        /// Whether facing remembers each user's last purchase, and listings wait until it is stored (default `false`).
        /// Useful where this process is the only one that accepts purchases.
        pub read_your_writes: bool = false,
        /// How long purchases are kept, by their timestamp (default for ever). A purchase with an older one is refused.
        pub purchase_retention: Option<Duration> = None,
        /// The currency of the shop (default none). Purchases without one get it. Those with another one are refused, or with
        /// any if there is none here.
        pub currency: Option<Currency> = None,
        /// Whether purchases are refunded by `POST /v1/purchases/{id}:refund` (default `true`). A program of a replaced system
        /// that reads the same log would take a refund for a purchase.
        pub refunds: bool = true,
        /// The system of the log and the topic that facing publishes to, as the spans of publishes name them (default
        /// none: then publishes have no spans).
        #[doc(hidden)]
        pub traced_topic: Option<(&'static str, String)> = None,
        /// How long an order of an unknown user waits for the event of this user, at most
        /// [`publish_timeout`](Self::publish_timeout) (default 0). Useful on management, which stores the orders.
        pub unknown_user_wait: Duration = Duration::ZERO,
    }
}

/// The origins whose pages may call.
///
/// ```
/// use shop_http::CorsOrigins;
///
/// assert_eq!("*".parse(), Ok(CorsOrigins::Any));
/// assert!("https://shop.example, https://admin.shop.example".parse::<CorsOrigins>().is_ok());
/// assert!("shop.example".parse::<CorsOrigins>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// All origins.
    Any,
    /// These origins.
    List(Vec<HeaderValue>),
}

impl FromStr for CorsOrigins {
    type Err = InvalidList;

    /// Reads `*`, or a list of origins separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ORIGINS: &str =
            "an origin: use `*`, or origins such as https://shop.example separated by commas";
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        list(text, ORIGINS, |origin| {
            let host = origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"))?;
            let fits = !host.is_empty() && !host.contains(['/', ' ', '*']);
            HeaderValue::from_str(origin).ok().filter(|_| fits)
        })
        .map(Self::List)
    }
}

/// A text that is not a list of the values of an option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {expected}")]
pub struct InvalidList {
    given: String,
    expected: &'static str,
}

/// The values in `text`, which are separated by commas. `expected` is what each of them must be.
pub(crate) fn list<T>(
    text: &str,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, InvalidList> {
    let parse = |one: &str| {
        parse(one).ok_or_else(|| InvalidList {
            given: one.to_owned(),
            expected,
        })
    };
    text.split(',').map(|one| parse(one.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_a_star_or_a_list() {
        assert_eq!("*".parse(), Ok(CorsOrigins::Any));
        let two = "https://shop.example, http://localhost:8080"
            .parse::<CorsOrigins>()
            .unwrap();
        assert!(matches!(two, CorsOrigins::List(origins) if origins.len() == 2));
        for text in [
            "",
            "shop.example",
            "https://",
            "https://a/b",
            "https://*.a",
            "https://a,",
        ] {
            assert!(text.parse::<CorsOrigins>().is_err(), "{text}");
        }
    }
}
