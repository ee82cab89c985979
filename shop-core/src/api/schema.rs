//! Schemas of values in the OpenAPI document of the API.

use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::ProblemMembers;
use crate::orders::{Product, TotalPrice};
use crate::users::{Email, PersonName};
use crate::{Outcome, Price, PurchaseId, Timestamp, Total, UserId, UserName};

/// Not blank, without control characters.
const SENSIBLE: &str =
    r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
/// The text of a JSON number, possibly with an exponent.
const PRICE_TEXT: &str = r"^(0|[1-9][0-9]{0,14})(\.[0-9]{1,8})?$";
const PURCHASE_ID: &str = "^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{24})$";
const TOTAL_PRICE: &str = r"^-?(0|[1-9][0-9]{0,7})\.[0-9]{2}$";
/// The text of a JSON number with up to two decimals.
const NEW_TOTAL_PRICE: &str = r"^-?(0|[1-9][0-9]{0,7})(\.[0-9]{1,2})?$";
/// The maximum absolute total of an order.
pub const HIGHEST_TOTAL_PRICE: f64 = 99_999_999.99;
const MAX_USER_ID_BYTES: usize = 128;
const MAX_USER_NAME_BYTES: usize = 256;

/// Schemas that are shared by several types.
macro_rules! looks_like {
    ($($type:ty: $schema:expr;)*) => {
        $(
            impl PartialSchema for $type {
                fn schema() -> RefOr<Schema> {
                    $schema.into()
                }
            }

            impl ToSchema for $type {}
        )*
    };
}

looks_like! {
    PurchaseId: purchase_id();
    UserId: user_id();
    UserName: user_name();
    Price: exact_number();
    Total: exact_number();
    Timestamp: instant();
    Email: text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Email)));
    PersonName: text().max_length(Some(PersonName::MAX_CHARS));
    Product: text().max_length(Some(Product::MAX_CHARS));
    TotalPrice: text().pattern(Some(TOTAL_PRICE));
}

/// A schema of this type.
#[must_use]
pub fn with_type(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

/// A text.
#[must_use]
pub fn text() -> ObjectBuilder {
    with_type(Type::String)
}

/// One of these strings.
#[must_use]
pub fn word<const N: usize>(words: [&str; N]) -> ObjectBuilder {
    text().enum_values(Some(words))
}

/// A user's id.
#[must_use]
pub fn user_id() -> ObjectBuilder {
    sensible(MAX_USER_ID_BYTES).examples([json!("u1")])
}

/// A user's name.
#[must_use]
pub fn user_name() -> ObjectBuilder {
    sensible(MAX_USER_NAME_BYTES).examples([json!("ada")])
}

fn sensible(longest: usize) -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(longest)).pattern(Some(SENSIBLE))
}

/// A purchase's id.
#[must_use]
pub fn purchase_id() -> ObjectBuilder {
    let says = "A UUID, or the 24 hex digits of an older document's ObjectId";
    text().pattern(Some(PURCHASE_ID)).description(Some(says))
}

/// A point in time, in RFC 3339.
#[must_use]
pub fn instant() -> ObjectBuilder {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

/// An exact number, not negative.
fn exact_number() -> ObjectBuilder {
    with_type(Type::Number).minimum(Some(0)).examples([json!(29.99)])
}

/// The price of a new purchase, not negative.
pub(super) fn new_price() -> RefOr<Schema> {
    number_or_text(price_number().minimum(Some(0)), PRICE_TEXT)
}

/// The price of a new purchase, as a number.
#[must_use]
pub fn price_number() -> ObjectBuilder {
    let says = format!("Exact; at most {} decimals", Price::MAX_DECIMALS);
    let number = with_type(Type::Number).maximum(Some(1e15)).multiple_of(Some(1e-8));
    number.examples([json!(29.99)]).description(Some(says))
}

/// A number, or a numeric string.
pub fn number_or_text(number: ObjectBuilder, pattern: &str) -> RefOr<Schema> {
    AnyOfBuilder::new().item(number).item(text().pattern(Some(pattern))).into()
}

pub(super) fn new_total_price() -> RefOr<Schema> {
    let number = with_type(Type::Number).multiple_of(Some(0.01));
    let number = number.minimum(Some(-HIGHEST_TOTAL_PRICE)).maximum(Some(HIGHEST_TOTAL_PRICE));
    number_or_text(number.description(Some("Exact; at most 2 decimals")), NEW_TOTAL_PRICE)
}

/// The time of a new purchase.
#[must_use]
pub fn new_timestamp() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some(
            "At most 5 minutes ahead, and not older than the retention of purchases, if one is set; the time of \
             receipt when absent",
        ))
}

/// The idempotency key of a purchase in a batch.
pub(super) fn optional_key() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .pattern(Some("^[!-~]{1,255}$"))
        .description(Some("The idempotency key. `id` means the same, so that exported purchases can be sent"))
}

pub(super) fn durability() -> ObjectBuilder {
    word(["memory", "local_disk", "broker", "replicated"])
}

pub(super) fn outcome() -> ObjectBuilder {
    let words = [Outcome::NotApplied, Outcome::Unknown].map(ProblemMembers::outcome_word);
    word(words).description(Some("Of a POST: whether it may have taken effect"))
}

pub(super) fn numbers() -> ArrayBuilder {
    ArrayBuilder::new().items(with_type(Type::Integer).minimum(Some(1)))
}
