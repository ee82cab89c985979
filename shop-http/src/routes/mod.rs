//! The routers of the two services, and their builder.

pub(crate) mod builder;
pub(crate) mod groups;
pub(crate) mod mount;
pub(crate) mod path_router;
pub(crate) mod services;
