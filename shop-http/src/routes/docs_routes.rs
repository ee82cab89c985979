//! The routes of the API's documentation: the OpenAPI document, and a page to read and try it without external files.

use std::sync::{Arc, OnceLock};

use axum::response::IntoResponse;

use crate::openapi::Document;
#[cfg(feature = "docs")]
use crate::resources::docs;
use crate::response::json::Json;
use crate::routes::groups::RouteGroup;
use crate::routes::mount::Mount;
use crate::routes::path_router::{Routes, read};
use crate::service::Service;

/// Adds the routes that document `routes`, if the service has them.
pub(crate) fn with_docs(routes: Routes, service: &Arc<Service>) -> Routes {
    if !service.has(RouteGroup::Docs) {
        return routes;
    }
    let (service, paths) = (Arc::clone(service), routes.paths().to_vec());
    // Made at the first request.
    let document = Arc::new(OnceLock::new());
    let get = move |mount: Mount| {
        let document = document.get_or_init(|| Document::new(&service, &paths));
        std::future::ready(Json(document.at(&mount)).into_response())
    };
    #[cfg(feature = "docs")]
    let routes = routes
        .open("/docs", read(docs::page))
        .open("/docs/{file}", read(docs::file))
        .open("/redoc", read(docs::redirected));
    routes.open("/openapi.json", read(get))
}
