//! The records that the producers of the replaced systems wrote.
//!
//! Each of the systems writes a JSON object about a purchase, and checks little of what its clients
//! send. So one decoder reads the records of all of them:
//!
//! | member | as the systems wrote it |
//! |---|---|
//! | `userid`, or another spelling of it | text (all), or any number (000, 001) |
//! | `username` | text (all), or any number (000) |
//! | `price` | a number (001, 003, 004) or numeric text (000), also with too many decimals |
//! | `timestamp` | text with a zone (000, 001) or without one (003), milliseconds (000), seconds (004), anything else (000), or absent (000) |
//!
//! The records lack the headers of ours, so the id of a purchase is derived from the position of its
//! record.

use std::borrow::Cow;

use shop_core::json::{Members, RawScalar};
use shop_core::log::{LogRecord, Partition};
use shop_core::record::{DecodeError, RecordDecoder, RecordDecoders, purchase_id};
use shop_core::{Clock as _, Invalid, Price, Purchase, SystemClock};

/// The spellings of the member with the user id. If a value contains several of these members, they
/// must agree.
const USER_ID: [&str; 4] = ["userid", "userId", "user_id", "userID"];
/// The names of all members that are read. Other members are ignored.
const MEMBERS: [&str; 7] = {
    let [userid, a, b, c] = USER_ID;
    ["username", userid, "price", "timestamp", a, b, c]
};

/// Returns the decoders of a topic that a replaced system wrote, or still writes, and that our
/// services write as well.
#[must_use]
pub fn record_decoders() -> RecordDecoders {
    RecordDecoders::default().with(SystemRecordDecoder)
}

/// The decoder of the records of all replaced systems.
///
/// This decoder decodes or rejects every record with a value, so no decoder that is registered
/// after it is used.
#[derive(Debug, Clone, Copy)]
pub struct SystemRecordDecoder;

impl RecordDecoder for SystemRecordDecoder {
    fn decode(
        &self,
        record: &LogRecord,
        partition: &Partition,
    ) -> Option<Result<Purchase, DecodeError>> {
        let value = record.value.as_deref()?;
        Some(decode_value(value, record, partition))
    }

    fn named_user<'a>(&self, record: &'a LogRecord) -> Option<Cow<'a, str>> {
        let members = Members::parse(record.value.as_deref()?, USER_ID).ok()?;
        let user_id = members.get_alias(&USER_ID).ok()??;
        user_id.text_or_number()
    }
}

/// Decodes the purchase in `value`, which is the value of `record`.
///
/// If the timestamp is absent or cannot be read, the purchase gets the timestamp of the record, or
/// the time of the call if the record lacks a timestamp too.
///
/// # Errors
/// [`DecodeError::NotAPurchase`] if the value is not a JSON object, or if a member other than the
/// timestamp is missing or invalid.
fn decode_value(
    value: &[u8],
    record: &LogRecord,
    partition: &Partition,
) -> Result<Purchase, DecodeError> {
    let id = purchase_id(record, partition)?;
    let not_an_object = |error: serde_json::Error| {
        DecodeError::NotAPurchase(format!("the value is no JSON object: {error}"))
    };
    let members = Members::parse(value, MEMBERS).map_err(not_an_object)?;

    let user_id_value = members.get_alias(&USER_ID).map_err(not_an_object)?;
    let user_id = read_text("userid", user_id_value)?
        .parse()
        .map_err(invalid("userid"))?;
    let user_name = read_text("username", members.get("username"))?
        .parse()
        .map_err(invalid("username"))?;
    let price = read_price(members.get("price"))?;

    // The old programs accepted any value as a timestamp, so an unreadable one is no error.
    let purchase_time = members
        .get("timestamp")
        .and_then(|timestamp| timestamp.timestamp().ok());
    let timestamp = purchase_time
        .or(record.known_time())
        .unwrap_or_else(|| SystemClock.now());
    Ok(Purchase::new(id, user_id, user_name, price, timestamp))
}

/// Reads the value of `member`, which may be text or a number, as text.
///
/// # Errors
/// [`DecodeError::NotAPurchase`] if the value is missing or of another JSON type.
fn read_text<'a>(member: &str, value: Option<RawScalar<'a>>) -> Result<Cow<'a, str>, DecodeError> {
    require(member, value)?
        .text_or_number()
        .ok_or_else(|| DecodeError::NotAPurchase(format!("{member} is neither text nor a number")))
}

/// Reads a price, and rounds it to the decimals that a price has.
///
/// # Errors
/// [`DecodeError::NotAPurchase`] if the value is missing or not a price.
fn read_price(value: Option<RawScalar<'_>>) -> Result<Price, DecodeError> {
    let is_exact = false;
    require("price", value)?
        .price(is_exact)
        .map_err(invalid("price"))
}

/// Returns the value of `member`, or the error that names the missing member.
fn require<'a>(member: &str, value: Option<RawScalar<'a>>) -> Result<RawScalar<'a>, DecodeError> {
    value.ok_or_else(|| DecodeError::NotAPurchase(format!("{member} is missing")))
}

/// Returns a function that creates the error about an invalid `member` from the reason.
fn invalid(member: &str) -> impl Fn(Invalid) -> DecodeError {
    move |reason| DecodeError::NotAPurchase(format!("{member} {}", reason.reason()))
}
