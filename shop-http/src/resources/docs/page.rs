//! Swagger UI, embedded in the binary.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use utoipa_swagger_ui::{Config, Url};

use crate::dialect::{Dialect, RequestDialect};
use crate::response::Failure;

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

/// The script that starts the page, with the addresses of its documents.
pub(crate) const INITIALIZER: &str = "swagger-initializer.js";

/// `GET /docs`.
pub(crate) async fn page(RequestDialect(dialect): RequestDialect) -> Response {
    // The page is beside its folder, so that no redirect is needed.
    html(dialect, |html| html.replace("\"./", "\"docs/").replace("\"index.css", "\"docs/index.css"))
}

/// `GET /docs/compatibility`: the same page, in the folder of its other files.
pub(crate) async fn compatibility(RequestDialect(dialect): RequestDialect) -> Response {
    html(dialect, |html| html.replace(INITIALIZER, &format!("compatibility/{INITIALIZER}")))
}

fn html(dialect: &Dialect, adapted: impl FnOnce(&str) -> String) -> Response {
    let Some((html, kind)) = vendored("index.html", &CONFIG) else {
        return Failure::NoRoute.respond(dialect);
    };
    ([POLICY, (header::CONTENT_TYPE, kind)], adapted(&String::from_utf8_lossy(&html))).into_response()
}

/// The script that starts the page of the dialects with these names.
pub(crate) fn initializer(dialects: impl Iterator<Item = &'static str>) -> Option<Response> {
    let documents: Vec<_> = dialects.map(|name| (name, format!("compatibility/{name}.json"))).collect();
    let urls = documents.iter().map(|(name, url)| Url::new(name, url));
    let (bytes, kind) = vendored(INITIALIZER, &Arc::new(Config::new(urls).validator_url("none")))?;
    Some(([POLICY, (header::CONTENT_TYPE, kind)], bytes).into_response())
}

/// `GET /docs/{file}`: a file of the page.
pub(crate) async fn file(
    RequestDialect(dialect): RequestDialect,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    match path.ok().and_then(|Path(name)| vendored(&name, &CONFIG)) {
        Some((bytes, kind)) => ([POLICY, (header::CONTENT_TYPE, kind)], bytes).into_response(),
        None => Failure::NoRoute.respond(dialect),
    }
}

/// `GET /redoc`: redirects to the page. Relative, so that it works behind every prefix that a proxy removes.
pub(crate) async fn redirected() -> Redirect {
    Redirect::temporary("docs")
}

fn vendored(name: &str, config: &Arc<Config<'_>>) -> Option<(Bytes, HeaderValue)> {
    let file = utoipa_swagger_ui::serve(name, Arc::clone(config)).ok()??;
    let kind = match file.content_type.as_str() {
        // Without a charset a browser guesses.
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    Some((Bytes::from(file.bytes.into_owned()), HeaderValue::from_str(&kind).ok()?))
}
