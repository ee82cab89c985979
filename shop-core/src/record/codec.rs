//! Purchases as records: ours, and those of any producer.

use std::str::FromStr;

use bytes::BytesMut;

use super::{DETAILED_SCHEMA, REFUND, SCHEMA_VERSION, header};
use crate::json::{Members, RawScalar, write_members};
use crate::log::{HeadersBuilder, LogRecord, Partition, Reason, ReasonKind, RecordId};
use crate::{
    Clock as _, Details, Invalid, Price, Purchase, PurchaseId, Result, SystemClock, Timestamp,
};

/// The reason why a record does not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It has no value.
    #[error("the record has no value")]
    Empty,
    /// It is no purchase.
    #[doc(hidden)]
    #[error("{0}")]
    NotAPurchase(String),
    /// Its value is not a valid event.
    #[error("the value is no such event: {0}")]
    NotAnEvent(String),
    /// It was written by a newer version of this program.
    #[error("the record has schema {0}, which a newer version of this program has written")]
    UnknownSchema(String),
    /// It is something else than this version reads.
    #[error("the record has type {0}, which a newer version of this program has written")]
    UnknownType(String),
}

/// The names of a user id in the replaced systems. Those that are given must agree.
pub const USER_ID: [&str; 4] = ["userid", "userId", "user_id", "userID"];
/// The members of a purchase in the replaced systems.
pub const MEMBERS: [&str; 7] = {
    let [userid, a, b, c] = USER_ID;
    ["username", userid, "price", "timestamp", a, b, c]
};

/// Decodes the purchase in `record`, which is in `partition`.
///
/// Reads our own format and those of all replaced systems: price as number or numeric text, rounded to 8 decimals; `userid` and `username` as
/// text or number; `timestamp` as text with or without a zone, in seconds or milliseconds, or absent. If the timestamp
/// is absent or cannot be read, the record's own timestamp is used, else the time of the call. Further members are
/// [`Details`] by our second schema, and otherwise ignored. A record without an id gets one from its position. The
/// request's context is not decoded: it stays in the record's headers.
///
/// # Errors
/// [`DecodeError`] when the record is not a purchase. Retrying is pointless.
pub fn decode(record: &LogRecord, partition: &Partition) -> Result<Purchase, DecodeError> {
    let value = record.value.as_deref().ok_or(DecodeError::Empty)?;
    let headers = PurchaseHeaders::of(record)?;
    let id = headers
        .id
        .unwrap_or_else(|| RecordId::new(record, partition).into());
    decode_value(value, id, &headers, record.known_time())
}

/// Decodes a refund from the value of its record, as [`encode`] has written it. A store that keeps a refund apart keeps this
/// value.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_refund(id: PurchaseId, value: &[u8]) -> Result<Purchase, DecodeError> {
    let headers = PurchaseHeaders {
        id: Some(id),
        schema: Some(DETAILED_SCHEMA),
        is_refund: true,
    };
    decode_value(value, id, &headers, None)
}

/// Decodes the value of a record. `record_time` is used if the value has no readable timestamp.
fn decode_value(
    value: &[u8],
    id: PurchaseId,
    headers: &PurchaseHeaders<'_>,
    record_time: Option<Timestamp>,
) -> Result<Purchase, DecodeError> {
    let no_object =
        |error: serde_json::Error| undecodable("the value is no JSON object:", &error.to_string());
    let members = Members::parse(value, MEMBERS).map_err(no_object)?;

    let user_id = members.get_alias(&USER_ID).map_err(no_object)?;
    let user_id = text(present("userid", user_id)?, "userid")?;
    let user_name = text(present("username", members.get("username"))?, "username")?;
    let price = present("price", members.get("price"))?;
    let price = if headers.is_refund {
        amount(price)?
    } else {
        let price = price.price(headers.schema.is_some());
        price.map_err(|error| undecodable("price", error.reason()))?
    };
    let own_time = members
        .get("timestamp")
        .and_then(|value| value.timestamp().ok());
    let timestamp = own_time
        .or(record_time)
        .unwrap_or_else(|| SystemClock.now());

    let details = if headers.schema == Some(DETAILED_SCHEMA) {
        Details::from_json(value, &MEMBERS)
            .map_err(|(member, problem)| undecodable(member, &problem))?
    } else {
        Details::NONE
    };
    if headers.is_refund != details.of.is_some() {
        return Err(undecodable("of", "belongs to a refund, which has it"));
    }
    Ok(Purchase::new(id, user_id, user_name, price, timestamp).with_details(details))
}

/// What the headers say.
struct PurchaseHeaders<'a> {
    id: Option<PurchaseId>,
    schema: Option<&'a str>,
    is_refund: bool,
}

