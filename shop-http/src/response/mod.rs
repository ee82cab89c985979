//! Response bodies, and the errors of requests.
//!
//! A handler returns an [`HttpResult`]: a response, or the [`HttpError`] that says why there is
//! none. The [`ErrorWriter`] of its route writes the error. [`error`] decides the status and the
//! text of each error, [`validation_error`] describes what is invalid in a request, [`constant`]
//! answers with content that does not change, and [`failure_log`] logs the causes that clients do
//! not see.

pub(crate) mod constant;
pub(crate) mod error;
pub(crate) mod failure_log;
pub(crate) mod validation_error;

pub use error::{ErrorWriter, HttpError, Subject};
pub use validation_error::{Location, MemberError, ValidationError, ValidationErrorKind};

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use shop_core::Outcome;
use shop_core::json::WriteJson;

/// The result of a handler, or of a step of a handler.
pub type HttpResult<T = Response> = Result<T, HttpError>;

/// Whether a request reads or writes, which decides its limits and the outcome in its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// A read.
    Read,
    /// A write, whose error tells the client whether the write was applied.
    Write,
}

impl RequestKind {
    /// Returns `outcome` for a write, and `None` for a read, which has no outcome.
    fn outcome_of_write(self, outcome: Outcome) -> Option<Outcome> {
        match self {
            Self::Read => None,
            Self::Write => Some(outcome),
        }
    }

    /// Returns the noun for requests of this kind.
    pub(crate) const fn plural(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
        }
    }
}

/// The typical size of a purchase in JSON, for the capacity of buffers.
pub(crate) const PURCHASE_BYTES: usize = 160;

/// Writes `value` as JSON into a buffer with a capacity of `expected_bytes`.
pub(crate) fn to_json(value: &impl WriteJson, expected_bytes: usize) -> Vec<u8> {
    let mut json = Vec::with_capacity(expected_bytes);
    value.write_json(&mut json);
    json
}

/// Returns a response with the status 200 and the body `json`.
pub(crate) fn json_response(json: Vec<u8>) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )],
        Body::from(json),
    )
        .into_response()
}
