//! The page for browsers: the files of the folder `page`, embedded in the binary, without external files.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::request::PathText;
use crate::request::accept::weight;
use crate::resources::script::{Module, joined};
use crate::response::constant::{Constant, Constants};
use crate::response::{HttpError, HttpResult};
use crate::service::{Service, ServiceKind};

/// The name and the text of a file of the folder `page`.
macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../../page/", $name)))
    };
}

/// The characters to encode in an attribute, besides those that a path cannot have.
const QUOTED: &AsciiSet = &CONTROLS.add(b'"').add(b'&').add(b'\'').add(b'<').add(b'>').add(b'`');

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
    access address anypurchases api attempt bars csv deadletters elements entities events exact facing following health
    history identity importing input loaded management markdown metrics overview preact purchase purchases questions
    ranges recording resolving runbook signin state storage words
};

/// The documents, and the files that they load.
static DOCUMENTS: Constants = Constants::new();
static FILES: Constants = Constants::new();
const FACING: &str = include_str!("../../page/facing.html");
const MANAGEMENT: &str = include_str!("../../page/management.html");

/// Own files only, and no inline scripts: text of users stays text. Forms are sent by script only, so none is submitted
/// before the script is loaded.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// Sent with every file. A browser revalidates each time: the next version of the program has other files under the same
/// names.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// The document of a page.
#[derive(Clone, Copy)]
pub(crate) struct Document {
    page: ServiceKind,
    requires_token: bool,
}

impl Document {
    pub(crate) fn of(service: &Service) -> Self {
        // The page of facing is for buyers. Users and orders are on the console.
        let page = if service.purchases.is_some() { service.kind } else { ServiceKind::Management };
        Self { page, requires_token: service.policy.requires_token }
    }

    /// The response to a browser.
    pub(crate) fn respond(self, request: &HeaderMap) -> HttpResult {
        let name = format!("{} {}", self.page.name(), self.requires_token);
        let document = DOCUMENTS.get(&name, || Some(constant(DOCUMENT, self.text())));
        document.map(|document| document.respond(request)).ok_or(HttpError::NO_ROUTE)
    }

    /// The response at a path that ends with the segment `folder` and not with a slash: links lead below this segment.
    pub(crate) fn respond_above(self, folder: &str, request: &HeaderMap) -> Response {
        // With the dot, a segment with a colon is not a scheme.
        let folder = format!("./{}", utf8_percent_encode(folder, QUOTED));
        let links = ["href", "src"].map(|name| format!(" {name}=\""));
        let content =
            links.iter().fold(self.text(), |text, link| text.replace(link, &format!("{link}{folder}/")));
        constant(DOCUMENT, content).respond(request)
    }

    fn text(self) -> String {
        let text = match self.page {
            ServiceKind::Facing => FACING,
            ServiceKind::Management => MANAGEMENT,
        };
        // The page asks for a key before it requests anything else.
        let access = if self.requires_token { "key" } else { "open" };
        text.replace("name=\"access\" content=\"open\"", &format!("name=\"access\" content=\"{access}\""))
    }
}

/// `GET /page/{name}`: a file of the page.
pub(crate) async fn asset(name: PathText, request: HeaderMap) -> HttpResult {
    let name = name.0.ok_or(HttpError::NO_ROUTE)?;
    FILES.get(&name, || made(&name)).map(|file| file.respond(&request)).ok_or(HttpError::NO_ROUTE)
}

/// The file with this name.
fn made(name: &str) -> Option<Constant> {
    let (media_type, (_, text)) = match name {
        "facing.js" | "management.js" => return Some(constant(SCRIPT, joined(MODULES, name, None))),
        // Views that are loaded when they are first shown.
        "deadletters.js" | "importing.js" => {
            return Some(constant(SCRIPT, joined(MODULES, name, Some("management.js"))));
        }
        "icon.svg" => ("image/svg+xml", file!("icon.svg")),
        "page.css" => ("text/css; charset=utf-8", file!("page.css")),
        // A link to `docs/runbooks.md`. As text, a browser shows it too.
        "runbooks.txt" => ("text/plain; charset=utf-8", file!("runbooks.txt")),
        _ => return None,
    };
    Some(constant(media_type, text))
}

fn constant(media_type: &'static str, content: impl Into<Bytes>) -> Constant {
    let media_type = (header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Constant::new(HEADERS.into_iter().chain([media_type]), content.into())
}

/// Whether the client prefers HTML: it accepts HTML, and does not prefer JSON.
pub(crate) fn is_asked_for(request: &HeaderMap) -> bool {
    let html = weight(request, "text/html").max(weight(request, "application/xhtml+xml"));
    html > 0.0 && html >= weight(request, "application/json")
}
