//! The API as an OpenAPI 3.1 document: `docs/openapi.json`, restricted to the routes of the service.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::response::HttpResult;
use crate::response::constant::Constant;
use crate::routes::mount::Mount;
use crate::service::Service;

/// `/v1`, as it is with all roles on both services.
const V1: &str = include_str!("../../openapi.json");

/// The document of a service.
#[derive(Default, Serialize, Deserialize)]
struct OpenApiDocument {
    openapi: String,
    info: Map<String, Value>,
    tags: Vec<Value>,
    components: BTreeMap<String, BTreeMap<String, Value>>,
    /// The operations by path and method.
    #[serde(serialize_with = "purchases_first")]
    paths: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<Value>,
}

impl OpenApiDocument {
    /// The document of `service`, whose routes are at `paths`.
    fn new(service: &Service) -> Self {
        let mut document = Self::parse(V1);
        if let Some(routes_of_system) = service.options.dialect.document {
            document.extend(Self::parse(routes_of_system));
        }
        let title = format!("Purchase tracking: {}", service.kind.name());
        document.info.insert("title".to_owned(), title.into());
        document
            .info
            .insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
        let listed = service.listed.get();
        document
            .paths
            .retain(|path, _| listed.is_some_and(|listed| listed.paths.contains(path)));
        if !service.policy.requires_token {
            document.components.remove("securitySchemes");
            let operations = document.paths.values_mut().flat_map(BTreeMap::values_mut);
            for operation in operations {
                operation.remove("security");
            }
        }
        document
    }

    /// One of the documents of this crate. A test reads each of them.
    fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Adds the routes of another document.
    fn extend(&mut self, other: Self) {
        self.tags.extend(other.tags);
        for (kind, components) in other.components {
            self.components.entry(kind).or_default().extend(components);
        }
        self.paths.extend(other.paths);
    }

    /// The document for clients that reach the service at `mount`.
    fn at(mut self, mount: &Mount) -> Option<Constant> {
        if !mount.prefix().is_empty() {
            self.servers = Some(json!([{"url": mount.prefix()}]));
        }
        let json = (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        Some(Constant::new(
            [json],
            serde_json::to_vec(&self).ok()?.into(),
        ))
    }
}

/// `GET /openapi.json`.
pub(crate) async fn get(
    State(service): State<Arc<Service>>,
    mount: Mount,
    request: HeaderMap,
) -> HttpResult {
    service.documents.respond(mount.prefix(), &request, || {
        OpenApiDocument::new(&service).at(&mount)
    })
}

/// In the order in which `/docs` shows them.
fn purchases_first<S: Serializer>(
    paths: &BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (first, others): (Vec<_>, Vec<_>) = paths
        .iter()
        .partition(|(path, _)| path.starts_with("/v1/purchases"));
    serializer.collect_map(first.into_iter().chain(others))
}
