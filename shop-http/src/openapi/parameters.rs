//! The parameters in paths, queries and headers.

use serde_json::{Value, json};
use shop_core::api::problem;
use shop_core::{PurchaseId, Timestamp, UserId, UserName};

use super::schemas::{of, word};
use crate::dialect::PathMatch;
use crate::resources::page;

/// A parameter in `place`, which is OpenAPI's `in`.
fn parameter(place: &str, name: &str, says: &str, schema: Value) -> Value {
    let required = place == "path";
    let mut parameter = json!({"name": name, "in": place, "description": says, "required": required});
    parameter["schema"] = schema;
    parameter
}

fn query(name: &str, says: &str, schema: Value) -> Value {
    parameter("query", name, says, schema)
}

/// The user of a listing.
pub(super) fn who(path_match: PathMatch) -> Value {
    let (says, mut schema) = match path_match {
        PathMatch::UserId => ("The user's id", of::<UserId>()),
        PathMatch::UserName => ("The user's name", of::<UserName>()),
        PathMatch::Either => ("The user's id, or the user's name if no user has this id", of::<UserName>()),
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
    parameter("path", "file", "A file of the page", word(&files))
}

pub(super) fn compatibility() -> Value {
    parameter(
        "path",
        "file",
        "A dialect's name with `.json`",
        json!({"type": "string", "examples": ["default.json"]}),
    )
}

pub(super) fn problem() -> Value {
    let names: Vec<_> = problem::types().map(|path| path.trim_start_matches("/problems/")).collect();
    parameter("path", "name", "The last segment of the type", word(&names))
}

/// The members of `/health`.
pub(super) fn details() -> Value {
    let says = "`true` adds the other members where the dialect, `purchase-tracking`, has the status alone, and on \
                management `mongodb`. Any other value has no effect";
    query("details", says, json!({"examples": [true]}))
}

pub(super) fn asset() -> Value {
    let names: Vec<_> = page::asset_names().collect();
    parameter("path", "name", "A file of the page", word(&names))
}

/// The number of a user or of an order, as the parameter `name`.
pub(super) fn number(name: &str) -> Value {
    let schema = json!({"type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX, "examples": [1]});
    parameter("path", name, "The number, from 1", schema)
}

fn key(says: &str) -> Value {
    let schema = json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"});
    parameter("header", "Idempotency-Key", says, schema)
}

/// The key of a user or of an order.
pub(super) fn key_of_entity() -> Value {
    key("Makes the request repeatable: the same key with the same content returns the first one. With \
         other content it is rejected with 409.")
}

pub(super) fn idempotency_key() -> Value {
    key(
        "Makes the purchase repeatable: the same key of the same user is the same purchase. A UUID of version 4 or 7 \
         becomes the purchase's id. A key that was used for another or an erased purchase is rejected with 409, whichever instance accepted \
         the first: keys are looked up in the store if it responds within 250 ms. A UUIDv7 that was made within \
         the last 30 s counts as a first attempt and is not looked up. If two instances accept the same key within \
         the lag of the pipeline, the order of the log decides.",
    )
}

/// Of a listing outside of `/v1`.
pub(super) fn by() -> Value {
    query("by", "Whether the text in the path is a user id or a user name", word(&["userid", "username"]))
}

/// Of a listing outside of `/v1`.
pub(super) fn view() -> Value {
    let says = "The members around the purchases: count and sum, none, or the requested user";
    query("view", says, word(&["summary", "list", "user"]))
}

/// Of a paged listing.
pub(super) fn paging() -> [Value; 3] {
    let limit = json!({"type": "integer", "minimum": 1, "maximum": 1_000});
    let cursor = "The start of the page: `next` of the previous page, or from its `Link`";
    [
        query("order", "The order of the purchases", word(&["newest", "oldest"])),
        query("limit", "The maximum number of purchases in a page", limit),
        query("cursor", cursor, json!({"type": "string", "minLength": 1})),
    ]
}

/// Of a list of dead letters.
pub(super) fn dead_letters() -> [Value; 5] {
    let mut time = of::<Timestamp>();
    time.as_object_mut().and_then(|schema| schema.remove("examples"));
    let limit = json!({"type": "integer", "minimum": 1, "maximum": 1_000});
    [
        query(
            "topic",
            "The topic of the records; all topics of this process by default",
            json!({"type": "string"}),
        ),
        query("reason", "The kind of the reason", super::dead_letters::reasons()),
        query("since", "The earliest time of the records, RFC 3339", time),
        query("limit", "The maximum number of dead letters in a page (default 50)", limit),
        query("cursor", "`next` of the previous page", json!({"type": "string", "minLength": 1})),
    ]
}

/// The position of a dead letter in a path.
pub(super) fn position() -> Value {
    let form = json!({"type": "string", "pattern": "^[A-Za-z0-9._-]{1,100}-[0-9]{1,9}-[0-9]{1,18}$"});
    parameter("path", "position", "Topic, partition and offset, joined by dashes", form)
}

/// Of events.
pub(super) fn last_event_id() -> Value {
    let form = json!({"type": "string", "pattern": "^[0-9a-f]{8}([.][0-9]{1,9}-[0-9]{1,18})*$"});
    parameter("header", "Last-Event-ID", "The `id` of the last event: the stream continues after it", form)
}

/// A range of time.
pub(super) fn range() -> [Value; 2] {
    let mut schema = of::<Timestamp>();
    schema.as_object_mut().and_then(|schema| schema.remove("examples"));
    [
        query("from", "The earliest time of the purchases, RFC 3339; all times by default", schema.clone()),
        query("to", "The time before which they were made, RFC 3339; after `from`", schema),
    ]
}

/// Of totals.
pub(super) fn periods() -> [Value; 2] {
    let zone = "The offset from UTC in which hours, days and months begin (default `Z`), with `+` as `%2B`";
    let offset = json!({"type": "string", "pattern": "^([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"});
    [
        query("per", "The length of a period (default `day`)", word(&["hour", "day", "month"])),
        query("zone", zone, offset),
    ]
}

/// Of a response that waits.
pub(super) fn waiting() -> [Value; 2] {
    let seconds = json!({"type": "number", "minimum": 0, "maximum": 10});
    [
        query("wait_for", "The id of a purchase: the response waits until it is stored", of::<PurchaseId>()),
        query("wait", "The maximum wait in seconds (default 2)", seconds),
    ]
}

/// The selection of a request under `/v1`: exactly one of them.
pub(super) fn selection() -> [Value; 3] {
    let id = "The user's id; exactly one of `userid`, `username` and `everyone` is given";
    let everyone = "All users' purchases; on management only, facing returns 403";
    // No examples: the three exclude each other, and tools send every example.
    let mut name = of::<UserName>();
    name.as_object_mut().and_then(|schema| schema.remove("examples"));
    [
        query("userid", id, of::<UserId>()),
        query("username", "The user's name", name),
        query("everyone", everyone, word(&["true"])),
    ]
}
