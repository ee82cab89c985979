//! What may be said in a path, in a query and in a header.

use serde_json::{Value, json};
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use shop_core::api::schema::{of_type, purchase_id, text, user_id, user_name, word};

use crate::dialect::PathMatch;
use crate::resources::page;

fn parameter(kind: ParameterIn, name: &str, says: &str, schema: ObjectBuilder) -> Parameter {
    let required = if kind == ParameterIn::Path { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(kind)
        .required(required)
        .description(Some(says))
        .schema(Some(schema))
        .build()
}

fn query(name: &str, says: &str, schema: ObjectBuilder) -> Parameter {
    parameter(ParameterIn::Query, name, says, schema)
}

/// Whose purchases a listing is asked for.
pub(super) fn who(path_match: PathMatch) -> Parameter {
    let (says, schema) = match path_match {
        PathMatch::UserId => ("The user's id", user_id()),
        PathMatch::UserName => ("The user's name", user_name()),
        PathMatch::Either => ("The user's id; when nobody has it, the user's name", user_name()),
    };
    parameter(ParameterIn::Path, "who", says, schema.examples([json!("u1")]))
}

pub(super) fn id() -> Parameter {
    parameter(ParameterIn::Path, "id", "The purchase's id", purchase_id())
}

pub(super) fn file() -> Parameter {
    let files = [
        "favicon-16x16.png",
        "favicon-32x32.png",
        "index.css",
        "swagger-initializer.js",
        "swagger-ui-bundle.js",
        "swagger-ui-standalone-preset.js",
        "swagger-ui.css",
    ];
    parameter(ParameterIn::Path, "file", "One of the files that the page names", word(files))
}

pub(super) fn asset() -> Parameter {
    let names = text().enum_values(Some(page::asset_names()));
    parameter(ParameterIn::Path, "name", "One of the files that the page names", names)
}

/// The number of a user or of an order, which has this name.
pub(super) fn number(name: &'static str) -> Parameter {
    parameter(ParameterIn::Path, name, "Its number, from 1", of_type(Type::Integer).examples([json!(1)]))
}

/// Of a user or of an order.
pub(super) fn key_of_account() -> Parameter {
    let says = "Makes the request repeatable: the same key with the same content is answered with the first one. With \
                other content it is refused, 409.";
    parameter(ParameterIn::Header, "Idempotency-Key", says, key())
}

fn key() -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(255)).pattern(Some("^[!-~]+$"))
}

pub(super) fn idempotency_key() -> Parameter {
    let says = "Makes the purchase repeatable: the same key of the same user is the same purchase. A UUID becomes the \
                purchase's id. With another purchase the key is refused, 409, whichever instance took the first: keys \
                are looked up in the store as far as it answers within 250 ms, but for a UUIDv7 that was made within 30 s, \
                which counts as a first attempt. What two instances take within the lag of the pipeline is decided by the \
                order of the log.";
    parameter(ParameterIn::Header, "Idempotency-Key", says, key())
}

/// Of a listing outside of `/v1`.
pub(super) fn by() -> Parameter {
    query("by", "What the text in the path is looked up as", word(["userid", "username"]))
}

/// Of a listing outside of `/v1`.
pub(super) fn view() -> Parameter {
    let words = word(["summary", "list", "user"]);
    query("view", "What stands around the purchases: count and sum, nothing, or who was asked for", words)
}

/// Those of a listing in pages.
pub(super) fn paging() -> [Parameter; 3] {
    let limit = of_type(Type::Integer).minimum(Some(1)).maximum(Some(1_000));
    [
        query("order", "Which purchases come first", word(["newest", "oldest"])),
        query("limit", "How many purchases a page has at most", limit),
        query(
            "cursor",
            "Where the page begins: `next` of the page before it, or from its `Link`",
            text().min_length(Some(1)),
        ),
    ]
}

/// Those of an answer that waits.
pub(super) fn waiting() -> [Parameter; 2] {
    let seconds = of_type(Type::Number).minimum(Some(0)).maximum(Some(10));
    [
        query("wait_for", "The id of a purchase: the answer waits until it is stored", purchase_id()),
        query("wait", "How many seconds to wait at most, 2 unless given", seconds),
    ]
}

/// Whose purchases are asked for in `/v1`; exactly one of them.
pub(super) fn selection() -> [Parameter; 3] {
    [
        query(
            "userid",
            "The user's id; exactly one of `userid`, `username` and `everyone` is given",
            user_id(),
        ),
        // No examples: they exclude each other, and tools send every example.
        query("username", "The user's name", user_name().examples::<[_; 0], Value>([])),
        query(
            "everyone",
            "Everybody's purchases, which management alone lists: facing answers 403",
            word(["true"]),
        ),
    ]
}
