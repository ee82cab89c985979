//! JSON as an answer.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// As axum's of this name, which writes into a `BytesMut` in small pieces, each of which it checks for room.
pub(crate) struct Json<T>(pub(crate) T);

/// Holds what is said of one purchase.
const TYPICAL_BYTES: usize = 512;

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut text = Vec::with_capacity(TYPICAL_BYTES);
        match serde_json::to_writer(&mut text, &self.0) {
            Ok(()) => {
                let kind = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, kind)], text).into_response()
            }
            Err(error) => no_json(&error),
        }
    }
}

/// The answer where there should be another that cannot be written, which would be a defect.
pub(crate) fn no_json(error: &serde_json::Error) -> Response {
    tracing::error!(%error, "an answer is no JSON");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
