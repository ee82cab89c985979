//! The table of routes, the way of a request through it, and the builder of routers.

pub(crate) mod builder;
pub(crate) mod groups;
mod identify;
pub(crate) mod matched;
pub(crate) mod mount;
pub(crate) mod route;
mod site;
mod table;
