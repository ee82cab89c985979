//! Response bodies, and errors of requests.

pub(crate) mod constant;
pub(crate) mod error;
pub(crate) mod failure_log;
pub(crate) mod legacy_purchase;
pub(crate) mod listing;
pub(crate) mod validation_error;

pub(crate) use error::{HttpError, Subject};
pub(crate) use failure_log::FailureLog;
pub(crate) use legacy_purchase::LegacyPurchase;

/// The result of a handler, or of a step of it.
pub(crate) type HttpResult<T = axum::response::Response> = Result<T, HttpError>;
