//! JSON responses.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// As axum's `Json`, which writes into a `BytesMut` in small pieces and checks for room at each.
pub(crate) struct Json<T>(pub(crate) T);

/// Enough for a response with one purchase.
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

/// The response in place of one that cannot be serialized, which would be a defect.
pub(crate) fn no_json(error: &serde_json::Error) -> Response {
    tracing::error!(%error, "response cannot be serialized");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
