//! The responses with errors outside of `/v1`: as `{"error"}`, or in the form that a role chooses
//! for a path.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::response::error::Subject;
use crate::response::validation_error::error_texts;
use crate::response::{ErrorWriter, HttpError};
use crate::routes::groups::is_native_path;
use crate::service::{Service, ServiceKind};

/// Returns the writer of the errors of requests for `path`. The path may have no route.
///
/// An error below `/v1` is a problem of RFC 9457. For other paths, the first
/// [role](crate::Role::error_writer) that has a writer decides.
pub(crate) fn error_writer(path: &str, service: &Service) -> ErrorWriter {
    if is_native_path(path) {
        return HttpError::problem;
    }
    service
        .roles
        .iter()
        .find_map(|role| role.error_writer(path))
        .unwrap_or(|error| write_error_text(error, &Outages::DEFAULT))
}

/// The responses on short paths while the log or the store fails.
#[derive(Debug, Clone, Copy)]
pub struct Outages {
    /// The response when facing cannot publish a purchase to the log.
    pub failed_publish: Outage,
    /// The response when management cannot write into its store.
    pub failed_write: Outage,
    /// The response when facing cannot read a listing. If `None`, the kind of the error decides.
    pub failed_query: Option<Outage>,
    /// The response when management cannot read its store. If `None`, the kind of the error
    /// decides.
    pub failed_read: Option<Outage>,
}

/// The status and the text of a response while a log or a store fails.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    status: StatusCode,
    text: &'static str,
}

impl Outage {
    /// Creates an outage with the status 500.
    #[must_use]
    pub const fn failed(text: &'static str) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            text,
        }
    }

    /// Creates an outage with the status 503.
    #[must_use]
    pub const fn unavailable(text: &'static str) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            text,
        }
    }
}

impl Outages {
    /// The responses in the default form.
    pub const DEFAULT: Self = Self {
        failed_publish: Outage::unavailable(
            "Failed to record purchase - messaging system unavailable",
        ),
        failed_write: Outage::unavailable("Failed to write purchase"),
        failed_query: None,
        failed_read: None,
    };

    /// Returns the response to `error` if a failed call of the log or the store caused it.
    ///
    /// Returns `None` for other errors, and for failed calls whose error determines the response.
    fn response_to(&self, error: &HttpError) -> Option<Outage> {
        let failed_call = error.failed_call.as_ref()?;
        let is_facing = failed_call.subject == Subject::Purchase(ServiceKind::Facing);
        // Only the failed call of a write contains a key.
        if failed_call.key.is_none() {
            return if is_facing {
                self.failed_query
            } else {
                self.failed_read
            };
        }
        // The fault is the client's, such as a key that was used for another purchase.
        if error.is_final() {
            return None;
        }

        let outage = if is_facing {
            self.failed_publish
        } else {
            self.failed_write
        };
        if error.status == StatusCode::SERVICE_UNAVAILABLE {
            return Some(outage);
        }
        // A defect, or a write that the backend does not support, keeps its status.
        Some(Outage {
            status: error.status,
            ..outage
        })
    }

    /// Returns the status and the text of the response to `error`.
    ///
    /// | error | status | text |
    /// |---|---|---|
    /// | the log or the store fails | of the outage | of the outage |
    /// | the request is invalid | `invalid_status` | the first text of the error |
    /// | any other | [outside of `/v1`](HttpError::with_status_outside_v1), if set, or else its own | the first text of the error |
    #[must_use]
    pub fn status_and_text(
        &self,
        error: &HttpError,
        invalid_status: StatusCode,
    ) -> (StatusCode, String) {
        if let Some(outage) = self.response_to(error) {
            return (outage.status, outage.text.to_owned());
        }

        let status = match error.status {
            StatusCode::UNPROCESSABLE_ENTITY => invalid_status,
            status => error.status_outside_v1.unwrap_or(status),
        };
        // The text about missing members is the first, and names every missing member.
        let first_text = error_texts(&error.errors).into_iter().next();
        (
            status,
            first_text.unwrap_or_else(|| error.text.clone().into_owned()),
        )
    }
}

/// Writes an error as `{"error": text}`, with these responses to outages. An invalid request is 400.
#[must_use]
pub fn write_error_text(error: &HttpError, outages: &Outages) -> Response {
    let (status, text) = outages.status_and_text(error, StatusCode::BAD_REQUEST);
    error_response(error, status, json!({"error": text}))
}

/// Returns the response with `error` and `body`. If the error is about a write, adds the outcome of
/// the write to `body`, and the key to repeat it with.
#[must_use]
pub fn error_response(error: &HttpError, status: StatusCode, mut body: Value) -> Response {
    if let Some(outcome) = error.outcome() {
        body["outcome"] = outcome.into();
    }
    if let Some(key) = error.key() {
        body["idempotency_key"] = key.as_str().into();
    }
    error.respond((status, Json(body)))
}
