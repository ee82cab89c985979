//! Reads the purchases of short paths.
//!
//! Unknown members are ignored, the user id has several names, and integers may be accepted as
//! texts. A price is rounded, because clients compute with doubles. [`ReadingRules`] say where forms
//! differ. All errors of a body are reported, in the order in which its members are read.

use std::str::FromStr;

use shop_core::json::RawScalar;
use shop_core::{Invalid, InvalidKind, NewPurchase, Price, Timestamp};

use super::form::{ReadingRules, TimestampUse};
use crate::request::fields::{Body, no_object};
use crate::request::purchase::{check_time, new_purchase, price_error};
use crate::response::{HttpResult, Location, MemberError};
use crate::service::{PurchaseService, ServiceKind};

/// The spellings of the member with the user id.
const USER_ID_NAMES: [&str; 4] = ["userid", "userId", "user_id", "userID"];
/// The names of all members that are read.
const MEMBERS: [&str; 7] = {
    let [userid, a, b, c] = USER_ID_NAMES;
    ["username", userid, "price", "timestamp", a, b, c]
};

/// Reads the purchase in `text`, the body of a request, without a key.
///
/// # Errors
/// - 400 if `text` is not a JSON object, repeats a known member, or contains two different user ids
/// - 422 for missing or invalid members, with an error for each, or for an empty body where the
///   rules distinguish it
///
/// The writer of the errors may change these statuses.
pub(super) fn read_purchase(
    text: &[u8],
    rules: ReadingRules,
    purchases: &PurchaseService,
) -> HttpResult<NewPurchase> {
    let body = Body::parse(text, MEMBERS);
    let is_empty = match &body {
        Ok(body) => body.members.is_empty(),
        Err(_) => is_falsy_json(text),
    };
    if is_empty && rules.distinguishes_empty_bodies {
        return Err(Location::Body
            .error("Request body must be JSON".to_owned())
            .into());
    }

    let mut body = body?;
    // Short paths ignore unknown members.
    body.members.unknown.clear();
    let id_value = body
        .members
        .get_alias(&USER_ID_NAMES)
        .map_err(|error| no_object(text, &error))?
        .filter(|id| !is_missing(id, rules));
    let name_value = body
        .members
        .get("username")
        .filter(|name| !is_missing(name, rules));

    let user_name = body.read_value("username", name_value, |value| read_text(value, rules));
    let user_id = body.read_value("userid", id_value, |value| read_text(value, rules));
    let price = body.read("price", |value| read_price(value, rules));
    let timestamp =
        body.read_nullable("timestamp", |value| read_timestamp(value, rules, purchases));

    let mut purchase = body.finish(new_purchase(user_id, user_name, price))?;
    purchase.timestamp = timestamp.flatten();
    Ok(purchase)
}

/// Returns whether `text`, which is not a JSON object, is a value that is falsy in JavaScript and
/// Python.
fn is_falsy_json(text: &[u8]) -> bool {
    // An empty object only gets here if it is beside a form feed: `trim_ascii` removes a form feed,
    // and JSON does not allow it.
    matches!(
        text.trim_ascii(),
        b"null" | b"false" | b"0" | b"\"\"" | b"[]" | b"{}"
    )
}

/// Returns whether an id or a name with this value counts as missing.
fn is_missing(value: &RawScalar<'_>, rules: ReadingRules) -> bool {
    match value.as_json() {
        "null" => true,
        "false" | "0" | "\"\"" => rules.refuses_falsy,
        _ => false,
    }
}

/// Reads an id or a name.
fn read_text<T: FromStr<Err = Invalid>>(
    value: RawScalar<'_>,
    rules: ReadingRules,
) -> Result<T, MemberError> {
    let text = if rules.integers_are_text {
        value.text_or_integer()
    } else {
        value.text()
    };
    Ok(text.ok_or_else(MemberError::no_text)?.parse()?)
}

/// Reads a price, and rounds it.
fn read_price(value: RawScalar<'_>, rules: ReadingRules) -> Result<Price, MemberError> {
    let is_exact = false;
    let price_result = value.price(is_exact);
    // A price that is invalid for another reason, such as its size, counts as positive.
    let is_positive = match &price_result {
        Ok(price) => *price != Price::ZERO,
        Err(invalid) => !matches!(
            invalid.kind(),
            InvalidKind::NotANumber | InvalidKind::Negative
        ),
    };
    if rules.refuses_falsy && !is_positive {
        return Err(MemberError::value("must be a positive number"));
    }
    price_result.map_err(price_error)
}

/// Reads the time that a client gives. Returns `None` if the purchase is to get the time of its
/// receipt.
///
/// # Errors
/// The error of a time that is unreadable or out of bounds. With
/// [`LenientOrReceipt`](TimestampUse::LenientOrReceipt), an unreadable time is no error.
fn read_timestamp(
    value: RawScalar<'_>,
    rules: ReadingRules,
    purchases: &PurchaseService,
) -> Result<Option<Timestamp>, MemberError> {
    // Management always uses the time that the client sends, because a program that writes to
    // management repeats purchases of the past.
    let timestamp_use = match purchases.kind {
        ServiceKind::Facing => rules.timestamps,
        ServiceKind::Management => TimestampUse::Lenient,
    };
    if timestamp_use == TimestampUse::Ignored {
        return Ok(None);
    }

    match value.timestamp() {
        Err(_unreadable) if timestamp_use == TimestampUse::LenientOrReceipt => Ok(None),
        result => Ok(Some(check_time(result?, purchases)?)),
    }
}
