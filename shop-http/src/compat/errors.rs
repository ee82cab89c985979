//! The parts of error responses that the replaced systems share.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::default_paths;
use crate::response::HttpError;
use crate::response::error::Subject;
use crate::response::validation_error::{ValidationError, error_texts};
use crate::service::ServiceKind;

/// The responses of a system while its log or its store fails.
pub(super) struct Outages {
    /// The response when facing cannot publish a purchase to the log.
    pub(super) failed_publish: Outage,
    /// The response when management cannot write into its store.
    pub(super) failed_write: Outage,
    /// The response when facing cannot read a listing. If `None`, the kind of the error decides.
    pub(super) failed_query: Option<Outage>,
    /// The response when management cannot read its store. If `None`, the kind of the error
    /// decides.
    pub(super) failed_read: Option<Outage>,
}

/// The status and the text of a response while a log or a store fails.
#[derive(Clone, Copy)]
pub(super) struct Outage {
    status: StatusCode,
    text: &'static str,
}

/// Creates an outage with the status 500.
pub(super) const fn failed(text: &'static str) -> Outage {
    Outage {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        text,
    }
}

/// Creates an outage with the status 503.
pub(super) const fn unavailable(text: &'static str) -> Outage {
    Outage {
        status: StatusCode::SERVICE_UNAVAILABLE,
        text,
    }
}

/// The responses of a system on FastAPI to failures of the log or the store.
pub(super) const FASTAPI_OUTAGES: Outages = Outages {
    failed_publish: unavailable("Service Unavailable"),
    failed_write: unavailable("Service Unavailable"),
    ..default_paths::OUTAGES
};

/// Writes an error as FastAPI does, with the status 503 for an unavailable store.
pub(super) fn write_error_as_fastapi(error: &HttpError) -> Response {
    FASTAPI_OUTAGES.write_fastapi_error(error)
}

impl Outages {
    /// Returns the response to `error` if a failed call of the log or the store caused it.
    ///
    /// Returns `None` for other errors, and for failed calls whose error determines the response.
    fn response_to(&self, error: &HttpError) -> Option<Outage> {
        let failed_call = error.failed.as_ref()?;
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
    /// While the log or the store fails, the outage determines both. Otherwise, the status is
    /// `invalid_status` for an invalid request, and the error's own status for any other error,
    /// unless it has another [one](HttpError::with_legacy_status) outside of `/v1`. The text is the
    /// first one of the error.
    pub(super) fn status_and_text(
        &self,
        error: &HttpError,
        invalid_status: StatusCode,
    ) -> (StatusCode, String) {
        if let Some(outage) = self.response_to(error) {
            return (outage.status, outage.text.to_owned());
        }

        let status = match error.status {
            StatusCode::UNPROCESSABLE_ENTITY => invalid_status,
            status => error.legacy_status.unwrap_or(status),
        };
        // The text about missing members is the first, and names every missing member.
        let first_text = error_texts(&error.errors).into_iter().next();
        (
            status,
            first_text.unwrap_or_else(|| error.text.clone().into_owned()),
        )
    }

    /// Writes an error as FastAPI does: `{"detail": text}`, or a list of entries with the status
    /// 422 if the request is invalid.
    pub(super) fn write_fastapi_error(&self, error: &HttpError) -> Response {
        let (status, text) = self.status_and_text(error, StatusCode::UNPROCESSABLE_ENTITY);
        if error.errors.is_empty() {
            return respond(error, status, json!({"detail": text}));
        }

        let entries: Vec<_> = error.errors.iter().map(ValidationError::entry).collect();
        respond(
            error,
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({"detail": entries}),
        )
    }
}

/// Returns the response with an error, whose `body` gets the outcome of a write, and the key to
/// repeat the write with.
pub(super) fn respond(error: &HttpError, status: StatusCode, mut body: Value) -> Response {
    if let Some(outcome) = error.outcome() {
        body["outcome"] = outcome.into();
    }
    if let Some(key) = error.key() {
        body["idempotency_key"] = key.as_str().into();
    }
    error.respond((status, Json(body)))
}
