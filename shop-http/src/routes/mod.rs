//! The routers of the two services, and their builder.

pub(crate) mod builder;
pub(crate) mod docs_routes;
pub(crate) mod fixed_route;
pub(crate) mod groups;
pub(crate) mod listener;
pub(crate) mod mount;
pub(crate) mod path_router;
pub(crate) mod router_service;
pub(crate) mod services;
pub(crate) mod shared_routes;
