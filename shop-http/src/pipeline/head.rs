//! Checks the head of a request: its size, the rules of HTTP, and the host that it names.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, Version, header};
use shop_core::ErrorKind;

use crate::options::{Hosts, HttpOptions, is_local, parse_host};
use crate::response::{HttpError, HttpResult};

/// Checks the sizes of a request head: the length of its path and query, and the length of its
/// header names and values together, without the separators between them.
///
/// # Errors
/// - 414 if the path and query are longer than allowed
/// - 431 if the headers are larger than allowed
pub(super) fn check_head(request: &Request, options: &HttpOptions) -> HttpResult<()> {
    let path_and_query = request.uri().path_and_query();
    let path_and_query_bytes = path_and_query.map_or(0, |text| text.as_str().len());
    let max_uri_bytes = options.max_uri_bytes;
    if path_and_query_bytes > max_uri_bytes {
        let text = format!("Path and query must not have more than {max_uri_bytes} bytes");
        return Err(HttpError::too_large(StatusCode::URI_TOO_LONG, text));
    }

    let header_sizes = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    let max_header_bytes = options.max_header_bytes;
    if header_sizes.sum::<usize>() > max_header_bytes {
        let text = format!("Headers must not have more than {max_header_bytes} bytes together");
        return Err(HttpError::too_large(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            text,
        ));
    }
    Ok(())
}

/// Checks that a request names one of `hosts`.
///
/// # Errors
/// 421 if the request names another host.
pub(super) fn check_host(request: &Request, hosts: &Hosts) -> HttpResult<()> {
    if matches!(hosts, Hosts::Any) {
        return Ok(());
    }

    // A header that is not text names no host.
    let host_header = request.headers().get(header::HOST);
    let host_text = host_header.and_then(|host| host.to_str().ok());
    // Over HTTP/2, and in requests to a proxy, the URI itself names the host.
    let authority = request.uri().authority();
    let is_plain_local = authority.is_none()
        && matches!(hosts, Hosts::Local(_))
        && host_text.and_then(plain_host_name).is_some_and(is_local);
    // Most requests to a development machine name a plain local host, and need no parser.
    if is_plain_local {
        return Ok(());
    }

    let host = authority
        .cloned()
        .or_else(|| host_text.and_then(parse_host));
    if hosts.allows(host.as_ref()) {
        Ok(())
    } else {
        Err(HttpError::UNKNOWN_HOST)
    }
}

/// Returns the name in `host`, if `host` is plain: letters, digits, dots and hyphens with an
/// optional port. Most hosts are plain, and need no parser.
fn plain_host_name(host: &str) -> Option<&str> {
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let is_plain = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
        && port.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then_some(name)
}

/// Returns the first fault in a request head by the rules of RFC 9110 and RFC 9112 that hyper does
/// not enforce:
///
/// - 400 if `Host` is missing (HTTP/1.1), repeated, or not a host with an optional port
/// - 501 if `Transfer-Encoding` is anything but `chunked`
/// - 417 if `Expect` is anything but `100-continue`
pub(crate) fn find_fault(version: Version, headers: &HeaderMap) -> Option<HttpError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let is_host_valid = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_valid_host),
        (None, _) => version != Version::HTTP_11,
        _ => false,
    };
    if !is_host_valid {
        return Some(HttpError::with_kind(
            StatusCode::BAD_REQUEST,
            ErrorKind::Invalid,
            "Host must be sent once, with a host and an optional port",
        ));
    }

    if !every_value_is(headers, header::TRANSFER_ENCODING, "chunked") {
        return Some(HttpError::with_kind(
            StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Unsupported,
            "Transfer-Encoding must be chunked",
        ));
    }
    if !every_value_is(headers, header::EXPECT, "100-continue") {
        return Some(HttpError::with_kind(
            StatusCode::EXPECTATION_FAILED,
            ErrorKind::Invalid,
            "Expect must be 100-continue",
        ));
    }
    None
}

/// Returns whether `host` is empty, or a host with an optional port.
fn is_valid_host(host: &str) -> bool {
    host.is_empty() || plain_host_name(host).is_some() || parse_host(host).is_some()
}

/// Returns whether the value of each header `name` is `word`, in upper or lower case. A missing
/// header has no value, so the result is true.
fn every_value_is(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(word.as_bytes()))
}
