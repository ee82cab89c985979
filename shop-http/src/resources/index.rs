//! `GET /`: the paths of this service, or the page for a browser.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect};
use serde_json::{Map, Value};

use crate::resources::page::{is_asked_for, respond, respond_above};
use crate::response::HttpResult;
use crate::routes::groups::RouteGroup;
use crate::routes::mount::Mount;
use crate::service::Service;

/// The page if the client prefers HTML, else the paths.
pub(crate) async fn get(
    service: State<Arc<Service>>,
    mount: Mount,
    OriginalUri(uri): OriginalUri,
    request: HeaderMap,
) -> HttpResult {
    // The pages use the native API.
    let has_page = service.has(RouteGroup::V1);
    let mut response = match uri.path().rsplit_once('/') {
        _ if !has_page || !is_asked_for(&request) => describe(service, mount).await.into_response(),
        // At the root without a slash. The files of the page are below this path, which may not exist with a slash.
        Some((_, last)) if mount.prefix() == uri.path() => respond_above(&service, last, &request),
        Some((_, last)) if !last.is_empty() => {
            Redirect::permanent(&format!("{last}/")).into_response()
        }
        _ => respond(&service, &request)?,
    };
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// The paths alone, as a client sees them.
pub(crate) async fn describe(
    State(service): State<Arc<Service>>,
    mount: Mount,
) -> Json<Map<String, Value>> {
    let listed = service
        .listed
        .get()
        .into_iter()
        .flat_map(|listed| &listed.index);
    Json(
        listed
            .map(|(path, about)| (mounted(path, &mount), mounted(about, &mount).into()))
            .collect(),
    )
}

/// `text` with the prefix of `mount` before each path.
fn mounted(text: &str, mount: &Mount) -> String {
    let text = text.replace(" /", &format!(" {}/", mount.prefix()));
    if text.starts_with('/') {
        mount.path(text)
    } else {
        text
    }
}
