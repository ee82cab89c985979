//! The options of the routers and the listener, and the types of their values.
//!
//! Each type of a value is parsed from the text of a setting. [`CorsOrigins`], [`Hosts`] and
//! [`TrustedProxies`] are lists separated by commas, and share [`parse_list`] and its error
//! [`InvalidList`].

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::uri::Authority;
use ipnet::IpNet;

shop_core::options! {
    /// Options of the routers and the listener.
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
        /// The maximum length of a request's path and query, in bytes (default 8,192; RFC 9110
        /// recommends at least 8,000).
        pub max_uri_bytes: usize = 8_192,
        /// The maximum size of the names and values of a request's headers together, in bytes
        /// (default 16 KiB). More than 100 headers are always rejected.
        pub max_header_bytes: usize = 16_384,
        /// The maximum size of a request's body, in bytes (default 100 KiB).
        pub max_body_bytes: usize = 102_400,
        /// The maximum size of a batch of purchases, in bytes (default 8 MiB).
        pub max_batch_bytes: usize = 8 << 20,
        /// The maximum number of purchases in a batch (default 10,000).
        pub max_batch_purchases: usize = 10_000,
        /// The maximum size of all batches and their results that are held in memory together, in
        /// bytes (default 64 MiB). Beyond this maximum, a batch gets a 503.
        pub max_batches_bytes: usize = 64 << 20,
        /// The maximum size of a file that is imported, in bytes (default 32 MiB). While the file
        /// is held in memory, it counts towards [`max_batches_bytes`](Self::max_batches_bytes).
        pub max_import_bytes: usize = 32 << 20,
        /// How long a client may take to send the head of a request, before the connection is
        /// closed (default 30 s). For the first request, this is the time since the connection was
        /// opened, with the TLS handshake.
        pub header_read_timeout: Duration = Duration::from_secs(30),
        /// How long a connection may be idle between two requests, before it is closed (default 620
        /// s: longer than proxies keep theirs, so that no request meets the end of its connection).
        pub idle_timeout: Duration = Duration::from_secs(620),
        /// How long a client may take to send a body (default 10 s).
        pub body_read_timeout: Duration = Duration::from_secs(10),
        /// How long a publish may take (default 5 s). After this time, its outcome is reported as
        /// unknown.
        pub publish_timeout: Duration = Duration::from_secs(5),
        /// How long one query of the store or of another service may take (default 5 s).
        pub query_timeout: Duration = Duration::from_secs(5),
        /// How long a request may take until its response begins (default 30 s). This time-out is
        /// longer than the sum of the other time-outs, so that these expire first and report more.
        /// A write continues after the time-out, and its outcome is reported as unknown.
        pub request_timeout: Duration = Duration::from_secs(30),
        /// How long a client may read nothing of its response before the connection is closed
        /// (default 30 s). A client that reads less than 1 KiB per second, on average over about this
        /// time, loses its connection as well.
        pub write_timeout: Duration = Duration::from_secs(30),
        /// The maximum number of concurrent writes, of concurrent reads, and of requests that wait
        /// for the store (default 1,024 each). A read that waits for a purchase to be stored counts
        /// as a wait from then on. A streamed listing counts until its end. Further requests get a
        /// 503 at once, except requests for health and metrics.
        pub max_requests: usize = 1_024,
        /// The maximum size of all responses to reads that are held for clients together, in bytes
        /// (default 64 MiB). Responses below 16 KiB do not count, a streamed response counts as 256
        /// KiB. Beyond this maximum, a read gets a 503.
        pub max_response_bytes: usize = 64 << 20,
        /// The maximum number of event streams (default 1,000). Further readers get a 503.
        pub max_event_streams: usize = 1_000,
        /// The maximum number of writes of one client per second (default none). Further writes get
        /// a 429. A client is identified by its [`Principal`](crate::Principal), and without one by
        /// its address, of IPv6 by the network of 64 bits. A request that authentication rejects
        /// with 401 counts for its address.
        ///
        /// Clients are counted in this process alone: each of *n* replicas allows this rate.
        /// Outside [`serve`](crate::serve()), the address is read from
        /// [`ConnectInfo`](axum::extract::ConnectInfo), if the program adds this extension.
        pub rate_writes: Option<NonZeroU32> = None,
        /// The maximum number of reads of one client per second (default none). Clients are
        /// identified and counted as for [`rate_writes`](Self::rate_writes).
        pub rate_reads: Option<NonZeroU32> = None,
        /// The maximum number of open connections (default 4,096). To accept more, the server
        /// closes the connections that are idle for longest. While no connection has been idle for a
        /// second, new connections wait to be accepted.
        pub max_connections: usize = 4_096,
        /// The maximum number of open connections of one client address, of IPv6 of a network of 64
        /// bits (default none). To accept one more, the server closes the client's oldest idle
        /// connection. If none is idle, it closes the new connection. The maximum does not apply to
        /// trusted proxies.
        pub client_connections: Option<NonZeroU32> = None,
        /// The proxies whose header `X-Forwarded-For` names the client, for limits and the access
        /// log (default none).
        pub trusted_proxies: TrustedProxies = TrustedProxies::default(),
        /// The origins whose pages may call facing (default all). Pages of other origins may not
        /// write. On management, no page of another origin may write.
        pub cors: CorsOrigins = CorsOrigins::Any,
        /// The hosts that requests may name, except for probes, `/health` and `/metrics` (default
        /// all).
        pub hosts: Hosts = Hosts::Any,
        /// Which requests are logged in the access log, and whether there is an audit log (default
        /// [`AccessLog::Off`]).
        pub access_log: AccessLog = AccessLog::Off,
        /// Whether facing remembers each user's last purchase, and listings wait until it is stored
        /// (default `false`). Useful where this process is the only one that accepts purchases.
        pub read_your_writes: bool = false,
        /// How long purchases are kept, by their timestamp (default for ever). A purchase with an
        /// older timestamp is refused.
        pub purchase_retention: Option<Duration> = None,
        /// Whether purchases are refunded by `POST /v1/purchases/{id}:refund` (default `true`). A
        /// program that reads the same log and knows no refunds would take a refund for a purchase.
        pub refunds: bool = true,
        /// The messaging system and the topic that the spans of publishes name (default none:
        /// publishes create no spans).
        pub traced_topic: Option<(&'static str, String)> = None,
    }
}

