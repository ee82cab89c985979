//! An operation: one method at a path.

use serde_json::{Value, json};

use super::responses::{BEARER, ResponseDoc, responses};
use super::route_info::{RouteInfo, operation_id};
use crate::auth::Credentials;
use crate::response::failure::Failure;

/// An operation without its path.
#[derive(Default)]
pub(super) struct Operation {
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: Option<String>,
    pub(super) parameters: Vec<Value>,
    /// The schema and an example of the request body; a query has none.
    pub(super) body: Option<(Value, Value)>,
    /// Another media type of the request body, with its schema.
    pub(super) other_body: Option<(&'static str, Value)>,
    pub(super) own: Vec<ResponseDoc>,
    /// The failures of this operation, besides those of all operations.
    pub(super) failures: Vec<Failure>,
}

impl Operation {
    /// The method and the JSON of the operation at `place`.
    pub(super) fn described(mut self, place: &RouteInfo<'_>) -> (String, Value) {
        let method = if self.body.is_some() { "post" } else { "get" };
        let (may_be_denied, security) = access(self.tag, place);
        if may_be_denied {
            self.failures.push(Failure::Denied("The scope purchases:read:any is required".into()));
        }
        if security.is_some() {
            self.failures.extend([Failure::Unauthenticated(Credentials::Missing), Failure::Unverifiable]);
        }
        let mut operation = json!({
            "operationId": operation_id(method, place.path),
            "tags": [self.tag],
            "summary": self.summary,
            "responses": responses(place, self.own, &self.failures),
        });
        if let Some(text) = self.description {
            operation["description"] = text.into();
        }
        if !self.parameters.is_empty() {
            operation["parameters"] = self.parameters.into();
        }
        if let Some((schema, example)) = self.body {
            let mut content = json!({"application/json": {"schema": schema, "example": example}});
            if let Some((media, schema)) = self.other_body {
                content[media] = json!({"schema": schema});
            }
            operation["requestBody"] = json!({"content": content, "required": true});
        }
        if let Some(security) = security {
            operation["security"] = security;
        }
        (method.to_owned(), operation)
    }
}

/// Whether the policy may refuse an operation with this tag, and which token it requires.
fn access(tag: &str, place: &RouteInfo<'_>) -> (bool, Option<Value>) {
    let is_data = matches!(tag, "v1" | "purchases" | "users" | "orders");
    let required = place.policy.requires_token;
    let security = match place.unprefixed {
        // Without a token, it has the status alone.
        "/health" => Some(json!([{}, {BEARER: []}])),
        "/metrics" => Some(json!([{BEARER: []}])),
        _ if is_data => Some(json!([{BEARER: []}])),
        _ => None,
    };
    let may_be_denied = is_data || place.unprefixed == "/metrics";
    (place.policy.authorize.is_some() && may_be_denied, security.filter(|_| required))
}
