//! The routes of the API's documentation.

use std::sync::Arc;

use crate::openapi;
#[cfg(feature = "docs")]
use crate::resources::docs;
use crate::resources::docs::Document;
use crate::routes::groups::RouteGroup;
use crate::routes::mount::Mount;
use crate::routes::path_router::{Routes, read};
use crate::service::Service;

/// Adds the routes that document `routes` and themselves, if the service has them.
pub(crate) fn with_docs(routes: Routes, service: &Arc<Service>) -> Routes {
    if !service.has(RouteGroup::Docs) {
        return routes;
    }
    let (described, service) = (all(routes.clone(), Arc::default()), Arc::clone(service));
    let write = move || openapi::document(&service, described.paths()).to_string().into();
    all(routes, Arc::new(Document::new(write)))
}

fn all(routes: Routes, document: Arc<Document>) -> Routes {
    let json = move |mount: Mount| {
        let json = document.json(&mount);
        async { json }
    };
    let routes = routes.open("/openapi.json", read(json));
    #[cfg(feature = "docs")]
    let routes = routes
        .open("/docs", read(docs::page::page))
        .open("/docs/{file}", read(docs::page::file))
        .open("/redoc", read(docs::page::redirected));
    routes
}
