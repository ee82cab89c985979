//! Swagger UI, embedded in the binary.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Redirect};
use bytes::Bytes;
use utoipa_swagger_ui::Config;

use crate::request::PathText;
use crate::response::{HttpError, HttpResult};

/// Swagger UI sets inline styles with images; nothing else is allowed.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    ),
);

/// The document is beside the page. No external validator is used.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("openapi.json").validator_url("none")));

/// `GET /docs`.
pub(crate) async fn page() -> HttpResult<impl IntoResponse> {
    let (html, kind) = vendored("index.html").ok_or(HttpError::NO_ROUTE)?;
    // The page is beside its folder, so that no redirect is needed.
    let html =
        String::from_utf8_lossy(&html).replace("\"./", "\"docs/").replace("\"index.css", "\"docs/index.css");
    Ok(([POLICY, (header::CONTENT_TYPE, kind)], html))
}

/// `GET /docs/{file}`: a file of the page.
pub(crate) async fn file(path: PathText) -> HttpResult<impl IntoResponse> {
    let file = path.ok().and_then(|Path(name)| vendored(&name)).ok_or(HttpError::NO_ROUTE);
    file.map(|(bytes, kind)| ([POLICY, (header::CONTENT_TYPE, kind)], bytes))
}

/// `GET /redoc`: redirects to the page. Relative, so that it works behind every prefix that a proxy removes.
pub(crate) async fn redirected() -> Redirect {
    Redirect::temporary("docs")
}

fn vendored(name: &str) -> Option<(Bytes, HeaderValue)> {
    let file = utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG)).ok()??;
    let kind = match file.content_type.as_str() {
        // Without a charset a browser guesses.
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    Some((Bytes::from(file.bytes.into_owned()), HeaderValue::from_str(&kind).ok()?))
}
