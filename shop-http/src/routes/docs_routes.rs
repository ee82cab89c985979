//! The routes of the API's documentation.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

use crate::dialect::RequestDialect;
#[cfg(feature = "docs")]
use crate::resources::docs;
use crate::resources::docs::Documents;
use crate::response::Failure;
use crate::routes::groups::RouteGroup;
use crate::routes::mount::Mount;
use crate::routes::path_router::{Routes, read};
use crate::service::Service;

/// Adds the routes that document `routes` and themselves, if the service has them.
pub(crate) fn with_docs(routes: Routes, service: &Arc<Service>) -> Routes {
    if !service.has(RouteGroup::Docs) {
        return routes;
    }
    let described = all(routes.clone(), Arc::default()).paths().into();
    all(routes, Arc::new(Documents::new(service, &described)))
}

fn all(routes: Routes, documents: Arc<Documents>) -> Routes {
    let native = Arc::clone(&documents);
    let native = move |mount: Mount| {
        let document = native.native(&mount);
        async { document }
    };
    #[cfg(feature = "docs")]
    let routes = routes
        .open("/docs", read(docs::page::page))
        .open("/docs/{file}", read(docs::page::file))
        .open("/docs/compatibility", read(docs::page::compatibility))
        .open("/redoc", read(docs::page::redirected));
    let file = move |RequestDialect(dialect): RequestDialect,
                     mount: Mount,
                     path: Result<Path<String>, PathRejection>| {
        let file = path.ok().and_then(|Path(name)| documents.compatibility(&name, &mount));
        async { file.unwrap_or_else(|| Failure::NoRoute.respond(dialect)) }
    };
    routes.open("/openapi.json", read(native)).open("/docs/compatibility/{file}", read(file))
}
