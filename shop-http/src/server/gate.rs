//! Refuses requests by their head: what breaks the rules of HTTP, or names another host.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Version, header};
use shop_core::ErrorKind;

use crate::options::{Hosts, is_local, parse_host};
use crate::response::{HttpError, HttpResult};

/// The name in `host`, if it is letters, digits, dots and hyphens with an optional port: most are,
/// and need no parser.
fn plain(host: &str) -> Option<&str> {
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    (!name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
        && port.bytes().all(|byte| byte.is_ascii_digit()))
    .then_some(name)
}

/// Refuses `request` by its head. `is_exempt` says whether it names the host of a pod, such as a
/// probe.
pub(crate) fn check(request: &Request, hosts: &Hosts, is_exempt: bool) -> HttpResult<()> {
    // A fault in a head that came over a connection: it is reported in the dialect of the path.
    if let Some(fault) = request.extensions().get::<HttpError>() {
        return Err(fault.clone());
    }
    if is_exempt || matches!(hosts, Hosts::Any) {
        return Ok(());
    }
    let text = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority = request.uri().authority();
    let is_plain_local = authority.is_none()
        && matches!(hosts, Hosts::Local(_))
        && text.and_then(plain).is_some_and(is_local);
    let named = || authority.cloned().or_else(|| text.and_then(parse_host));
    if is_plain_local || hosts.allows(named().as_ref()) {
        Ok(())
    } else {
        Err(HttpError::UNKNOWN_HOST)
    }
}

/// The first fault in the head of a request, by RFC 9110 and 9112. hyper accepts these.
pub(crate) fn fault(version: Version, headers: &HeaderMap) -> Option<HttpError> {
    let fault = |status, kind, text| Some(HttpError::with_kind(status, kind, text));
    let mut hosts = headers.get_all(header::HOST).iter();
    let is_valid =
        |host: &str| host.is_empty() || plain(host).is_some() || parse_host(host).is_some();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.to_str().is_ok_and(is_valid) => {}
        (None, _) if version != Version::HTTP_11 => {}
        _ => {
            let text = "Host must be sent once, with a host and an optional port";
            return fault(StatusCode::BAD_REQUEST, ErrorKind::Invalid, text);
        }
    }
    let is = |name, word: &str| {
        headers
            .get_all(name)
            .iter()
            .all(|value| value.as_bytes().eq_ignore_ascii_case(word.as_bytes()))
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
            assert_eq!(hosts.allows(parse_host(host).as_ref()), allowed, "{host}");
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
            assert_eq!(local.allows(parse_host(host).as_ref()), allowed, "{host}");
        }
        assert!(
            local.allows(None)
                && !Hosts::Any
                    .or_local()
                    .allows(parse_host("shop.example").as_ref())
        );
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
            (
                &[("host", "a"), ("host", "a")],
                Some(StatusCode::BAD_REQUEST),
            ),
            (&[("host", "a/b")], Some(StatusCode::BAD_REQUEST)),
            (&[("host", "u@a")], Some(StatusCode::BAD_REQUEST)),
            (
                &[
                    ("host", "a"),
                    ("transfer-encoding", "Chunked"),
                    ("expect", "100-Continue"),
                ],
                None,
            ),
            (
                &[("host", "a"), ("transfer-encoding", "gzip, chunked")],
                Some(StatusCode::NOT_IMPLEMENTED),
            ),
            (
                &[("host", "a"), ("transfer-encoding", "identity")],
                Some(StatusCode::NOT_IMPLEMENTED),
            ),
            (
                &[("host", "a"), ("expect", "a-gift")],
                Some(StatusCode::EXPECTATION_FAILED),
            ),
        ] {
            assert_eq!(find(Version::HTTP_11, headers), fault, "{headers:?}");
        }
        assert_eq!(find(Version::HTTP_10, &[]), None);
        assert_eq!(find(Version::HTTP_2, &[]), None);
    }
}
