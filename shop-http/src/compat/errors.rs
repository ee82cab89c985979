//! Errors in the form of each dialect.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use shop_core::api::problem;

use super::{Dialect, Errors, Outage};
use crate::response::error::{FailedCall, HttpError, Subject};
use crate::response::validation_error::{ValidationError, ValidationErrorKind, error_texts};
use crate::service::kind::ServiceKind;

/// The text for missing members, where it names all that are required.
const ALL_REQUIRED: &str = "Missing required fields: username, userid, price";

impl Dialect {
    /// `response`, with a body if it is an error.
    pub(crate) fn render(&self, mut response: Response) -> Response {
        let Some(error) = response.extensions_mut().remove::<HttpError>() else {
            return response;
        };
        let rendered = if self.is_strict {
            error.problem()
        } else {
            self.legacy(&error).into_response()
        };
        let (head, body) = rendered.into_parts();
        *response.status_mut() = head.status;
        // That of the response without a body.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().extend(head.headers);
        response.map(|_| body)
    }

    /// The status and the body outside of `/v1`.
    fn legacy(&self, error: &HttpError) -> (StatusCode, Json<Value>) {
        let outage = error
            .failed
            .as_ref()
            .and_then(|call| self.outage(call, error));
        let (status, text) = match outage {
            Some(outage) => (outage.status, outage.text.to_owned()),
            None => (self.status(error), self.text(error)),
        };
        let mut body = match self.errors {
            Errors::StatusAndMessage => json!({"status": "Error", "message": text}),
            Errors::Detail if error.errors.is_empty() => json!({"detail": text}),
            Errors::Detail => {
                json!({"detail": error.errors.iter().map(ValidationError::entry).collect::<Vec<_>>()})
            }
            Errors::Text => json!({"error": text}),
        };
        if let Some(outcome) = error.outcome() {
            body["outcome"] = outcome.into();
        }
        if let Some(key) = error.key() {
            body["idempotency_key"] = key.as_str().into();
        }
        (status, Json(body))
    }

    fn status(&self, error: &HttpError) -> StatusCode {
        let is_invalid = error.status == StatusCode::UNPROCESSABLE_ENTITY;
        match self.errors {
            _ if self.counts_as_empty(error) => StatusCode::BAD_REQUEST,
            Errors::Detail if is_invalid || !error.errors.is_empty() => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            _ if is_invalid || error.problem_type == Some(problem::EMAIL_TAKEN) => {
                StatusCode::BAD_REQUEST
            }
            _ => error.status,
        }
    }

    /// Whether the system took a body of another media type for an empty one.
    fn counts_as_empty(&self, error: &HttpError) -> bool {
        self.refuses_falsy && error.is_unsupported_media_type()
    }

    /// The response to a failed call, if the kind of the error makes no difference.
    fn outage(&self, call: &FailedCall, error: &HttpError) -> Option<Outage> {
        let (write, query) = if call.subject == Subject::Purchase(ServiceKind::Facing) {
            (self.outages.publish, self.outages.query)
        } else {
            (self.outages.write, self.outages.read)
        };
        match call.key {
            None => query,
            Some(_) if error.is_final() => None,
            Some(_) if error.status == StatusCode::SERVICE_UNAVAILABLE => Some(write),
            Some(_) => Some(Outage {
                status: error.status,
                ..write
            }),
        }
    }

    /// The first error: where members are missing, all of these.
    fn text(&self, error: &HttpError) -> String {
        let is_missing = error
            .errors
            .iter()
            .any(|error| error.kind == ValidationErrorKind::Missing);
        if self.counts_as_empty(error) || (is_missing && self.refuses_falsy) {
            return ALL_REQUIRED.to_owned();
        }
        error_texts(&error.errors)
            .into_iter()
            .next()
            .unwrap_or_else(|| error.text.clone().into_owned())
    }
}
