//! An operation: one method at a path.

use serde_json::{Value, json};

use super::responses::{ResponseDoc, responses};
use super::route_info::{RouteInfo, operation_id};
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
    pub(super) own: Vec<ResponseDoc>,
    /// The failures of this operation, besides those of all operations.
    pub(super) failures: Vec<Failure>,
}

impl Operation {
    /// The method and the JSON of the operation at `place`, with `tag` in place of its own if given.
    pub(super) fn described(mut self, place: &RouteInfo<'_>, tag: Option<&str>) -> (String, Value) {
        let method = if self.body.is_some() { "post" } else { "get" };
        if place.is_authorized && matches!(self.tag, "v1" | "purchases" | "users" | "orders") {
            self.failures.push(Failure::Denied("only your own purchases".into()));
        }
        let mut operation = json!({
            "operationId": operation_id(method, place.path),
            "tags": [tag.unwrap_or(self.tag)],
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
            let content = json!({"application/json": {"schema": schema, "example": example}});
            operation["requestBody"] = json!({"content": content, "required": true});
        }
        (method.to_owned(), operation)
    }
}
