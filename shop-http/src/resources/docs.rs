//! `GET /openapi.json`: the native API as a document. `GET /docs/compatibility/NAME.json`: the routes of a dialect.
//! `GET /docs` and `GET /docs/compatibility`: pages to read and try them, without external files.

use std::sync::{Arc, LazyLock};

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::openapi::{self, Part};
use crate::routes::mount::Mount;
use crate::service::Service;

#[cfg(feature = "docs")]
pub(crate) mod page;

const JSON: [(HeaderName, HeaderValue); 1] =
    [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];

/// The documents of a service.
#[derive(Default)]
pub(crate) struct Documents(Vec<Document>);

/// A document, generated at the first request for it.
struct Document {
    part: Part,
    /// The prefixes of its paths.
    prefixes: &'static [&'static str],
    text: LazyLock<Bytes, Box<dyn FnOnce() -> Bytes + Send>>,
}

impl Documents {
    /// The documents of `service`, whose routes are at `paths`.
    pub(crate) fn new(service: &Arc<Service>, paths: &Arc<[String]>) -> Self {
        let document = |part: Part| {
            let (prefixes, service, paths) = (part.prefixes(service), Arc::clone(service), Arc::clone(paths));
            let write = move || openapi::document(&service, &paths, part).to_string().into();
            Document { part, prefixes, text: LazyLock::new(Box::new(write)) }
        };
        Self(Part::all(service, paths).into_iter().map(document).collect())
    }

    /// The document of the native API below `mount`.
    pub(crate) fn native(&self, mount: &Mount) -> Response {
        let document = self.of(|part| part == Part::Native, mount);
        document.unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
    }

    /// The file with this name below `/docs/compatibility`, if there is one: the document of a dialect, `NAME.json`, or
    /// the script that starts their page.
    pub(crate) fn compatibility(&self, file: &str, mount: &Mount) -> Option<Response> {
        match file.strip_suffix(".json") {
            Some(name) => self.of(|part| matches!(part, Part::Dialect(dialect) if dialect == name), mount),
            #[cfg(feature = "docs")]
            None if file == page::INITIALIZER => page::initializer(self.dialects()),
            None => None,
        }
    }

    fn of(&self, is_it: impl Fn(Part) -> bool, mount: &Mount) -> Option<Response> {
        let document = self.0.iter().find(|document| is_it(document.part))?;
        Some((JSON, document.json(mount)).into_response())
    }

    /// The names of the dialects that have a document.
    #[cfg(feature = "docs")]
    fn dialects(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter_map(|document| match document.part {
            Part::Dialect(name) => Some(name),
            Part::Native => None,
        })
    }
}

impl Document {
    /// The document with its servers: its prefixes below `mount`.
    fn json(&self, mount: &Mount) -> Bytes {
        let text = Bytes::clone(&self.text);
        if mount.prefix().is_empty() && self.prefixes == [""] {
            return text;
        }
        let servers: Vec<Value> =
            self.prefixes.iter().map(|prefix| json!({"url": mount.path(prefix)})).collect();
        let members = text.strip_prefix(b"{").unwrap_or_default();
        [format!(r#"{{"servers":{},"#, Value::from(servers)).as_bytes(), members].concat().into()
    }
}
