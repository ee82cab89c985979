//! Swagger UI, embedded in the binary.

use std::sync::{Arc, LazyLock};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Redirect;
use utoipa_swagger_ui::Config;

use crate::request::PathText;
use crate::response::constant::{Constant, Constants};
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

/// The page and its files.
static FILES: Constants = Constants::new();

/// `GET /docs`.
pub(crate) async fn page(request: HeaderMap) -> HttpResult {
    FILES.respond("", &request, || {
        // The page is beside its folder, so that no redirect is needed.
        vendored("index.html", |html| {
            String::from_utf8_lossy(html)
                .replace("\"./", "\"docs/")
                .replace("\"index.css", "\"docs/index.css")
                .into()
        })
    })
}

/// `GET /docs/{file}`: a file of the page.
pub(crate) async fn file(path: PathText, request: HeaderMap) -> HttpResult {
    let name = path.0.ok_or(HttpError::NO_ROUTE)?;
    FILES.respond(&name, &request, || vendored(&name, <[u8]>::to_vec))
}

/// `GET /redoc`: redirects to the page. Relative, so that it works behind every prefix that a proxy removes.
pub(crate) async fn redirected() -> Redirect {
    Redirect::temporary("docs")
}

/// A file of Swagger UI, whose content is `edited`.
fn vendored(name: &str, edited: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<Constant> {
    let file = utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG)).ok()??;
    let kind = match file.content_type.as_str() {
        // Without a charset a browser guesses.
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    let kind = (header::CONTENT_TYPE, HeaderValue::from_str(&kind).ok()?);
    let kept = (
        header::CACHE_CONTROL,
        HeaderValue::from_static("max-age=3600"),
    );
    Some(Constant::new(
        [POLICY, kind, kept],
        edited(&file.bytes).into(),
    ))
}