/// The origins whose pages may send requests.
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
        parse_list(text, ORIGINS, parse_origin).map(Self::List)
    }
}

/// Reads an origin: the scheme `http` or `https`, and a host with an optional port.
fn parse_origin(text: &str) -> Option<HeaderValue> {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))?;

    if host.is_empty() || host.contains(['/', ' ', '*']) {
        return None;
    }
    HeaderValue::from_str(text).ok()
}

/// Which requests are logged in the access log (default none).
///
/// A line is an event of `tracing` with the target `access`, at the level `INFO`. It is written
/// when the response was sent or the client disconnected, with these fields: the principal, and its
/// user id if that is another; the address of the client, as [`TrustedProxies`] determine it; the
/// route as a template; the status, the bytes of the body and the duration of the response; and the
/// id of the request.
///
/// With an access log there is also an audit log, with the target `audit`. It contains a line for
/// each write, for each replay or discard of dead letters, and for each read by a known principal
/// of what belongs to another user, whether the policy allowed it or not. Lines of the audit log
/// are not sampled.
///
/// Neither log contains a body, a name of a user, a key or a token.
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
    /// No request, and no audit log.
    #[default]
    Off,
    /// All requests.
    All,
    /// One of this many requests.
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
            fraction => {
                let divisor_text = fraction.strip_prefix("1/").ok_or(InvalidAccessLog)?;
                let divisor = divisor_text
                    .parse()
                    .map_err(|_not_a_number| InvalidAccessLog)?;
                Ok(Self::OneIn(divisor))
            }
        }
    }
}

/// The hosts that a service responds for, by the header `Host`.
///
/// A page of another site can reach a service on the machine or in the network of its reader, by a
/// name that resolves to an address there (DNS rebinding). But the `Host` of its requests is this
/// name, and the page cannot change it.
///
/// ```
/// use shop_http::Hosts;
///
/// assert_eq!(Hosts::default(), Hosts::Any);
/// assert!("shop.example, localhost:3000".parse::<Hosts>().is_ok());
/// assert!("https://shop.example".parse::<Hosts>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Hosts {
    /// All hosts.
    #[default]
    Any,
    /// These hosts. A host without a port allows all ports.
    List(Vec<Authority>),
    /// These hosts, and all hosts that a page of another site cannot rebind: `localhost` and names
    /// below it, and addresses. Requests that name no host are allowed, too.
    Local(Vec<Authority>),
}

impl FromStr for Hosts {
    type Err = InvalidList;

    /// Reads hosts separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HOSTS: &str = "a host: use names such as shop.example or localhost:3000, separated by commas, and without wildcards";

        parse_list(text, HOSTS, parse_allowed_host).map(Self::List)
    }
}

