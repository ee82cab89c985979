//! `GET /`: the paths of this service, or the page for a browser.
//!
//! The response depends on `Accept`: a client that prefers HTML gets the page, any other one a JSON
//! object with a description of each path. The object names the paths with the prefix of outer
//! routers; the links of the page are relative.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect};
use serde_json::{Map, Value};

use crate::resources::page::{prefers_html, serve_document, serve_document_above};
use crate::response::HttpResult;
use crate::routes::groups::RouteGroup;
use crate::routes::mount::Mount;
use crate::service::Service;

/// Handles `GET /`: answers with the page if the client prefers HTML, else with the paths.
pub(crate) async fn get(
    service: State<Arc<Service>>,
    mount: Mount,
    OriginalUri(uri): OriginalUri,
    request: HeaderMap,
) -> HttpResult {
    // The page needs the native API.
    let has_page = service.has(RouteGroup::V1);
    let mut response = match uri.path().rsplit_once('/') {
        _ if !has_page || !prefers_html(&request) => describe(service, mount).await.into_response(),
        // The path is the root without a slash. The files of the page are below this path, which
        // may not exist with a slash.
        Some((_, folder)) if mount.prefix() == uri.path() => {
            serve_document_above(&service, folder, &request)
        }
        Some((_, folder)) if !folder.is_empty() => {
            Redirect::permanent(&format!("{folder}/")).into_response()
        }
        _ => serve_document(&service, &request)?,
    };
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Returns the paths of the service with their descriptions.
pub(crate) async fn describe(
    State(service): State<Arc<Service>>,
    mount: Mount,
) -> Json<Map<String, Value>> {
    let mut descriptions = Map::new();
    if let Some(listed) = service.listed.get() {
        for (path, description) in &listed.index {
            let description = add_prefix(description, &mount);
            descriptions.insert(add_prefix(path, &mount), description.into());
        }
    }
    Json(descriptions)
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
