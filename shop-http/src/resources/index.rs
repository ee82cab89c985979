//! `GET /`: the paths of this service, or the page for a browser.
//!
//! The response depends on `Accept`: a client that prefers HTML gets the page, any other one a JSON
//! object with a description of each path. The object names the paths with the prefix of outer
//! routers; the links of the page are relative.

use std::sync::Arc;

use axum::Json;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Map, Value};

use super::page::{prefers_html, serve_document, serve_document_above};
use crate::response::HttpResult;
use crate::routes::groups::RouteGroup;
use crate::routes::mount::{Mount, original_uri};
use crate::service::Service;

/// Handles `GET /`: answers with the page if the client prefers HTML, else with the paths.
pub(crate) async fn get(service: Arc<Service>, head: Parts) -> HttpResult {
    let mount = Mount::from_request(&head.uri, &head.extensions);
    let headers = &head.headers;
    let path = original_uri(&head.uri, &head.extensions).path();
    // The page needs the native API.
    let has_page = service.has(RouteGroup::V1);
    let mut response = if has_page && prefers_html(headers) {
        serve_page(&service, &mount, path, headers)?
    } else {
        describe_paths(&service, &mount)
    };
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Returns the response with the page, or a redirect to the path of the page with a slash at its end.
/// `path` is the whole path of the request, with the prefix of outer routers.
fn serve_page(service: &Service, mount: &Mount, path: &str, headers: &HeaderMap) -> HttpResult {
    match path.rsplit_once('/') {
        // The path is the root without a slash. The files of the page are below this path, which
        // may not exist with a slash.
        Some((_parent, folder)) if mount.prefix() == path => {
            Ok(serve_document_above(service, folder, headers))
        }
        // The path lacks the slash at its end, which the relative links of the page need.
        Some((_parent, folder)) if !folder.is_empty() => {
            Ok(Redirect::permanent(&format!("{folder}/")).into_response())
        }
        _ => serve_document(service, headers),
    }
}

/// Handles the root of paths that have no page: answers with the paths, also to a browser.
pub async fn describe(service: Arc<Service>, head: Parts) -> HttpResult {
    let mount = Mount::from_request(&head.uri, &head.extensions);
    Ok(describe_paths(&service, &mount))
}

/// Returns the response with the paths of the service and their descriptions.
fn describe_paths(service: &Service, mount: &Mount) -> Response {
    let mut descriptions = Map::<String, Value>::new();
    if let Some(index) = service.index.get() {
        for (path, description) in &index.descriptions {
            let description = add_prefix(description, mount);
            descriptions.insert(add_prefix(path, mount), description.into());
        }
    }
    Json(descriptions).into_response()
}

/// Adds the prefix of `mount` to each path in `text`. A path begins the text, or follows a space.
fn add_prefix(text: &str, mount: &Mount) -> String {
    let text = text.replace(" /", &format!(" {}/", mount.prefix()));
    if text.starts_with('/') {
        mount.path(text)
    } else {
        text
    }
}
