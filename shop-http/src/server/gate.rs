//! Refuses requests by their head: what breaks the rules of HTTP, or names another host.

use std::net::IpAddr;
use std::str::FromStr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Version, header};
use shop_core::ErrorKind;

use crate::options::{InvalidList, list};
use crate::response::{HttpError, HttpResult};

/// The hosts that a service responds for, by the header `Host`.
///
/// A page of another site can reach a service on the machine or in the network of its reader by a name that resolves to
/// an address there (DNS rebinding). It cannot choose the `Host`, which is that name.
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
    /// All.
    #[default]
    Any,
    /// These. One without a port allows all ports.
    List(Vec<Authority>),
    /// These, `localhost` and names below it, addresses, and requests that name none: what a page of another site cannot
    /// rebind.
    Local(Vec<Authority>),
}

impl FromStr for Hosts {
    type Err = InvalidList;

    /// Reads hosts separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HOSTS: &str = "a host: use names such as shop.example or localhost:3000, separated by commas";
        list(text, HOSTS, parsed).map(Self::List)
    }
}

impl Hosts {
    /// The same hosts with those of [`Local`](Self::Local), or these alone in place of [`Any`](Self::Any).
    #[must_use]
    pub fn or_local(self) -> Self {
        match self {
            Self::Any => Self::Local(Vec::new()),
            Self::List(hosts) | Self::Local(hosts) => Self::Local(hosts),
        }
    }

    fn allows(&self, host: Option<&Authority>) -> bool {
        let hosts = match self {
            Self::Any => return true,
            Self::Local(_) if host.is_none_or(|host| is_local(host.host())) => return true,
            Self::List(hosts) | Self::Local(hosts) => hosts,
        };
        // The root of DNS may be written.
        let name = |host: &Authority| host.host().trim_end_matches('.').to_ascii_lowercase();
        let is_same = |known: &&Authority, host: &Authority| {
            name(known) == name(host) && (known.port().is_none() || known.port_u16() == host.port_u16())
        };
        host.is_some_and(|host| hosts.iter().any(|known| is_same(&known, host)))
    }
}

/// Whether `host` is an address, or a name that resolves to this machine alone (RFC 6761, section 6.3).
fn is_local(host: &str) -> bool {
    let is_name = |name: String| name == "localhost" || name.ends_with(".localhost");
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || is_name(host.to_ascii_lowercase())
}

/// The name in `host`, if it is letters, digits, dots and hyphens with an optional port: most are, and need no parser.
fn plain(host: &str) -> Option<&str> {
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    (!name.is_empty() && name.bytes().all(is_name) && port.bytes().all(|byte| byte.is_ascii_digit()))
        .then_some(name)
}

/// A host with an optional port.
fn parsed(text: &str) -> Option<Authority> {
    let is_host = |host: &Authority| !host.host().is_empty() && !host.as_str().contains('@');
    text.parse().ok().filter(is_host)
}

/// Refuses `request` by its head. `is_exempt` says whether it names the host of a pod, such as a probe.
pub(crate) fn check(request: &Request, hosts: &Hosts, is_exempt: bool) -> HttpResult<()> {
    // A fault in a head that came over a connection: it is reported in the dialect of the path.
    if let Some(fault) = request.extensions().get::<HttpError>() {
        return Err(fault.clone());
    }
    if is_exempt || matches!(hosts, Hosts::Any) {
        return Ok(());
    }
    let text = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let is_plain_local = || matches!(hosts, Hosts::Local(_)) && text.and_then(plain).is_some_and(is_local);
    let named = || request.uri().authority().cloned().or_else(|| text.and_then(parsed));
    let is_allowed =
        (request.uri().authority().is_none() && is_plain_local()) || hosts.allows(named().as_ref());
    if is_allowed { Ok(()) } else { Err(HttpError::UNKNOWN_HOST) }
}

