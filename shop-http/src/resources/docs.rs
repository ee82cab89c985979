//! Swagger UI, embedded in the binary: `/docs` and its files.
//!
//! It shows the document `openapi.json` beside the page, so that it works below every prefix. The
//! files come from `utoipa-swagger-ui`, and are compressed when they are first requested.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Redirect};
use utoipa_swagger_ui::Config;

use crate::request::path::path_parameter;
use crate::response::constant::{Constant, Constants};
use crate::response::{HttpError, HttpResult};
use crate::service::Service;

/// The header that allows own files, and the inline styles and images that Swagger UI sets.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    ),
);

/// The page, with an empty name, and its files.
static FILES: Constants = Constants::new();

/// Handles `GET /docs`: answers with the page.
pub(crate) async fn page(_service: Arc<Service>, head: Parts) -> HttpResult {
    FILES.respond("", &head.headers, || {
        // The page is beside its folder, so that no redirect to a path with a slash is needed.
        create_file("index.html", |html| {
            String::from_utf8_lossy(html)
                .replace("\"./", "\"docs/")
                .replace("\"index.css", "\"docs/index.css")
                .into()
        })
    })
}

/// Handles `GET /docs/{file}`: answers with a file of the page.
pub(crate) async fn file(_service: Arc<Service>, head: Parts) -> HttpResult {
    let name = path_parameter(&head).ok_or(HttpError::NO_ROUTE)?;
    FILES.respond(&name, &head.headers, || create_file(&name, <[u8]>::to_vec))
}

/// Handles `GET /redoc`: redirects to the page.
///
/// The redirect is relative, so that it works behind every prefix that a proxy removes.
pub(crate) async fn redirect(_service: Arc<Service>, _head: Parts) -> HttpResult {
    Ok(Redirect::temporary("docs").into_response())
}

/// Creates the file of Swagger UI with this name, with the content that `edit` returns.
fn create_file(name: &str, edit: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<Constant> {
    // The document is beside the page, and no external validator is used.
    let config = Config::from("openapi.json").validator_url("none");
    // There is no file with this name, or it cannot be read, which counts as the same.
    let file = utoipa_swagger_ui::serve(name, Arc::new(config)).ok()??;
    let media_type = match file.content_type.as_str() {
        // Without a charset a browser guesses one.
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    let headers = [
        POLICY,
        (
            header::CONTENT_TYPE,
            HeaderValue::try_from(media_type).ok()?,
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("max-age=3600"),
        ),
    ];
    Some(Constant::new(headers, edit(&file.bytes).into()))
}
