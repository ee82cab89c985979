//! What values look like, in a request and in an answer.

use serde_json::{Value, json};
use shop_core::api::NewPurchaseBody;
use shop_core::api::schema::{
    instant, new_timestamp, number_or_text, price_number, purchase_id, user_id, user_name,
};
pub(super) use shop_core::api::schema::{of_type, text, word};
use utoipa::PartialSchema;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

use crate::dialect::{
    Dialect, Extras, ItemForm, LowestPrice, MissingFields, PriceForm, TimestampForm, Timestamps, View,
};

/// A schema, as others hold it.
pub(super) type Described = RefOr<Schema>;

/// A price as text: up to 10^15, with up to 8 decimals. Other ways to write one are taken too.
const PRICE_TEXT: &str = r"^[0-9]{1,15}(\.[0-9]{1,8})?$";
/// The same, but not nothing.
const PRICE_TEXT_ABOVE_ZERO: &str = r"^(?=.*[1-9])[0-9]{1,15}(\.[0-9]{1,8})?$";
pub(super) fn nullable(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([kind, Type::Null]))
}

pub(super) fn anything() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue)
}

/// An object that has these members, and perhaps others.
pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Described)>) -> ObjectBuilder {
    members
        .into_iter()
        .fold(of_type(Type::Object), |object, (name, schema)| object.property(name, schema).required(name))
}

pub(super) fn array(items: Described) -> Described {
    ArrayBuilder::new().items(items).build().into()
}

pub(super) fn any_of(schemas: impl IntoIterator<Item = Described>) -> Described {
    let mut any = AnyOfBuilder::new();
    for schema in schemas {
        any = any.item(schema);
    }
    any.into()
}

/// What is sent to buy, with `time` unless the client's is left out.
pub(super) fn new_purchase(dialect: &Dialect, time: Option<Described>) -> Described {
    if dialect.is_strict {
        return NewPurchaseBody::schema();
    }
    let body = object([
        ("username", user_text(user_name(), dialect)),
        ("userid", user_text(user_id(), dialect)),
        ("price", new_price(dialect)),
    ]);
    let body = match time {
        Some(time) => body.property("timestamp", time),
        None => body,
    };
    body.description(Some(
        "Other members are dropped. `userId`, `user_id` and `userID` count as `userid`; two that differ are refused, \
         and so is a member that comes twice.",
    ))
    .build()
    .into()
}

/// A user's id or name, as `dialect` takes it.
fn user_text(text: ObjectBuilder, dialect: &Dialect) -> Described {
    let text = text.build().into();
    let integer = || of_type(Type::Integer);
    match (dialect.integers_are_text, dialect.missing) {
        (false, _) => text,
        (true, MissingFields::Listed) => any_of([text, integer().build().into()]),
        // Zero counts as absent.
        (true, MissingFields::AllRequired) => any_of([
            text,
            integer().minimum(Some(1)).build().into(),
            integer().maximum(Some(-1)).build().into(),
        ]),
    }
}

/// A price, as `dialect` takes it.
fn new_price(dialect: &Dialect) -> Described {
    match dialect.lowest_price {
        LowestPrice::Zero => number_or_text(price_number().minimum(Some(0)), PRICE_TEXT),
        LowestPrice::AboveZero => {
            number_or_text(price_number().exclusive_minimum(Some(0)), PRICE_TEXT_ABOVE_ZERO)
        }
    }
}

/// The time that comes with a purchase, if it is not left out.
pub(super) fn time(timestamps: Timestamps) -> Option<Described> {
    Some(match timestamps {
        Timestamps::Ignored => return None,
        Timestamps::Strict => new_timestamp().into(),
        Timestamps::Lenient => {
            let number = of_type(Type::Number)
                .minimum(Some(-62_135_596_800_000.0))
                .maximum(Some(253_402_207_200_000.0));
            let number = number.description(Some("Seconds since 1970, or milliseconds from 1e11 on"));
            any_of([new_timestamp().into(), number.into()])
        }
        Timestamps::LenientOrReceipt => {
            let time = anything().examples([json!("2026-03-01T09:00:00.250Z")]);
            let says = "RFC 3339 text, or a number of seconds or of milliseconds, at most 5 minutes ahead; the time of \
                        receipt when it cannot be read";
            time.description(Some(says)).build().into()
        }
    })
}

/// A purchase outside of `/v1`, as far as every system knows it.
pub(super) fn four_members(form: ItemForm) -> ObjectBuilder {
    let price = match form.price {
        PriceForm::Number => of_type(Type::Number).examples([json!(29.99)]),
        PriceForm::Text => text().pattern(Some(r"^[0-9]+(\.[0-9]+)?$")).examples([json!("29.99")]),
    };
    let timestamp = match form.timestamp {
        TimestampForm::Iso => instant(),
        TimestampForm::IsoWithoutZone => text().description(Some("ISO 8601 in UTC, without a zone")),
        TimestampForm::Seconds => of_type(Type::Number).description(Some("Seconds since 1970")),
    };
    object([
        ("username", text().build().into()),
        ("userid", text().build().into()),
        ("price", price.build().into()),
        ("timestamp", timestamp.build().into()),
    ])
}

/// A purchase in a listing outside of `/v1`.
pub(super) fn listed(form: ItemForm) -> Described {
    let with_id = |item: ObjectBuilder| item.property("_id", purchase_id()).required("_id");
    let item = match form.extras {
        Extras::None => four_members(form),
        Extras::Id => with_id(four_members(form)),
        Extras::IdAndVersion => {
            with_id(four_members(form)).property("__v", of_type(Type::Integer)).required("__v")
        }
    };
    item.build().into()
}

/// A listing outside of `/v1`.
pub(super) fn listing(view: View, form: ItemForm) -> Described {
    let purchases = || array(listed(form));
    let count = || of_type(Type::Integer).minimum(Some(0)).build().into();
    let total = || of_type(Type::Number).minimum(Some(0)).build().into();
    let either = |member: &str| {
        let owner = object([(member, text().build().into()), ("purchases", purchases())]);
        owner.build().into()
    };
    match view {
        View::List => purchases(),
        View::Status => {
            object([("status", word(["Ok!"]).build().into()), ("purchases", purchases())]).build().into()
        }
        View::Owner => any_of([either("userid"), either("username")]),
        View::Summary => any_of(["userid", "username"].map(|member| {
            let owner = object([(member, text().build().into()), ("purchases", purchases())]);
            let counted = owner.property::<_, Described>("count", count()).required("count");
            counted.property::<_, Described>("total_spent", total()).required("total_spent").build().into()
        })),
        View::Everything => {
            let matched =
                nullable(Type::String).enum_values(Some([json!("userid"), json!("username"), Value::Null]));
            object([
                ("userid", nullable(Type::String).build().into()),
                ("username", nullable(Type::String).build().into()),
                ("purchases", purchases()),
                ("count", count()),
                ("total_spent", total()),
                ("matched_by", matched.build().into()),
            ])
            .property("next", nullable(Type::String).description(Some("Of a page: its next one's `cursor`")))
            .property(
                "alternate",
                text().description(Some(
                    "Where the purchases are that the text finds as a user's name, if any",
                )),
            )
            .build()
            .into()
        }
    }
}