/// The first fault in the head of a request, by RFC 9110 and 9112. hyper accepts these.
pub(crate) fn fault(version: Version, headers: &HeaderMap) -> Option<HttpError> {
    let fault = |status, kind, text| Some(HttpError::of(status, kind, text));
    let mut hosts = headers.get_all(header::HOST).iter();
    let is_valid = |host: &str| host.is_empty() || plain(host).is_some() || parsed(host).is_some();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.to_str().is_ok_and(is_valid) => {}
        (None, _) if version != Version::HTTP_11 => {}
        _ => {
            let text = "Host must be sent once, with a host and an optional port";
            return fault(StatusCode::BAD_REQUEST, ErrorKind::Invalid, text);
        }
    }
    let is = |name, word: &str| {
        headers.get_all(name).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(word.as_bytes()))
    };
    if !is(header::TRANSFER_ENCODING, "chunked") {
        let text = "Transfer-Encoding must be chunked";
        return fault(StatusCode::NOT_IMPLEMENTED, ErrorKind::Unsupported, text);
    }
    if !is(header::EXPECT, "100-continue") {
        let text = "Expect must be 100-continue";
        return fault(StatusCode::EXPECTATION_FAILED, ErrorKind::Invalid, text);
    }
    None
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Method;

    use super::*;

    fn request(method: Method, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri("/buy");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn hosts_are_case_insensitive_and_ports_compared_if_given() {
        let hosts: Hosts = "Shop.example, localhost:3000, [::1]".parse().unwrap();
        for (host, allowed) in [
            ("shop.example", true),
            ("SHOP.EXAMPLE:8443", true),
            ("shop.example.:8443", true),
            ("localhost:3000", true),
            ("localhost", false),
            ("localhost:3001", false),
            ("[::1]:3000", true),
            ("evil.example", false),
            ("shop.example.evil.example", false),
        ] {
            assert_eq!(hosts.allows(parsed(host).as_ref()), allowed, "{host}");
        }
        assert!(!hosts.allows(None) && Hosts::Any.allows(None));
        let local = hosts.or_local();
        for (host, allowed) in [
            ("LOCALHOST:1", true),
            ("shop.localhost", true),
            ("127.0.0.1:3000", true),
            ("[::1]:3000", true),
            ("10.1.2.3:9000", true),
            ("shop.example", true),
            ("notlocalhost", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
        ] {
            assert_eq!(local.allows(parsed(host).as_ref()), allowed, "{host}");
        }
        assert!(local.allows(None) && !Hosts::Any.or_local().allows(parsed("shop.example").as_ref()));
        for wrong in ["", "a,", "http://a", "a/b", "user@a", "a b"] {
            assert!(wrong.parse::<Hosts>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_head_has_one_host_and_known_codings() {
        let find = |version, headers| {
            fault(version, request(Method::POST, headers).headers()).map(|error| error.status)
        };
        for (headers, fault) in [
            (&[("host", "a:1")][..], None),
            (&[("host", "")], None),
            (&[], Some(StatusCode::BAD_REQUEST)),
            (&[("host", "a"), ("host", "a")], Some(StatusCode::BAD_REQUEST)),
            (&[("host", "a/b")], Some(StatusCode::BAD_REQUEST)),
            (&[("host", "u@a")], Some(StatusCode::BAD_REQUEST)),
            (&[("host", "a"), ("transfer-encoding", "Chunked"), ("expect", "100-Continue")], None),
            (&[("host", "a"), ("transfer-encoding", "gzip, chunked")], Some(StatusCode::NOT_IMPLEMENTED)),
            (&[("host", "a"), ("transfer-encoding", "identity")], Some(StatusCode::NOT_IMPLEMENTED)),
            (&[("host", "a"), ("expect", "a-gift")], Some(StatusCode::EXPECTATION_FAILED)),
        ] {
            assert_eq!(find(Version::HTTP_11, headers), fault, "{headers:?}");
        }
        assert_eq!(find(Version::HTTP_10, &[]), None);
        assert_eq!(find(Version::HTTP_2, &[]), None);
    }
}
