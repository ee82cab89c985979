//! JSON responses.

use axum::Extension;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shop_core::{Error, ErrorKind};

use crate::response::failure_log::FailedBy;

/// As axum's `Json`, which writes into a `BytesMut` in small pieces and checks for room at each.
pub(crate) struct Json<T>(pub(crate) T);

/// The media type.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Enough for a response with one purchase.
const TYPICAL_BYTES: usize = 512;

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut text = Vec::with_capacity(TYPICAL_BYTES);
        match serde_json::to_writer(&mut text, &self.0) {
            Ok(()) => ([(header::CONTENT_TYPE, JSON)], text).into_response(),
            Err(error) => no_json(error),
        }
    }
}

/// The response in place of one that cannot be serialized, which would be a defect.
pub(crate) fn no_json(error: serde_json::Error) -> Response {
    let error = Error::new(ErrorKind::Internal, "the response cannot be serialized").with_source(error);
    let failed_by = FailedBy { error, operation: "serialize response" };
    (StatusCode::INTERNAL_SERVER_ERROR, Extension(failed_by)).into_response()
}
