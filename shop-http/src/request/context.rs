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

/// Returns whether `text` is a [`traceparent`]: four groups of lower-case hex digits. The ids of the
/// trace and of the parent must not be zero, and the version must not be `ff`.
///
/// [`traceparent`]: https://www.w3.org/TR/trace-context/#traceparent-header
fn is_traceparent(text: &str) -> bool {
    let has_groups = text.split('-').map(str::len).eq([2, 32, 16, 2]);
    let has_valid_bytes = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    if !has_groups || !has_valid_bytes {
        return false;
    }

    let has_valid_version = !text.starts_with("ff");
    let trace_id = &text[3..35];
    let parent_id = &text[36..52];
    has_valid_version
        && trace_id.contains(|digit: char| digit != '0')
        && parent_id.contains(|digit: char| digit != '0')
}
