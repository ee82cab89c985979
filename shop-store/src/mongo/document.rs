//! A purchase as a document, whoever wrote it. How we write it stands in `command`.

use bson::oid::ObjectId;
use bson::raw::RawBsonRef;
use bson::{Bson, DateTime, Decimal128, RawDocument};
use shop_core::{Decimal, InvalidPrice, Price, Purchase, PurchaseId, Timestamp};

/// The exponent of Decimal128 that stands for no decimals (IEEE 754-2008, binary integer decimal).
const EXPONENT_BIAS: u128 = 6_176;
/// Above the coefficient, which a decimal's 96 bits never fill.
const EXPONENT_SHIFT: u32 = 113;
/// The topmost bit.
const SIGN_SHIFT: u32 = 127;

/// The id as it stands in `_id`.
pub(super) fn id_value(id: &PurchaseId) -> Bson {
    match id.as_object_id() {
        Some(bytes) => Bson::ObjectId(ObjectId::from_bytes(*bytes)),
        None => Bson::String(id.to_string()),
    }
}

/// The price, digit for digit.
pub(super) fn decimal128(price: Price) -> Decimal128 {
    from_decimal(*price.as_decimal())
}

/// The decimal, digit for digit.
pub(super) fn from_decimal(decimal: Decimal) -> Decimal128 {
    let sign = u128::from(decimal.is_sign_negative()) << SIGN_SHIFT;
    let exponent = (EXPONENT_BIAS - u128::from(decimal.scale())) << EXPONENT_SHIFT;
    Decimal128::from_bytes((sign | exponent | decimal.mantissa().unsigned_abs()).to_le_bytes())
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member} {problem}")]
pub(super) struct Unreadable {
    member: &'static str,
    problem: String,
}

fn unreadable(member: &'static str, problem: impl std::fmt::Display) -> Unreadable {
    Unreadable { member, problem: problem.to_string() }
}

/// The purchase in `document`. Older systems wrote prices as doubles, integers or text, times as text or numbers,
/// and user ids as numbers.
pub(super) fn purchase(document: &RawDocument) -> Result<Purchase, Unreadable> {
    let id = id(document)?;
    let user_id = text(document, "userid")?.parse().map_err(|error| unreadable("userid", error))?;
    let user_name = text(document, "username")?.parse().map_err(|error| unreadable("username", error))?;
    Ok(Purchase::new(id, user_id, user_name, price(document)?, timestamp(document, &id)?))
}

fn member<'a>(document: &'a RawDocument, name: &'static str) -> Result<Option<RawBsonRef<'a>>, Unreadable> {
    document.get(name).map_err(|error| unreadable(name, error))
}

fn id(document: &RawDocument) -> Result<PurchaseId, Unreadable> {
    match member(document, "_id")? {
        Some(RawBsonRef::String(text)) => text.parse().map_err(|error| unreadable("_id", error)),
        Some(RawBsonRef::ObjectId(id)) => Ok(PurchaseId::from_object_id(id.bytes())),
        _ => Err(unreadable("_id", "is neither text nor an ObjectId")),
    }
}

fn text(document: &RawDocument, name: &'static str) -> Result<String, Unreadable> {
    match member(document, name)? {
        Some(RawBsonRef::String(text)) => Ok(text.to_owned()),
        Some(RawBsonRef::Int32(number)) => Ok(number.to_string()),
        Some(RawBsonRef::Int64(number)) => Ok(number.to_string()),
        // JavaScript's numbers.
        Some(RawBsonRef::Double(number)) => Ok(number.to_string()),
        Some(_) => Err(unreadable(name, "is neither text nor a number")),
        None => Err(unreadable(name, "is missing")),
    }
}

/// The price in `document`.
pub(super) fn price(document: &RawDocument) -> Result<Price, Unreadable> {
    let text = match member(document, "price")? {
        Some(RawBsonRef::Decimal128(decimal)) => decimal.to_string(),
        Some(RawBsonRef::String(text)) => text.trim().to_owned(),
        Some(RawBsonRef::Int32(number)) => number.to_string(),
        Some(RawBsonRef::Int64(number)) => number.to_string(),
        Some(RawBsonRef::Double(number)) => return from_double(number),
        Some(_) => return Err(unreadable("price", "is no number")),
        None => return Err(unreadable("price", "is missing")),
    };
    text.parse().map_err(|error| unreadable("price", error))
}

