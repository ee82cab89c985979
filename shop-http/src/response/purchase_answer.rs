//! The response to an accepted purchase, in one buffer.

use std::fmt::Arguments;
use std::io::Write;
use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use shop_core::PurchaseId;

use crate::header_names::{PURCHASE_ID, REPLAYED};
use crate::response::json::{JSON, no_json};

/// Enough for the texts of usual headers, and for a body with one purchase and its receipt.
const TYPICAL_BYTES: usize = 1_024;
/// All headers of a response, with those that the layers add.
const MAX_HEADERS: usize = 16;

/// The texts of a response with a purchase: of its headers, then its body.
pub(crate) struct PurchaseAnswer {
    text: Vec<u8>,
    headers: [Option<(HeaderName, Range<usize>)>; 2],
    is_replayed: bool,
}

impl PurchaseAnswer {
    /// A response with the purchase's `id`, which says whether the request repeats one that was acknowledged before.
    pub(crate) fn new(id: PurchaseId, is_replayed: bool) -> Self {
        let mut text = Vec::with_capacity(TYPICAL_BYTES);
        text.extend_from_slice(id.encode(&mut [0; PurchaseId::MAX_BYTES]).as_bytes());
        let id = Some((PURCHASE_ID, 0..text.len()));
        Self { text, headers: [id, None], is_replayed }
    }

    /// Adds one header.
    pub(crate) fn header(&mut self, name: HeaderName, value: Arguments<'_>) {
        let start = self.text.len();
        // Writing to memory does not fail.
        drop(self.text.write_fmt(value));
        self.headers[1] = Some((name, start..self.text.len()));
    }

    /// The response with `body` as JSON.
    pub(crate) fn respond(self, status: StatusCode, body: &impl Serialize) -> Response {
        self.respond_with(status, |text| serde_json::to_writer(text, body))
    }

    /// The response with a body that `write` appends as JSON.
    pub(crate) fn respond_with(
        mut self,
        status: StatusCode,
        write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
    ) -> Response {
        let start = self.text.len();
        if let Err(error) = write(&mut self.text) {
            return no_json(error);
        }
        let text = Bytes::from(self.text);
        let mut headers = HeaderMap::with_capacity(MAX_HEADERS);
        headers.insert(header::CONTENT_TYPE, JSON);
        for (name, range) in self.headers.into_iter().flatten() {
            if let Ok(value) = HeaderValue::from_maybe_shared(text.slice(range)) {
                headers.insert(name, value);
            }
        }
        if self.is_replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        let mut response = Response::new(Body::from(text.slice(start..)));
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        response
    }
}
