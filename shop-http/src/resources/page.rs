//! The page for browsers: the files of the folder `page`, embedded in the binary.
//!
//! A page is a document, which depends on the service, and the files that the document loads: one
//! script for each document or view, joined from modules, a style and an icon. The page loads no
//! external files, and a Content-Security-Policy forbids them.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use shop_core::ports::CurrencyState;

use super::script::{Module, join_modules};
use crate::request::accept::weight;
use crate::request::path::path_parameter;
use crate::response::constant::{Constant, Constants};
use crate::response::{HttpError, HttpResult};
use crate::service::{Service, ServiceKind};

/// The characters of a path that are encoded in an attribute of a document.
const ATTRIBUTE_ENCODED: &AsciiSet = &CONTROLS
    .add(b'"')
    .add(b'&')
    .add(b'\'')
    .add(b'<')
    .add(b'>')
    .add(b'`');

/// The media type of a script.
const SCRIPT: &str = "text/javascript; charset=utf-8";
/// The media type of a document.
const DOCUMENT: &str = "text/html; charset=utf-8";

/// Lists the names and the texts of these modules.
macro_rules! modules {
    ($($name:ident)+) => {
        &[$((
            concat!(stringify!($name), ".js"),
            include_str!(concat!("../../page/", stringify!($name), ".js")),
        )),+]
    };
}

/// The modules from which the scripts are joined.
const MODULES: &[Module] = modules! {
    access address anypurchases api attempt bars deadletters elements entities events exact facing following health
    history identity importing input loaded management mapping markdown metrics money overview preact purchase
    purchases questions ranges recording resolving rows runbook signin state storage words
};

/// The files that the documents load.
static FILES: Constants = Constants::new();

/// The header that allows own files only, and no inline scripts, so that text of users stays text.
///
/// Forms are sent by script only, so that none is submitted before the script is loaded.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
);

/// Returns the document of the page.
pub(crate) fn serve_document(service: &Service, headers: &HeaderMap) -> HttpResult {
    // The OpenAPI documents are in the same cache, by the prefixes of their paths. A prefix is empty
    // or begins with a slash, so it never equals this name.
    let currency = stored_currency(service);
    let name = format!("page {currency}");
    service.documents.respond(&name, headers, || {
        Some(constant(DOCUMENT, render_document(service)))
    })
}

/// Returns the document for a path that ends with the segment `folder`, and not with a slash.
///
/// A browser resolves links against the parent of this path, so they begin with the segment.
pub(crate) fn serve_document_above(
    service: &Service,
    folder: &str,
    headers: &HeaderMap,
) -> Response {
    // With the dot, a segment with a colon is not a scheme.
    let folder = format!("./{}", utf8_percent_encode(folder, ATTRIBUTE_ENCODED));

    let mut document = render_document(service);
    for attribute in [" href=\"", " src=\""] {
        document = document.replace(attribute, &format!("{attribute}{folder}/"));
    }
    constant(DOCUMENT, document).respond(headers)
}

/// Returns the currency of the store, or an empty text without one.
///
/// The currency may become known while the service runs, so each currency has its own document.
fn stored_currency(service: &Service) -> String {
    let currency_state = service.currency();
    let currency = currency_state.as_ref().and_then(CurrencyState::stored);
    currency.map(ToString::to_string).unwrap_or_default()
}

/// Renders the document with the settings of the service, which the script reads from it.
fn render_document(service: &Service) -> String {
    let document = match service.kind {
        // The page of a facing service is for buyers. Users and orders are on the console.
        ServiceKind::Facing if service.purchases.is_some() => {
            include_str!("../../page/facing.html")
        }
        _ => include_str!("../../page/management.html"),
    };
    // The page asks for a key before it requests anything else.
    let access = if service.policy.requires_token {
        "key"
    } else {
        "open"
    };
    let currency = stored_currency(service);

    let document = document.replace(
        "name=\"access\" content=\"open\"",
        &format!("name=\"access\" content=\"{access}\""),
    );
    document.replace(
        "name=\"currency\" content=\"",
        &format!("name=\"currency\" content=\"{currency}"),
    )
}

/// Handles `GET /page/{name}`: answers with a file of the page.
pub(crate) async fn asset(_service: Arc<Service>, head: Parts) -> HttpResult {
    let name = path_parameter(&head).ok_or(HttpError::NO_ROUTE)?;
    FILES.respond(&name, &head.headers, || create_file(&name))
}

/// Creates the file with this name, if there is one.
fn create_file(name: &str) -> Option<Constant> {
    let file = match name {
        "facing.js" | "management.js" => {
            let loaded_script = None;
            constant(SCRIPT, join_modules(MODULES, name, loaded_script))
        }
        // These views are loaded when they are first shown.
        "deadletters.js" | "importing.js" => {
            constant(SCRIPT, join_modules(MODULES, name, Some("management.js")))
        }
        "icon.svg" => constant("image/svg+xml", include_str!("../../page/icon.svg")),
        "page.css" => constant(
            "text/css; charset=utf-8",
            include_str!("../../page/page.css"),
        ),
        // The file is a link to `docs/runbooks.md`. As text, a browser shows it too.
        "runbooks.txt" => constant(
            "text/plain; charset=utf-8",
            include_str!("../../page/runbooks.txt"),
        ),
        _ => return None,
    };
    Some(file)
}

/// Creates a response that a browser revalidates each time, because the next version of the program
/// serves other files under the same names.
fn constant(media_type: &'static str, content: impl Into<Bytes>) -> Constant {
    let media_type = (header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Constant::new([POLICY, media_type], content.into())
}

/// Returns whether the client accepts HTML, and does not prefer JSON.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    let html = weight(headers, "text/html").max(weight(headers, "application/xhtml+xml"));
    html > 0.0 && html >= weight(headers, "application/json")
}
