//! What may be said in a path, in a query and in a header.

use serde_json::{Value, json};
use shop_core::{PurchaseId, UserId, UserName};

use super::schemas::{of, word};
use crate::dialect::PathMatch;
use crate::resources::page;

/// The parameter `name`, in the `place` of a request that OpenAPI names so.
fn parameter(place: &str, name: &str, says: &str, schema: Value) -> Value {
    let required = place == "path";
    let mut parameter = json!({"name": name, "in": place, "description": says, "required": required});
    parameter["schema"] = schema;
    parameter
}

fn query(name: &str, says: &str, schema: Value) -> Value {
    parameter("query", name, says, schema)
}

/// Whose purchases a listing is asked for.
pub(super) fn who(path_match: PathMatch) -> Value {
    let (says, mut schema) = match path_match {
        PathMatch::UserId => ("The user's id", of::<UserId>()),
        PathMatch::UserName => ("The user's name", of::<UserName>()),
        PathMatch::Either => ("The user's id; when nobody has it, the user's name", of::<UserName>()),
    };
    schema["examples"] = json!(["u1"]);
    parameter("path", "who", says, schema)
}

pub(super) fn id() -> Value {
    parameter("path", "id", "The purchase's id", of::<PurchaseId>())
}

pub(super) fn file() -> Value {
    let files = [
        "favicon-16x16.png",
        "favicon-32x32.png",
        "index.css",
        "swagger-initializer.js",
        "swagger-ui-bundle.js",
        "swagger-ui-standalone-preset.js",
        "swagger-ui.css",
    ];
    parameter("path", "file", "One of the files that the page names", word(&files))
}

pub(super) fn asset() -> Value {
    let names: Vec<_> = page::asset_names().collect();
    parameter("path", "name", "One of the files that the page names", word(&names))
}

/// The number of a user or of an order, which has this name.
pub(super) fn number(name: &str) -> Value {
    parameter("path", name, "Its number, from 1", json!({"type": "integer", "examples": [1]}))
}

fn key(says: &str) -> Value {
    let schema = json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"});
    parameter("header", "Idempotency-Key", says, schema)
}

/// Of a user or of an order.
pub(super) fn key_of_account() -> Value {
    key(
        "Makes the request repeatable: the same key with the same content is answered with the first one. With \
         other content it is refused, 409.",
    )
}

pub(super) fn idempotency_key() -> Value {
    key(
        "Makes the purchase repeatable: the same key of the same user is the same purchase. A UUID becomes the \
         purchase's id. With another purchase the key is refused, 409, whichever instance took the first: keys \
         are looked up in the store as far as it answers within 250 ms, but for a UUIDv7 that was made within 30 s, \
         which counts as a first attempt. What two instances take within the lag of the pipeline is decided by the \
         order of the log.",
    )
}

/// Of a listing outside of `/v1`.
pub(super) fn by() -> Value {
    query("by", "What the text in the path is looked up as", word(&["userid", "username"]))
}

/// Of a listing outside of `/v1`.
pub(super) fn view() -> Value {
    let says = "What stands around the purchases: count and sum, nothing, or who was asked for";
    query("view", says, word(&["summary", "list", "user"]))
}

/// Those of a listing in pages.
pub(super) fn paging() -> [Value; 3] {
    let limit = json!({"type": "integer", "minimum": 1, "maximum": 1_000});
    let cursor = "Where the page begins: `next` of the page before it, or from its `Link`";
    [
        query("order", "Which purchases come first", word(&["newest", "oldest"])),
        query("limit", "How many purchases a page has at most", limit),
        query("cursor", cursor, json!({"type": "string", "minLength": 1})),
    ]
}

/// Those of an answer that waits.
pub(super) fn waiting() -> [Value; 2] {
    let seconds = json!({"type": "number", "minimum": 0, "maximum": 10});
    [
        query("wait_for", "The id of a purchase: the answer waits until it is stored", of::<PurchaseId>()),
        query("wait", "How many seconds to wait at most, 2 unless given", seconds),
    ]
}

/// Whose purchases are asked for in `/v1`; exactly one of them.
pub(super) fn selection() -> [Value; 3] {
    let id = "The user's id; exactly one of `userid`, `username` and `everyone` is given";
    let everyone = "Everybody's purchases, which management alone lists: facing answers 403";
    // No examples: they exclude each other, and tools send every example.
    let mut name = of::<UserName>();
    name.as_object_mut().and_then(|schema| schema.remove("examples"));
    [
        query("userid", id, of::<UserId>()),
        query("username", "The user's name", name),
        query("everyone", everyone, word(&["true"])),
    ]
}
