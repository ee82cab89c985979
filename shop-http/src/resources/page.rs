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
use crate::request::accept::weight;
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
static ASSETS: [File; 27] = [
    file!("access.js", SCRIPT),
    file!("address.js", SCRIPT),
    file!("anypurchases.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("attempt.js", SCRIPT),
    file!("bars.js", SCRIPT),
    file!("deadletters.js", SCRIPT),
    file!("elements.js", SCRIPT),
    file!("entities.js", SCRIPT),
    file!("exact.js", SCRIPT),
    file!("facing.js", SCRIPT),
    file!("health.js", SCRIPT),
    file!("history.js", SCRIPT),
    file!("icon.svg", "image/svg+xml"),
    file!("identity.js", SCRIPT),
    file!("loaded.js", SCRIPT),
    file!("management.js", SCRIPT),
    file!("metrics.js", SCRIPT),
    file!("overview.js", SCRIPT),
    file!("page.css", "text/css; charset=utf-8"),
    file!("preact.js", SCRIPT),
    file!("purchases.js", SCRIPT),
    file!("ranges.js", SCRIPT),
    file!("recording.js", SCRIPT),
    file!("resolving.js", SCRIPT),
    file!("state.js", SCRIPT),
    file!("words.js", SCRIPT),
];
const FACING: &str = include_str!("../../page/facing.html");
const MANAGEMENT: &str = include_str!("../../page/management.html");

/// Where the runbooks are in the repository, as management's document names it.
const RUNBOOKS: &str = "docs/operations.md";
/// The end of the placeholder that a release replaces by its repository.
const NO_REPOSITORY: &str = "/OWNER/REPOSITORY";

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
    respond(DOCUMENT, document_of(role), request)
}

/// The page at a path that ends with the segment `folder` and not with a slash: its links lead below this segment.
pub(crate) fn document_above(role: ServiceKind, folder: &str, request: &HeaderMap) -> Response {
    // With the dot, a segment with a colon is not a scheme.
    let folder = format!("./{}", utf8_percent_encode(folder, QUOTED));
    let links = ["href", "src"].map(|name| format!(" {name}=\""));
    let content = document_of(role).into_owned();
    let content =
        links.iter().fold(content, |content, link| content.replace(link, &format!("{link}{folder}/")));
    respond(DOCUMENT, content.into(), request)
}

fn document_of(role: ServiceKind) -> Cow<'static, str> {
    match role {
        ServiceKind::Facing => FACING.into(),
        ServiceKind::Management => with_runbooks(MANAGEMENT, env!("CARGO_PKG_REPOSITORY")),
    }
}

/// The document with the address of the runbooks of this version in `repository`. Only a release has one: otherwise the
/// document names their place in the checkout.
fn with_runbooks(document: &'static str, repository: &str) -> Cow<'static, str> {
    if repository.is_empty() || repository.ends_with(NO_REPOSITORY) {
        return document.into();
    }
    let address = format!("{repository}/blob/v{}/{RUNBOOKS}", env!("CARGO_PKG_VERSION"));
    document.replace(&format!("\"{RUNBOOKS}\""), &format!("\"{address}\"")).into()
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
    let html = weight(request, "text/html").max(weight(request, "application/xhtml+xml"));
    html > 0.0 && html >= weight(request, "application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_links_to_the_runbooks_of_its_version() {
        let names = |document: &str, place: &str| {
            document.contains(&format!("name=\"runbooks\" content=\"{place}\""))
        };
        for repository in ["", "https://github.com/OWNER/REPOSITORY"] {
            assert!(names(&with_runbooks(MANAGEMENT, repository), RUNBOOKS), "{repository}");
        }
        let released = with_runbooks(MANAGEMENT, "https://example.org/shop");
        let version = env!("CARGO_PKG_VERSION");
        assert!(names(&released, &format!("https://example.org/shop/blob/v{version}/docs/operations.md")));
    }
}
