//! Responses that do not change: compressed once, with a validator.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::request::accept::named;
use crate::response::{HttpError, HttpResult};

/// The maximum of constants of a [`Constants`]: the files and the prefixes of a service are fewer.
const MAX_KEPT: usize = 64;

/// The response to `GET` of content that does not change.
pub(crate) struct Constant {
    /// With its validator.
    headers: HeaderMap,
    content: Bytes,
    /// The compressed content, unless it is as large.
    gzip: Option<Bytes>,
}

impl Constant {
    /// A response with `headers`. A client asks again each time, which costs it a 304.
    pub(crate) fn new(
        headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        content: Bytes,
    ) -> Self {
        let revalidated = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let mut headers: HeaderMap = [revalidated].into_iter().chain(headers).collect();
        // Weak: both forms have it.
        let tag = format!(
            "W/\"{}\"",
            Uuid::new_v5(&Uuid::NAMESPACE_URL, &content).simple()
        );
        headers.extend(
            HeaderValue::try_from(tag)
                .ok()
                .map(|tag| (header::ETAG, tag)),
        );
        Self {
            headers,
            content,
            gzip: None,
        }
    }

    /// Compresses the content, for the clients that accept that.
    fn compressed(mut self) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let gzip = encoder
            .write_all(&self.content)
            .and_then(|()| encoder.finish());
        self.gzip = gzip
            .ok()
            .filter(|gzip| gzip.len() < self.content.len())
            .map(Bytes::from);
        self.headers
            .insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        self
    }

    /// The response to a request with these headers: 304 if the client has the content.
    pub(crate) fn respond(&self, request: &HeaderMap) -> Response {
        let known = request
            .typed_get::<IfNoneMatch>()
            .zip(self.headers.typed_get::<ETag>());
        let accepts_gzip =
            || named(request, header::ACCEPT_ENCODING, "gzip").is_some_and(|weight| weight > 0.0);
        let mut response = Response::default();
        *response.headers_mut() = self.headers.clone();
        if known.is_some_and(|(known, tag)| !known.precondition_passes(&tag)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if let Some(gzip) = self.gzip.as_ref().filter(|_| accepts_gzip()) {
            let gzipped = HeaderValue::from_static("gzip");
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, gzipped);
            *response.body_mut() = gzip.clone().into();
        } else {
            *response.body_mut() = self.content.clone().into();
        }
        response
    }
}

/// Constants by name, made when they are first requested.
pub(crate) struct Constants(Mutex<BTreeMap<String, Arc<Constant>>>);

impl Constants {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// The response to `request` with the constant of this name.
    ///
    /// # Errors
    /// 404 if `make` knows none.
    pub(crate) fn respond(
        &self,
        name: &str,
        request: &HeaderMap,
        make: impl FnOnce() -> Option<Constant>,
    ) -> HttpResult {
        self.get(name, make)
            .map(|constant| constant.respond(request))
            .ok_or(HttpError::NO_ROUTE)
    }

    fn get(&self, name: &str, make: impl FnOnce() -> Option<Constant>) -> Option<Arc<Constant>> {
        let mut kept = self.0.lock();
        if let Some(known) = kept.get(name) {
            return Some(Arc::clone(known));
        }
        let made = Arc::new(make()?.compressed());
        if kept.len() < MAX_KEPT {
            kept.insert(name.to_owned(), Arc::clone(&made));
        }
        Some(made)
    }
}
