//! `GET /openapi.json`: the API as a document. `GET /docs`: a page to read and try it, without external files.

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
use bytes::Bytes;

#[cfg(feature = "docs")]
pub(crate) mod page;

const JSON: [(HeaderName, HeaderValue); 1] =
    [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];

/// The document, generated at the first request for it.
pub(crate) struct Document(LazyLock<Bytes, Box<dyn FnOnce() -> Bytes + Send>>);

impl Default for Document {
    fn default() -> Self {
        Self::new(Bytes::new)
    }
}

impl Document {
    /// The document that `write` generates.
    pub(crate) fn new(write: impl FnOnce() -> Bytes + Send + 'static) -> Self {
        Self(LazyLock::new(Box::new(write)))
    }

    pub(crate) fn json(&self) -> impl IntoResponse + use<> {
        (JSON, Bytes::clone(&self.0))
    }
}
