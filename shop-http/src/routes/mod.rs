//! The routers of the two services.

pub(crate) mod docs_routes;
pub(crate) mod path_router;
pub(crate) mod services;
pub(crate) mod shared_routes;
