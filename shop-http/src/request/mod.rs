//! Parsing and validation of requests.

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod entity;
pub(crate) mod fields;
pub(crate) mod purchase;
pub(crate) mod pydantic;
pub(crate) mod query;
mod strict;

pub(crate) use query::Query;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

/// The parameter of a path that has one; an error if it is not UTF-8.
pub(crate) type PathText = Result<Path<String>, PathRejection>;
