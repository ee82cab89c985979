//! `GET /openapi.json`: the API of this service as an OpenAPI 3.1 document.
//!
//! [`shop_api::OPENAPI`] is the document of `/v1` with all roles. The document of a service combines
//! it with the documents that its [roles](crate::Role::document) have of their other routes,
//! restricted to the routes of the service.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::response::HttpResult;
use crate::response::constant::Constant;
use crate::routes::mount::Mount;
use crate::service::Service;

/// The operations by path and method.
type Paths = BTreeMap<String, BTreeMap<String, Map<String, Value>>>;

/// An OpenAPI document, as far as it is changed here.
#[derive(Default, Serialize, Deserialize)]
struct OpenApiDocument {
    openapi: String,
    info: Map<String, Value>,
    tags: Vec<Value>,
    components: BTreeMap<String, BTreeMap<String, Value>>,
    #[serde(serialize_with = "serialize_purchases_first")]
    paths: Paths,
    /// Where clients reach the service, if that is below a prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<Value>,
}

impl OpenApiDocument {
    /// Creates the document of the routes of `service`.
    fn new(service: &Service) -> Self {
        let mut document = Self::parse(shop_api::OPENAPI);
        let role_documents = service.roles.iter().filter_map(|role| role.document());
        for role_document in role_documents {
            document.extend(Self::parse(role_document));
        }

        let title = format!("Purchase tracking: {}", service.kind.name());
        document.info.insert("title".to_owned(), title.into());
        document
            .info
            .insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());

        let index = service.index.get();
        document
            .paths
            .retain(|path, _operations| index.is_some_and(|index| index.paths.contains(path)));

        if !service.policy.requires_token {
            document.components.remove("securitySchemes");
            let operations = document.paths.values_mut().flat_map(BTreeMap::values_mut);
            for operation in operations {
                operation.remove("security");
            }
        }
        document
    }

    /// Parses the document of `/v1` or of a role. A text that is not valid becomes an empty document,
    /// which tests rule out.
    fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Adds the routes of another document, with their tags and components.
    fn extend(&mut self, other: Self) {
        self.tags.extend(other.tags);
        for (kind, components) in other.components {
            self.components.entry(kind).or_default().extend(components);
        }
        self.paths.extend(other.paths);
    }

    /// Returns the response with this document for clients that reach the service at `mount`, or
    /// `None` if the document cannot be written, which would be a defect.
    fn into_response_at(mut self, mount: &Mount) -> Option<Constant> {
        if !mount.prefix().is_empty() {
            self.servers = Some(json!([{"url": mount.prefix()}]));
        }
        let media_type = HeaderValue::from_static("application/json");
        let json = serde_json::to_vec(&self).ok()?;
        Some(Constant::new(
            [(header::CONTENT_TYPE, media_type)],
            json.into(),
        ))
    }
}

/// Handles `GET /openapi.json`: answers with the document for the prefix of the request.
pub(crate) async fn get(service: Arc<Service>, head: Parts) -> HttpResult {
    let mount = Mount::from_request(&head.uri, &head.extensions);
    service
        .documents
        .respond(mount.prefix(), &head.headers, || {
            OpenApiDocument::new(&service).into_response_at(&mount)
        })
}

/// Serializes the paths, with the paths of purchases first, which is the order that `/docs` shows.
fn serialize_purchases_first<S: Serializer>(
    paths: &Paths,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (purchase_paths, other_paths): (Vec<_>, Vec<_>) = paths
        .iter()
        .partition(|(path, _operations)| path.starts_with("/v1/purchases"));
    serializer.collect_map(purchase_paths.into_iter().chain(other_paths))
}
