//! Users and orders: their routes, requests and roles, under `/v1` and as in the replaced system.
//! Feature `accounts`.

mod pydantic;
mod request;
pub(crate) mod resources;
pub(crate) mod role;
mod routes;
mod strict;

pub(crate) use routes::routes;
