//! The routes of the API's documentation.

use std::sync::Arc;

use crate::openapi;
#[cfg(feature = "docs")]
use crate::resources::docs;
use crate::resources::docs::Document;
use crate::routes::path_router::{Routes, read};
use crate::service::Service;

/// Adds the routes that document `routes` and themselves.
pub(crate) fn with_docs(routes: Routes, service: &Arc<Service>) -> Routes {
    let (described, service) = (all(routes.clone(), Arc::default()), Arc::clone(service));
    let write = move || openapi::document(&service, described.paths()).to_string().into();
    all(routes, Arc::new(Document::new(write)))
}

fn all(routes: Routes, document: Arc<Document>) -> Routes {
    let json = move || {
        let json = document.json();
        async { json }
    };
    let routes = routes.route("/openapi.json", read(json));
    #[cfg(feature = "docs")]
    let routes = routes
        .route("/docs", read(docs::page::page))
        .route("/docs/{file}", read(docs::page::file))
        .route("/redoc", read(docs::page::redirected));
    routes
}
