//! A body that holds a value until it is sent, or dropped.

use axum::body::Body;
use http_body_util::BodyExt;

/// `body`, which drops `value` when it is dropped itself.
pub(crate) fn holding<T: Send + 'static>(value: T, body: Body) -> Body {
    // Unlike a mapping of frames, that of errors leaves the size as it is known.
    Body::new(body.map_err(move |error| {
        let _held = &value;
        error
    }))
}
