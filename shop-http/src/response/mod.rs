//! Response bodies, and errors of requests.

pub(crate) mod constant;
pub(crate) mod error;
pub(crate) mod failure_log;
pub(crate) mod validation_error;

pub(crate) use error::{HttpError, Subject};

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use shop_core::json::WriteJson;

/// The result of a handler, or of a step of it.
pub(crate) type HttpResult<T = Response> = Result<T, HttpError>;

/// The usual size of a purchase in JSON.
pub(crate) const PURCHASE_BYTES: usize = 160;

/// The JSON of `value`, whose usual size is so many bytes.
pub(crate) fn written(value: &impl WriteJson, bytes: usize) -> Vec<u8> {
    let mut json = Vec::with_capacity(bytes);
    value.write_json(&mut json);
    json
}

/// A response with the body `json`.
pub(crate) fn respond_json(json: Vec<u8>) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )],
        Body::from(json),
    )
        .into_response()
}
