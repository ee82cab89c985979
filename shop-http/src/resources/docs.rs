//! `GET /openapi.json`: the API as a document. `GET /docs`: the same to read and to try, without anything from
//! elsewhere.

use std::sync::{Arc, LazyLock};

use axum::http::{HeaderName, HeaderValue, header};
use bytes::Bytes;

use crate::openapi;
use crate::routes::path_router::{Routes, read};
use crate::service::Service;

#[cfg(feature = "docs")]
mod page;

const JSON: [(HeaderName, HeaderValue); 1] =
    [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];

/// `routes`, and those that describe them and themselves.
pub(crate) fn beside(routes: Routes, service: &Arc<Service>) -> Routes {
    let (described, service) = (all(routes.clone(), Arc::default()), Arc::clone(service));
    let write = move || openapi::document(&service, described.paths()).to_json().unwrap_or_default().into();
    all(routes, Arc::new(Document(LazyLock::new(Box::new(write)))))
}

/// The document, written when it is first asked for.
struct Document(LazyLock<Bytes, Box<dyn FnOnce() -> Bytes + Send>>);

impl Default for Document {
    fn default() -> Self {
        Self(LazyLock::new(Box::new(Bytes::new)))
    }
}

fn all(routes: Routes, document: Arc<Document>) -> Routes {
    let json = move || {
        let json = Bytes::clone(&document.0);
        async { (JSON, json) }
    };
    let routes = routes.route("/openapi.json", read(json));
    #[cfg(feature = "docs")]
    let routes = routes
        .route("/docs", read(page::page))
        .route("/docs/{file}", read(page::file))
        .route("/redoc", read(page::redirected));
    routes
}
