//! `GET /openapi.json`: the API as a document. `GET /docs`: a page to read and try it, without external files.

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::json;

use crate::routes::mount::Mount;

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

    /// The document below `mount`, which is its server.
    pub(crate) fn json(&self, mount: &Mount) -> impl IntoResponse + use<> {
        let document = Bytes::clone(&self.0);
        let members = document.strip_prefix(b"{").filter(|_| !mount.prefix().is_empty());
        let mounted = members.map(|members| {
            let servers = format!(r#"{{"servers":{},"#, json!([{"url": mount.prefix()}]));
            Bytes::from([servers.as_bytes(), members].concat())
        });
        (JSON, mounted.unwrap_or(document))
    }
}
