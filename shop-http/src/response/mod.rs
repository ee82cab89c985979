//! Response bodies, and errors of requests.

pub(crate) mod constant;
pub(crate) mod error;
pub(crate) mod failure_log;
pub(crate) mod legacy_purchase;
pub(crate) mod listing;
pub(crate) mod validation_error;

pub(crate) use error::{HttpError, Subject};
pub(crate) use failure_log::FailureLog;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use shop_core::json::WriteJson;

/// The result of a handler, or of a step of it.
pub(crate) type HttpResult<T = Response> = Result<T, HttpError>;

/// The usual size of a purchase in JSON.
pub(crate) const PURCHASE_BYTES: usize = 160;

/// A body of JSON.
pub(crate) struct JsonText(pub(crate) Vec<u8>);

impl JsonText {
    /// The JSON of `value`, whose usual size is so many bytes.
    pub(crate) fn of(value: &impl WriteJson, bytes: usize) -> Self {
        let mut text = Vec::with_capacity(bytes);
        value.write_json(&mut text);
        Self(text)
    }
}

impl IntoResponse for JsonText {
    fn into_response(self) -> Response {
        let media_type = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, media_type)], self.0).into_response()
    }
}
