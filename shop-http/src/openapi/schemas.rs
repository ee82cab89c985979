//! The schemas of values in requests and responses.

use serde_json::{Value, json};
use shop_core::api::NewPurchaseBody;
use shop_core::api::schema::{new_timestamp, price_number};
use shop_core::{PurchaseId, Timestamp, UserId, UserName};
use utoipa::openapi::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::dialect::{
    Dialect, Extras, ItemForm, LowestPrice, MissingFields, PriceForm, TimestampForm, Timestamps, View,
};

/// A price as text: up to 10^15, with up to 8 decimals. Other forms are accepted as well.
const PRICE_TEXT: &str = r"^[0-9]{1,15}(\.[0-9]{1,8})?$";
/// The same, above zero.
const PRICE_TEXT_ABOVE_ZERO: &str = r"^(?=.*[1-9])[0-9]{1,15}(\.[0-9]{1,8})?$";

/// The schema of values of this type.
pub(super) fn of<T: PartialSchema>() -> Value {
    json!(T::schema())
}

/// A reference to the schema of this type among the components.
pub(super) fn named<T: ToSchema>() -> Value {
    reference(&T::name())
}

/// A reference to the schema with this name among the components.
pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn built(schema: impl Into<Schema>) -> Value {
    json!(schema.into())
}

pub(super) fn text() -> Value {
    json!({"type": "string"})
}

/// One of these words.
pub(super) fn word(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

/// `schema` with a description.
pub(super) fn described(mut schema: Value, says: &str) -> Value {
    schema["description"] = says.into();
    schema
}

/// An object with these members, and perhaps others.
pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let members: Vec<_> = members.into_iter().collect();
    let required: Vec<_> = members.iter().map(|(name, _)| *name).collect();
    let properties: Value = members.iter().cloned().collect();
    json!({"type": "object", "required": required, "properties": properties})
}

pub(super) fn array(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

/// The body of a buy, with `time` unless the client's timestamp is ignored.
pub(super) fn new_purchase(dialect: &Dialect, time: Option<Value>) -> Value {
    if dialect.is_strict {
        return named::<NewPurchaseBody>();
    }
    let (id, name) = (user_text(of::<UserId>(), dialect), user_text(of::<UserName>(), dialect));
    let mut body = object([("username", name), ("userid", id), ("price", new_price(dialect))]);
    if let Some(time) = time {
        body["properties"]["timestamp"] = time;
    }
    let says = "Other members are ignored. `userId`, `user_id` and `userID` count as `userid`; two that differ are \
                refused, and so is a member that comes twice.";
    described(body, says)
}

/// A user's id or name, as `dialect` accepts it.
fn user_text(text: Value, dialect: &Dialect) -> Value {
    match (dialect.integers_are_text, dialect.missing) {
        (false, _) => text,
        (true, MissingFields::Listed) => json!({"anyOf": [text, {"type": "integer"}]}),
        // Zero counts as absent.
        (true, MissingFields::AllRequired) => {
            json!({"anyOf": [text, {"type": "integer", "minimum": 1}, {"type": "integer", "maximum": -1}]})
        }
    }
}

/// A price, as `dialect` accepts it.
fn new_price(dialect: &Dialect) -> Value {
    let (bound, pattern) = match dialect.lowest_price {
        LowestPrice::Zero => ("minimum", PRICE_TEXT),
        LowestPrice::AboveZero => ("exclusiveMinimum", PRICE_TEXT_ABOVE_ZERO),
    };
    let mut number = built(price_number());
    number[bound] = 0.into();
    json!({"anyOf": [number, {"type": "string", "pattern": pattern}]})
}

/// The timestamp of a buy, unless it is ignored.
pub(super) fn time(timestamps: Timestamps) -> Option<Value> {
    Some(match timestamps {
        Timestamps::Ignored => return None,
        Timestamps::Strict => built(new_timestamp()),
        Timestamps::Lenient => json!({"anyOf": [built(new_timestamp()), {
            "type": "number", "minimum": -62_135_596_800_000_i64, "maximum": 253_402_207_200_000_i64,
            "description": "Seconds since 1970, or milliseconds from 1e11 on",
        }]}),
        Timestamps::LenientOrReceipt => json!({
            "examples": ["2026-03-01T09:00:00.250Z"],
            "description": "RFC 3339 text, or a number of seconds or of milliseconds, at most 5 minutes ahead; the \
                time of receipt when it cannot be read",
        }),
    })
}

/// The four members of a purchase that every system has, outside of `/v1`.
pub(super) fn four_members(form: ItemForm) -> Value {
    object(members(form))
}

fn members(form: ItemForm) -> [(&'static str, Value); 4] {
    let price = match form.price {
        PriceForm::Number => json!({"type": "number", "examples": [29.99]}),
        PriceForm::Text => {
            json!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["29.99"]})
        }
    };
    let timestamp = match form.timestamp {
        TimestampForm::Iso => of::<Timestamp>(),
        TimestampForm::IsoWithoutZone => {
            json!({"type": "string", "description": "ISO 8601 in UTC, without a zone"})
        }
        TimestampForm::Seconds => json!({"type": "number", "description": "Seconds since 1970"}),
    };
    [("username", text()), ("userid", text()), ("price", price), ("timestamp", timestamp)]
}

/// A purchase in a listing outside of `/v1`.
pub(super) fn listed(form: ItemForm) -> Value {
    let extras = [("_id", of::<PurchaseId>()), ("__v", json!({"type": "integer"}))];
    let extras = extras.into_iter().take(match form.extras {
        Extras::None => 0,
        Extras::Id => 1,
        Extras::IdAndVersion => 2,
    });
    object(members(form).into_iter().chain(extras))
}

/// A listing outside of `/v1`.
pub(super) fn listing(view: View, form: ItemForm) -> Value {
    let purchases = array(&listed(form));
    let (count, total) = (json!({"type": "integer", "minimum": 0}), json!({"type": "number", "minimum": 0}));
    let owned = |more: &[(&'static str, Value)]| {
        let owner = |name| [(name, text()), ("purchases", purchases.clone())];
        let either =
            ["userid", "username"].map(|name| object(owner(name).into_iter().chain(more.iter().cloned())));
        json!({"anyOf": either})
    };
    match view {
        View::List => purchases,
        View::Status => object([("status", word(&["Ok!"])), ("purchases", purchases)]),
        View::Owner => owned(&[]),
        View::Summary => owned(&[("count", count), ("total_spent", total)]),
        View::Everything => {
            let nullable = json!({"type": ["string", "null"]});
            let mut all = object([
                ("userid", nullable.clone()),
                ("username", nullable.clone()),
                ("purchases", purchases),
                ("count", count),
                ("total_spent", total),
                ("matched_by", json!({"type": ["string", "null"], "enum": ["userid", "username", null]})),
            ]);
            all["properties"]["next"] = described(nullable, "Of a page: its next one's `cursor`");
            let alternate = "The path of the purchases whose user name is the text, if any";
            all["properties"]["alternate"] = described(text(), alternate);
            all
        }
    }
}
