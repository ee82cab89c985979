//! `ecommerce`: a FastAPI service for users, and one for orders.
//!
//! | | |
//! |---|---|
//! | system | (paths of 002) |
//! | always in this form | `/users`, `/orders` |
//! | a buy | |
//! | a listing | |
//! | an error | `{"detail"}` |
//!
//! An invalid request is 422 with a list of pydantic's entries, an unavailable store 503. The
//! requests and the other responses are defined in `accounts`.

use axum::response::Response;

use super::default_paths;
use super::errors::{Outages, unavailable};
use crate::response::HttpError;

/// The responses to failures of the log or the store.
pub(super) const OUTAGES: Outages = Outages {
    failed_publish: unavailable("Service Unavailable"),
    failed_write: unavailable("Service Unavailable"),
    ..default_paths::OUTAGES
};

/// Writes an error as FastAPI does.
pub(super) fn write_error(error: &HttpError) -> Response {
    OUTAGES.write_fastapi_error(error)
}