/// The shortest text that is this double: what was typed. What was calculated may have more decimals than a price.
fn from_double(number: f64) -> Result<Price, Unreadable> {
    let price = number.to_string().parse().or_else(|error| match error {
        InvalidPrice::TooManyDecimals => format!("{number:.8}").parse(),
        error => Err(error),
    });
    price.map_err(|error| unreadable("price", error))
}

/// The time in `document`; that of its `ObjectId` when it says none that can be read.
fn timestamp(document: &RawDocument, id: &PurchaseId) -> Result<Timestamp, Unreadable> {
    let of_id = || Timestamp::from_millis(made_at(id)?).ok();
    time_of_its_own(document).or_else(of_id).ok_or_else(|| unreadable("timestamp", "is no time"))
}

/// The time that `document` says itself.
pub(super) fn time_of_its_own(document: &RawDocument) -> Option<Timestamp> {
    match document.get("timestamp").ok()?? {
        RawBsonRef::DateTime(date) => Timestamp::from_millis(date.timestamp_millis()).ok(),
        RawBsonRef::String(text) => text.parse().ok(),
        RawBsonRef::Double(number) => Timestamp::from_unix_seconds_or_millis(number).ok(),
        RawBsonRef::Int32(number) => Timestamp::from_unix_seconds_or_millis(f64::from(number)).ok(),
        // Beyond 2^53 it is out of range anyway.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        RawBsonRef::Int64(number) => Timestamp::from_unix_seconds_or_millis(number as f64).ok(),
        _ => None,
    }
}

fn made_at(id: &PurchaseId) -> Option<i64> {
    id.as_object_id().map(|bytes| ObjectId::from_bytes(*bytes).timestamp().timestamp_millis())
}

/// The id of `document`, if it can be one of a purchase.
pub(super) fn readable_id(document: &RawDocument) -> Option<PurchaseId> {
    id(document).ok()
}

/// Where a document stands in the order of its stretch, as the server has it: its time, and its `_id`.
pub(super) fn place(document: &RawDocument) -> (Option<DateTime>, Option<Bson>) {
    let time = match document.get("timestamp") {
        Ok(Some(RawBsonRef::DateTime(date))) => Some(date),
        _ => None,
    };
    let id = document.get("_id").ok().flatten().and_then(|id| Bson::try_from(id).ok());
    (time, id)
}

#[cfg(test)]
mod tests {
    use bson::RawDocumentBuf;

    use super::*;
    use crate::mongo::command::Insertable as _;

    #[test]
    fn a_price_stands_as_it_was_given() {
        for text in
            ["0", "0.00", "29.99", "1195.30", "0.00000001", "1000000000000000", "999999999999999.12345678"]
        {
            let price: Price = text.parse().unwrap();
            assert_eq!(decimal128(price), text.parse::<Decimal128>().unwrap(), "{text}");
            assert_eq!(decimal128(price).to_string().parse::<Price>().unwrap().to_string(), text);
            let below = format!("-{text}");
            assert_eq!(from_decimal(-*price.as_decimal()), below.parse::<Decimal128>().unwrap(), "{below}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for id in ["0190163d-8694-739b-aea5-966c26f8ad91", "65f0c0ffee0123456789abcd"] {
            let id: PurchaseId = id.parse().unwrap();
            let at = Timestamp::from_millis(1_772_355_600_250).unwrap();
            let written = Purchase::new(
                id,
                "u1".parse().unwrap(),
                "Ädä".parse().unwrap(),
                "1195.30".parse().unwrap(),
                at,
            );
            let mut bytes = Vec::new();
            written.append_to(&mut bytes);
            let document = RawDocumentBuf::from_bytes(bytes).unwrap();
            assert_eq!(purchase(&document).unwrap(), written);
            assert_eq!(place(&document), (Some(DateTime::from_millis(at.as_millis())), Some(id_value(&id))));
        }
    }
}
