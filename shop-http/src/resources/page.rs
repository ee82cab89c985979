//! The page for browsers: the files of the folder `page`, embedded in the binary, without external files.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use shop_core::domain::Currency;

use crate::request::PathText;
use crate::request::accept::weight;
use crate::resources::script::{Module, joined};
use crate::response::constant::{Constant, Constants};
use crate::response::{HttpError, HttpResult};
use crate::service::{Service, ServiceKind};

/// The characters to encode in an attribute, besides those that a path cannot have.
const QUOTED: &AsciiSet = &CONTROLS
    .add(b'"')
    .add(b'&')
    .add(b'\'')
    .add(b'<')
    .add(b'>')
    .add(b'`');

const SCRIPT: &str = "text/javascript; charset=utf-8";
const DOCUMENT: &str = "text/html; charset=utf-8";

/// The files of these modules.
macro_rules! modules {
    ($($name:ident)+) => {
        &[$((
            concat!(stringify!($name), ".js"),
            include_str!(concat!("../../page/", stringify!($name), ".js")),
        )),+]
    };
}

/// The modules of the scripts.
const MODULES: &[Module] = modules! {
    access address anypurchases api attempt bars deadletters elements entities events exact facing following health
    history identity importing input loaded management mapping markdown metrics money overview preact purchase
    purchases questions ranges recording resolving rows runbook signin state storage words
};

/// The files that the documents load.
static FILES: Constants = Constants::new();

/// Own files only, and no inline scripts: text of users stays text. Forms are sent by script only, so none is submitted
/// before the script is loaded.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
);

/// The response to a browser: the document of the page.
pub(crate) fn respond(service: &Service, request: &HeaderMap) -> HttpResult {
    // Beside the OpenAPI documents, whose names are prefixes: empty, or with a slash first.
    service
        .documents
        .respond("page", request, || Some(constant(DOCUMENT, text(service))))
}

/// The response at a path that ends with the segment `folder` and not with a slash: links lead below this segment.
pub(crate) fn respond_above(service: &Service, folder: &str, request: &HeaderMap) -> Response {
    // With the dot, a segment with a colon is not a scheme.
    let folder = format!("./{}", utf8_percent_encode(folder, QUOTED));
    let links = ["href", "src"].map(|name| format!(" {name}=\""));
    let content = links.iter().fold(text(service), |text, link| {
        text.replace(link, &format!("{link}{folder}/"))
    });
    constant(DOCUMENT, content).respond(request)
}

fn text(service: &Service) -> String {
    let text = match service.kind {
        // For buyers. Users and orders are on the console.
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
    let currency = service.options.currency.as_ref();
    let currency = currency.map_or("", Currency::as_str);
    text.replace(
        "name=\"access\" content=\"open\"",
        &format!("name=\"access\" content=\"{access}\""),
    )
    .replace(
        "name=\"currency\" content=\"",
        &format!("name=\"currency\" content=\"{currency}"),
    )
}

/// `GET /page/{name}`: a file of the page.
pub(crate) async fn asset(name: PathText, request: HeaderMap) -> HttpResult {
    let name = name.0.ok_or(HttpError::NO_ROUTE)?;
    FILES.respond(&name, &request, || made(&name))
}

/// The file with this name.
fn made(name: &str) -> Option<Constant> {
    let script = |page| Some(constant(SCRIPT, joined(MODULES, name, page)));
    let (media_type, text) = match name {
        "facing.js" | "management.js" => return script(None),
        // Views that are loaded when they are first shown.
        "deadletters.js" | "importing.js" => return script(Some("management.js")),
        "icon.svg" => ("image/svg+xml", include_str!("../../page/icon.svg")),
        "page.css" => (
            "text/css; charset=utf-8",
            include_str!("../../page/page.css"),
        ),
        // A link to `docs/runbooks.md`. As text, a browser shows it too.
        "runbooks.txt" => (
            "text/plain; charset=utf-8",
            include_str!("../../page/runbooks.txt"),
        ),
        _ => return None,
    };
    Some(constant(media_type, text))
}

/// A browser revalidates it each time: the next version of the program has other files under the same names.
fn constant(media_type: &'static str, content: impl Into<Bytes>) -> Constant {
    let media_type = (header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Constant::new([POLICY, media_type], content.into())
}

/// Whether the client prefers HTML: it accepts HTML, and does not prefer JSON.
pub(crate) fn is_asked_for(request: &HeaderMap) -> bool {
    let html = weight(request, "text/html").max(weight(request, "application/xhtml+xml"));
    html > 0.0 && html >= weight(request, "application/json")
}