impl<'a> PurchaseHeaders<'a> {
    fn of(record: &'a LogRecord) -> Result<Self, DecodeError> {
        let mut id = None;
        let mut schema = None;
        let mut of_type = None;
        for (name, value) in record.headers.iter() {
            match (name, value) {
                (header::PURCHASE_ID, value) => {
                    let invalid = || {
                        undecodable(
                            "the header purchase-id",
                            "is neither a UUID nor 24 hex digits",
                        )
                    };
                    id = Some(value.and_then(read_id).ok_or_else(invalid)?);
                }
                (header::SCHEMA, Some(version)) => match str::from_utf8(version) {
                    Ok(known @ (SCHEMA_VERSION | DETAILED_SCHEMA)) => schema = Some(known),
                    _ => {
                        return Err(DecodeError::UnknownSchema(
                            String::from_utf8_lossy(version).into_owned(),
                        ));
                    }
                },
                (header::TYPE, of) => of_type = of,
                _ => {}
            }
        }
        // Other producers may have such a header too.
        let of_type = of_type.filter(|_| schema.is_some());
        match of_type.filter(|of| *of != REFUND.as_bytes()) {
            Some(other) => Err(DecodeError::UnknownType(
                String::from_utf8_lossy(other).into_owned(),
            )),
            None => Ok(Self {
                id,
                schema,
                is_refund: of_type.is_some(),
            }),
        }
    }
}

/// The id in the header `purchase-id`, if it is valid.
pub(super) fn read_id(value: &[u8]) -> Option<PurchaseId> {
    str::from_utf8(value).ok()?.parse().ok()
}

/// The id of a purchase whose record has no id header.
impl From<RecordId> for PurchaseId {
    fn from(id: RecordId) -> Self {
        Self::from_uuid(*id.as_uuid())
    }
}

impl From<DecodeError> for Reason {
    fn from(error: DecodeError) -> Self {
        Self::from_parts(ReasonKind::Undecodable, error.to_string())
    }
}

/// The error of a part of a record.
fn undecodable(part: &str, problem: &str) -> DecodeError {
    DecodeError::NotAPurchase(format!("{part} {problem}"))
}

fn present<'a>(member: &str, value: Option<RawScalar<'a>>) -> Result<RawScalar<'a>, DecodeError> {
    value.ok_or_else(|| undecodable(member, "is missing"))
}

fn text<T>(value: RawScalar<'_>, member: &'static str) -> Result<T, DecodeError>
where
    T: FromStr<Err = Invalid>,
{
    let text = value
        .text_or_number()
        .ok_or_else(|| undecodable(member, "is neither text nor a number"))?;
    text.parse()
        .map_err(|error: T::Err| undecodable(member, error.reason()))
}

fn amount(value: RawScalar<'_>) -> Result<Price, DecodeError> {
    let amount = Price::parse_signed(value.as_json())
        .map_err(|error| undecodable("price", error.reason()))?;
    if amount.is_negative() {
        Ok(amount)
    } else {
        Err(undecodable("price", "must be negative for a refund"))
    }
}

/// Encodes `purchase` as JSON with exactly `username`, `userid`, `price`, `timestamp` and its details. The key is the user
/// id, so a partitioned log keeps each user's purchases in order. The headers are id, schema, the type of a refund, and the
/// request's context. The log assigns offset and timestamp.
///
/// # Errors
/// None today: the result is for records that a later version may refuse.
pub fn encode(purchase: &Purchase) -> Result<LogRecord> {
    // One buffer for all parts. Its capacity is enough for usual lengths.
    let mut buffer = BytesMut::with_capacity(TYPICAL_BYTES);
    buffer.extend_from_slice(purchase.user_id.as_str().as_bytes());
    let key = buffer.split().freeze();
    let (headers, mut buffer) = headers(purchase, buffer).build_and_split();
    write_members(purchase, &mut buffer);
    let value = buffer.freeze();
    Ok(LogRecord::new(0, Timestamp::MIN, Some(value))
        .with_key(Some(key))
        .with_headers(headers))
}

/// About 230 bytes of headers: 36 of the id, 55 of a trace, 36 of a request id, their names, and 8 of lengths each.
/// About 120 of the value.
const TYPICAL_BYTES: usize = 448;

fn headers(purchase: &Purchase, buffer: BytesMut) -> HeadersBuilder {
    let mut text = [0; PurchaseId::MAX_BYTES];
    let schema = if purchase.details == Details::NONE {
        SCHEMA_VERSION
    } else {
        DETAILED_SCHEMA
    };
    let mut headers = HeadersBuilder::with_buffer(buffer)
        .with(
            header::PURCHASE_ID,
            Some(purchase.id.encode(&mut text).as_bytes()),
        )
        .with(header::SCHEMA, Some(schema.as_bytes()));
    if purchase.is_refund() {
        headers = headers.with(header::TYPE, Some(REFUND.as_bytes()));
    }
    header::from_request(headers, purchase.context.as_deref())
}
