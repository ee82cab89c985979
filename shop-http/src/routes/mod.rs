//! The routes of a service: which there are, and the builder of routers.

pub(crate) mod builder;
pub(crate) mod groups;
pub(crate) mod mount;
pub(crate) mod route;
pub(crate) mod table;
