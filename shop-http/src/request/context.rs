//! Reads the context of a request, which is stored with a purchase and sent to other services.

use axum::http::{HeaderMap, HeaderName};
use shop_core::RequestContext;

use crate::header_names::{REQUEST_ID, TRACEPARENT};

/// Returns the request id and the trace that `headers` name, or `None` if they name neither.
///
/// A trace that is not valid is ignored.
pub fn request_context(headers: &HeaderMap) -> Option<Box<RequestContext>> {
    let request_id = header_text(headers, &REQUEST_ID);
    let traceparent = header_text(headers, &TRACEPARENT).filter(|text| is_traceparent(text));

    let context = RequestContext::new(request_id, traceparent);
    (context != RequestContext::default()).then(|| Box::new(context))
}

/// Returns the value of the first header `name`, if it is visible ASCII.
fn header_text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Returns whether `text` is a [`traceparent`]: four groups of lower-case hex digits, of which the
/// ids are not zero, and the version is not `ff`.
///
/// [`traceparent`]: https://www.w3.org/TR/trace-context/#traceparent-header
fn is_traceparent(text: &str) -> bool {
    text.split('-').map(str::len).eq([2, 32, 16, 2])
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
        && !text.starts_with("ff")
        && text[3..35].contains(|digit: char| digit != '0')
        && text[36..52].contains(|digit: char| digit != '0')
}
