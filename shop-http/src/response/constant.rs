//! Responses whose content does not change: compressed once, with a validator (`ETag`).
//!
//! [`Constants`] creates each [`Constant`] when it is first requested, and keeps the first
//! [`MAX_KEPT`]. A client that cached the content sends its validator, and gets a 304.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use headers::{HeaderMapExt, IfNoneMatch};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::request::accept::weight_if_named;
use crate::response::{HttpError, HttpResult};

/// The maximum number of constants that a [`Constants`] keeps.
///
/// A service has fewer files and prefixes. The limit bounds the prefixes that a client makes up.
const MAX_KEPT: usize = 64;

/// A response to `GET` whose content does not change.
pub(crate) struct Constant {
    /// The headers of the response, with its validator.
    headers: HeaderMap,
    content: Bytes,
    /// The compressed content, if it is smaller than the content.
    gzip: Option<Bytes>,
}

impl Constant {
    /// Creates a response with `headers` and a validator. By default, a client that cached the
    /// content asks again at each use.
    pub(crate) fn new(
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        content: Bytes,
    ) -> Self {
        let default_header = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let mut all_headers = HeaderMap::new();
        for (name, value) in [default_header].into_iter().chain(headers) {
            // `insert` lets a header of the caller replace the default. `collect` would send both.
            all_headers.insert(name, value);
        }

        // The tag is weak, because the plain and the compressed content share it.
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_URL, &content).simple();
        if let Ok(tag) = HeaderValue::try_from(format!("W/\"{hash}\"")) {
            all_headers.insert(header::ETAG, tag);
        }
        Self {
            headers: all_headers,
            content,
            gzip: None,
        }
    }

    /// Compresses the content, for the clients that accept gzip.
    fn with_gzip(mut self) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let result = encoder
            .write_all(&self.content)
            .and_then(|()| encoder.finish());
        // Writing to memory does not fail.
        if let Ok(compressed_content) = result
            && compressed_content.len() < self.content.len()
        {
            self.gzip = Some(compressed_content.into());
        }

        self.headers
            .insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        self
    }

    /// Returns the response to a request with these `headers`: 304 if the client cached the content.
    pub(crate) fn respond(&self, headers: &HeaderMap) -> Response {
        let mut response = Response::default();
        *response.headers_mut() = self.headers.clone();

        if self.is_cached_by_client(headers) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }

        let gzip_weight =
            weight_if_named(headers, header::ACCEPT_ENCODING, "gzip").unwrap_or_default();
        let mut body = &self.content;
        if let Some(gzip) = &self.gzip
            && gzip_weight > 0.0
        {
            let encoding = HeaderValue::from_static("gzip");
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, encoding);
            body = gzip;
        }
        *response.body_mut() = body.clone().into();
        response
    }

    /// Returns whether the client sent the validator of this content.
    fn is_cached_by_client(&self, headers: &HeaderMap) -> bool {
        match (headers.typed_get::<IfNoneMatch>(), self.headers.typed_get()) {
            (Some(sent_tags), Some(tag)) => !sent_tags.precondition_passes(&tag),
            _ => false,
        }
    }
}

/// Constants by name, which are created when they are first requested.
pub(crate) struct Constants(Mutex<BTreeMap<String, Arc<Constant>>>);

impl Constants {
    /// Creates an empty map.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Returns the response to a request with these `headers` for the constant `name`. If the constant
    /// is not kept, `create` creates it.
    ///
    /// # Errors
    /// 404 if `create` returns `None`, because there is no such constant.
    pub(crate) fn respond(
        &self,
        name: &str,
        headers: &HeaderMap,
        create: impl FnOnce() -> Option<Constant>,
    ) -> HttpResult {
        let constant = self.get_or_create(name, create);
        Ok(constant.ok_or(HttpError::NO_ROUTE)?.respond(headers))
    }

    /// Returns the constant `name`. The lock is held while the constant is created, so that only one
    /// request creates it.
    fn get_or_create(
        &self,
        name: &str,
        create: impl FnOnce() -> Option<Constant>,
    ) -> Option<Arc<Constant>> {
        let mut constants = self.0.lock();
        if let Some(constant) = constants.get(name) {
            return Some(Arc::clone(constant));
        }

        let constant = Arc::new(create()?.with_gzip());
        if constants.len() < MAX_KEPT {
            constants.insert(name.to_owned(), Arc::clone(&constant));
        }
        Some(constant)
    }
}
