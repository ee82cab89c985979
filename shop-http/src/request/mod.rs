//! Parsing and validation of requests.

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod context;
pub(crate) mod fields;
pub(crate) mod purchase;
pub(crate) mod query;
pub(crate) mod strict;

pub(crate) use query::Query;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

/// Returns the parameter in the path of the request with this `head`, decoded, or `None` if there
/// is none, or it is not UTF-8.
pub async fn path_parameter(head: &mut Parts) -> Option<String> {
    let parameters = RawPathParams::from_request_parts(head, &()).await.ok()?;
    // The parameters of outer routers come first.
    let (_name, value) = parameters.iter().last()?;
    Some(value.to_owned())
}
