//! The page for browsers: the files of the folder `page`, embedded in the binary, without external files.

use std::borrow::Cow;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use uuid::Uuid;

use crate::dialect::RequestDialect;
use crate::response::Failure;
use crate::service_kind::ServiceKind;

/// A file of the page.
#[derive(Debug)]
struct File {
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
}

/// A file of the folder `page`, of this media type.
macro_rules! file {
    ($name:literal, $media_type:expr) => {
        File { name: $name, media_type: $media_type, content: include_str!(concat!("../../page/", $name)) }
    };
}

/// The characters to encode in an attribute, besides those that a path cannot have.
const QUOTED: &AsciiSet = &CONTROLS.add(b'"').add(b'&').add(b'\'').add(b'<').add(b'>').add(b'`');

const SCRIPT: &str = "text/javascript; charset=utf-8";
const DOCUMENT: &str = "text/html; charset=utf-8";

/// The files that the documents load.
static ASSETS: [File; 15] = [
    file!("access.js", SCRIPT),
    file!("accounts.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("buying.js", SCRIPT),
    file!("chart.js", SCRIPT),
    file!("elements.js", SCRIPT),
    file!("exact.js", SCRIPT),
    file!("facing.js", SCRIPT),
    file!("form.js", SCRIPT),
    file!("icon.svg", "image/svg+xml"),
    file!("ledger.js", SCRIPT),
    file!("listing.js", SCRIPT),
    file!("management.js", SCRIPT),
    file!("page.css", "text/css; charset=utf-8"),
    file!("pipeline.js", SCRIPT),
];
static FACING: File = file!("facing.html", DOCUMENT);
static MANAGEMENT: File = file!("management.html", DOCUMENT);

/// Own files only, and no inline scripts: text of users stays text. Forms are sent by script only, so none is submitted
/// before the script is loaded.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// Sent with every file. A browser caches them and revalidates each time: the next version of the program has other
/// files under the same names.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-cache"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// The names of the files that the documents load.
pub(crate) fn asset_names() -> impl Iterator<Item = &'static str> {
    ASSETS.iter().map(|file| file.name)
}

/// The page of a service, for a browser.
pub(crate) fn document(role: ServiceKind, request: &HeaderMap) -> Response {
    document_of(role).answer(request)
}

/// The page at a path that ends with the segment `folder` and not with a slash: its links lead below this segment.
pub(crate) fn document_above(role: ServiceKind, folder: &str, request: &HeaderMap) -> Response {
    // With the dot, a segment with a colon is not a scheme.
    let folder = format!("./{}", utf8_percent_encode(folder, QUOTED));
    let links = ["href", "src", "data-path"].map(|name| format!(" {name}=\""));
    let content = links.iter().fold(document_of(role).content.to_owned(), |content, link| {
        content
            .replace(link, &format!("{link}{folder}/"))
            .replace(&format!("{link}{folder}/#"), &format!("{link}#"))
    });
    respond(DOCUMENT, content.into(), request)
}

const fn document_of(role: ServiceKind) -> &'static File {
    match role {
        ServiceKind::Facing => &FACING,
        ServiceKind::Management => &MANAGEMENT,
    }
}

/// `GET /page/{name}`: a file of the page.
pub(crate) async fn asset(
    RequestDialect(dialect): RequestDialect,
    name: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let file = name.ok().and_then(|Path(name)| ASSETS.iter().find(|file| file.name == name));
    file.map_or_else(|| Failure::NoRoute.respond(dialect), |file| file.answer(&request))
}

impl File {
    fn answer(&self, request: &HeaderMap) -> Response {
        respond(self.media_type, self.content.into(), request)
    }
}

fn respond(media_type: &'static str, content: Cow<'static, str>, request: &HeaderMap) -> Response {
    let tag = tag(&content);
    let known = request.typed_get::<IfNoneMatch>();
    let is_known = known.zip(tag.as_ref()).is_some_and(|(known, tag)| !known.precondition_passes(tag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, media_type)], content).into_response()
    };
    let headers = response.headers_mut();
    headers.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if let Some(tag) = tag {
        headers.typed_insert(tag);
    }
    response
}

/// Weak, as an outer layer may compress the file.
fn tag(content: &str) -> Option<ETag> {
    format!("W/\"{}\"", Uuid::new_v5(&Uuid::NAMESPACE_URL, content.as_bytes()).simple()).parse().ok()
}

/// Whether the client prefers HTML: it accepts HTML, and does not prefer JSON.
pub(crate) fn is_asked_for(request: &HeaderMap) -> bool {
    let accepts = request.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<&str> = accepts.flat_map(|value| value.split(',')).collect();
    let weight = |wanted: &str| ranges.iter().find_map(|range| weight_of(range, wanted)).unwrap_or_default();
    let html = weight("text/html").max(weight("application/xhtml+xml"));
    html > 0.0 && html >= weight("application/json")
}

/// The weight of a media range (RFC 9110, 12.4.2), if it is of this type.
fn weight_of(range: &str, wanted: &str) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    let is_wanted = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    is_wanted.then(|| weight.map_or(1.0, |weight| weight.parse().unwrap_or_default()))
}