impl Hosts {
    /// Adds the hosts that [`Local`](Self::Local) always allows. [`Any`](Self::Any) becomes `Local`
    /// without further hosts.
    #[must_use]
    pub fn or_local(self) -> Self {
        match self {
            Self::Any => Self::Local(Vec::new()),
            Self::List(hosts) | Self::Local(hosts) => Self::Local(hosts),
        }
    }

    /// Returns whether the service responds for `host`, which is `None` if a request names no host.
    pub(crate) fn allows(&self, host: Option<&Authority>) -> bool {
        let allowed_hosts = match self {
            Self::Any => return true,
            Self::Local(_) if host.is_none_or(|host| is_local(host.host())) => return true,
            Self::List(hosts) | Self::Local(hosts) => hosts,
        };
        let Some(host) = host else {
            return false;
        };

        let name = normalize_name(host);
        allowed_hosts.iter().any(|allowed| {
            normalize_name(allowed) == name
                && (allowed.port().is_none() || allowed.port_u16() == host.port_u16())
        })
    }
}

/// Returns the name of a host in lower case, without the dot at its end that may stand for the root
/// of DNS.
fn normalize_name(host: &Authority) -> String {
    host.host().trim_end_matches('.').to_ascii_lowercase()
}

/// Returns whether `host` is an address, or a name that resolves to this machine alone (RFC 6761,
/// section 6.3).
pub(crate) fn is_local(host: &str) -> bool {
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Reads a host with an optional port.
pub(crate) fn parse_host(text: &str) -> Option<Authority> {
    let host: Authority = text.parse().ok()?;
    if host.host().is_empty() || host.as_str().contains('@') {
        return None;
    }
    Some(host)
}

/// Reads a host with an optional port for the list of allowed hosts.
///
/// Returns `None` for a host with characters that no request sends, such as the wildcard in
/// `*.shop.example`: it would allow nothing.
fn parse_allowed_host(text: &str) -> Option<Authority> {
    let authority = parse_host(text)?;
    let host = authority.host();
    let is_ipv6_address = host.starts_with('[');
    let is_name = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    (is_ipv6_address || is_name).then_some(authority)
}

/// The proxies whose header `X-Forwarded-For` is believed (default none).
///
/// The client of a request is the last address of the header that is not a proxy's. Without a
/// trusted proxy it is the address of the connection, whatever the header says.
///
/// ```
/// use shop_http::TrustedProxies;
///
/// assert!("10.0.0.0/8, 192.0.2.7, fd00::/8".parse::<TrustedProxies>().is_ok());
/// assert!("proxy.example".parse::<TrustedProxies>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl FromStr for TrustedProxies {
    type Err = InvalidList;

    /// Reads addresses and networks separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const NETWORKS: &str =
            "an address or a network: use 192.0.2.7 or 10.0.0.0/8, separated by commas";

        parse_list(text, NETWORKS, parse_network).map(Self)
    }
}

impl TrustedProxies {
    /// Returns whether `address` is the address of a trusted proxy.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Reads a network, or an address as the network that consists of this address alone.
fn parse_network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.into());
    }
    text.parse().ok()
}

/// A text that is not a list of the values of an option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {expected}")]
pub struct InvalidList {
    given: String,
    expected: &'static str,
}

/// Parses the items of `text`, which are separated by commas.
///
/// # Errors
/// [`InvalidList`] with the first item that `parse_item` refuses, and with `expected`, which
/// describes a valid item.
fn parse_list<T>(
    text: &str,
    expected: &'static str,
    parse_item: fn(&str) -> Option<T>,
) -> Result<Vec<T>, InvalidList> {
    let mut items = Vec::new();
    for item in text.split(',').map(str::trim) {
        let Some(parsed_item) = parse_item(item) else {
            return Err(InvalidList {
                given: item.to_owned(),
                expected,
            });
        };
        items.push(parsed_item);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_another_form_are_refused() {
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
        for text in ["", "1/0", "2/3", "0.1"] {
            assert!(text.parse::<AccessLog>().is_err(), "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.1,", "proxy"] {
            assert!(text.parse::<TrustedProxies>().is_err(), "{text}");
        }
        for text in [
            "", "a,", "http://a", "a/b", "user@a", "a b", "*.a", "*", "a%2eb",
        ] {
            assert!(text.parse::<Hosts>().is_err(), "{text}");
        }
        for text in ["a_b.example:3000", "[::1]:3000", "::1", "192.0.2.7"] {
            let hosts = text.parse::<Hosts>();
            assert_eq!(hosts.is_ok(), text != "::1", "{text}");
        }
    }
}
