//! Encodes purchases as records of a log, and decodes such records, also those of other producers.
//!
//! One purchase is one record:
//!
//! | part | content |
//! |---|---|
//! | key | the user id, so that a partitioned log keeps the order of a user's purchases |
//! | value | a JSON object with `username`, `userid`, `price`, `timestamp`, and the details, if any |
//! | headers | the id, the schema, the type `refund` for a refund, and the context of the request |
//!
//! Other consumers read the four members of the value. Everything that they do not know is in
//! headers or in further members, so they can read these records. In return, [`decode`] reads the
//! records of other producers, which contain the four members and none of these headers. Other
//! formats are decoded by a [`RecordDecoder`](super::RecordDecoder).

use std::str::FromStr;

use bytes::{BufMut, BytesMut};

use super::{DETAILED_SCHEMA, REFUND, SCHEMA_VERSION, header};
use crate::json::{Members, RawScalar, write_members};
use crate::log::{HeadersBuilder, LogRecord, Partition, Reason, ReasonKind, RecordId};
use crate::{
    Clock as _, Details, Invalid, Price, Purchase, PurchaseId, Result, SystemClock, Timestamp,
};

/// The reason why a record cannot be decoded. Ingest stores the record as a dead letter with the
/// reason [`Undecodable`](ReasonKind::Undecodable).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The record has no value.
    #[error("the record has no value")]
    Empty,
    /// The record is not a purchase: a member of its value, or a header, is missing or invalid.
    #[error("{0}")]
    NotAPurchase(String),
    /// The value of the record is not a valid event.
    #[error("the value is no such event: {0}")]
    NotAnEvent(String),
    /// This version of the program does not know the schema version of the record: a newer version
    /// wrote it.
    #[error("the record has schema {0}, which a newer version of this program has written")]
    UnknownSchema(String),
    /// This version of the program does not know the type of the record, which is neither a
    /// purchase nor a refund.
    #[error("the record has type {0}, which a newer version of this program has written")]
    UnknownType(String),
}

/// The names of the members of a purchase that every record has. Other members are details.
pub const MEMBERS: [&str; 4] = ["username", "userid", "price", "timestamp"];

/// Decodes the purchase or refund in `record`, which was read from `partition`.
///
/// The value is a JSON object with these members, whether this or another program wrote the record:
///
/// - `userid` and `username`: text
/// - `price`: a number, or the text of one, with at most 8 decimals
/// - `timestamp`: the text of a time. If it is absent or null, the purchase gets the timestamp of
///   the record. If the log assigned no timestamp either, the purchase gets the time of the call.
/// - further members: [`Details`] if the schema header is `2`. Without this header, they are
///   ignored. Members that this version does not know are kept, within the limits that an import
///   from a file has, too: 56 KiB together, and 32 levels of arrays and objects.
///
/// A record without an id header gets an id that is derived from its position, so that every
/// redelivery decodes to the same purchase. The context of the request is not decoded: it stays in
/// the record's headers.
///
/// # Errors
/// Retrying is pointless after any of these errors:
///
/// - [`DecodeError::Empty`] if the record is a tombstone
/// - [`DecodeError::UnknownSchema`] or [`DecodeError::UnknownType`] if a newer version of this
///   program wrote the record
/// - [`DecodeError::NotAPurchase`] if a header or a member is missing or invalid
pub fn decode(record: &LogRecord, partition: &Partition) -> Result<Purchase, DecodeError> {
    let value = record.value.as_deref().ok_or(DecodeError::Empty)?;
    let headers = PurchaseHeaders::from_record(record, partition)?;
    decode_value(value, &headers, record.known_time())
}

/// Returns the id under which the purchase in `record`, which was read from `partition`, is stored.
///
/// This is the id in the header `purchase-id`. A record without this header gets an id that is
/// derived from its position, so that every redelivery has the same one.
///
/// # Errors
/// [`DecodeError`] if the header contains no valid id, or if a newer version of this program wrote
/// the record.
pub fn purchase_id(record: &LogRecord, partition: &Partition) -> Result<PurchaseId, DecodeError> {
    PurchaseHeaders::from_record(record, partition).map(|headers| headers.id)
}

/// Decodes the refund with the id `id` from the value of its record, as [`encode`] wrote it.
///
/// A refund that arrives before its purchase waits in the store. The store keeps the id and the value
/// of the refund's record, but not its headers. A refund always has the schema of purchases with
/// details, because the id of its purchase is a detail.
///
/// # Errors
/// [`DecodeError`] if the value is not a refund.
pub(crate) fn decode_refund(id: PurchaseId, value: &[u8]) -> Result<Purchase, DecodeError> {
    let headers = PurchaseHeaders {
        id,
        schema: Some(DETAILED_SCHEMA),
        is_refund: true,
    };
    // The value contains the timestamp, because `encode` wrote it.
    let record_time = None;
    decode_value(value, &headers, record_time)
}

/// Decodes the value of a record whose headers were read already.
///
/// `record_time` replaces a timestamp that is absent or null in the value.
///
/// # Errors
/// [`DecodeError::NotAPurchase`] if the value is not a JSON object, if a member is missing or
/// invalid, or if the value and the headers disagree about whether it is a refund.
fn decode_value(
    value: &[u8],
    headers: &PurchaseHeaders<'_>,
    record_time: Option<Timestamp>,
) -> Result<Purchase, DecodeError> {
    let not_an_object =
        |error: serde_json::Error| member_error("the value is no JSON object:", &error.to_string());
    let members = Members::parse(value, MEMBERS).map_err(not_an_object)?;

    let user_id = parse_required_text("userid", members.get("userid"))?;
    let user_name = parse_required_text("username", members.get("username"))?;

    let price_value = require_member("price", members.get("price"))?;
    let price = if headers.is_refund {
        parse_amount(price_value)?
    } else {
        // A price of this log is exact: it is not rounded.
        let is_exact = true;
        price_value
            .price(is_exact)
            .map_err(|error| member_error("price", error.reason()))?
    };

    let timestamp = match members.get("timestamp").filter(|value| !value.is_null()) {
        Some(value) => parse_required_text("timestamp", Some(value))?,
        None => record_time.unwrap_or_else(|| SystemClock.now()),
    };

    let details = if headers.schema == Some(DETAILED_SCHEMA) {
        Details::from_record(value, &MEMBERS)
            .map_err(|(member, problem)| member_error(&member, &problem))?
    } else {
        Details::NONE
    };

    // The detail `of` is the purchase that a refund refunds. A refund without it could not be
    // applied, and a purchase with it is ambiguous.
    if headers.is_refund != details.of.is_some() {
        return Err(member_error("of", "belongs to a refund, which has it"));
    }
    Ok(Purchase::new(headers.id, user_id, user_name, price, timestamp).with_details(details))
}

/// The headers of a record that decide how its value is decoded.
struct PurchaseHeaders<'a> {
    /// The id of the purchase, derived from the position of a record without an id header.
    id: PurchaseId,
    /// The schema version, or `None` for a record of another producer.
    schema: Option<&'a str>,
    /// Whether the record is a refund. Otherwise it is a purchase.
    is_refund: bool,
}

impl<'a> PurchaseHeaders<'a> {
    /// Reads the headers of `record`, which was read from `partition`. Headers with other names are
    /// ignored.
    ///
    /// # Errors
    /// - [`DecodeError::NotAPurchase`] if the header `purchase-id` contains no valid id
    /// - [`DecodeError::UnknownSchema`] if the header `schema` contains a version that this program
    ///   does not know
    /// - [`DecodeError::UnknownType`] if a record with a known schema is of another type than
    ///   `refund`
    fn from_record(record: &'a LogRecord, partition: &Partition) -> Result<Self, DecodeError> {
        let mut id = None;
        let mut schema = None;
        let mut type_header = None;
        for (name, value) in record.headers.iter() {
            match (name, value) {
                (header::PURCHASE_ID, value) => {
                    let header_id = value.and_then(PurchaseId::from_header);
                    id = Some(header_id.ok_or_else(|| {
                        member_error(
                            "the header purchase-id",
                            "is neither a UUID nor 24 hex digits",
                        )
                    })?);
                }
                (header::SCHEMA, Some(version)) => match str::from_utf8(version) {
                    Ok(known_version @ (SCHEMA_VERSION | DETAILED_SCHEMA)) => {
                        schema = Some(known_version);
                    }
                    _ => {
                        return Err(DecodeError::UnknownSchema(
                            String::from_utf8_lossy(version).into_owned(),
                        ));
                    }
                },
                (header::TYPE, value) => type_header = value,
                // The other headers do not decide how the value is decoded.
                _ => {}
            }
        }
        // Other producers may use a header `type` for purposes of their own. It only counts beside
        // a schema header, which marks a record of this program.
        let record_type = type_header.filter(|_| schema.is_some());
        let unknown_type = record_type.filter(|name| *name != REFUND.as_bytes());
        if let Some(unknown_type) = unknown_type {
            return Err(DecodeError::UnknownType(
                String::from_utf8_lossy(unknown_type).into_owned(),
            ));
        }

        Ok(Self {
            id: id.unwrap_or_else(|| RecordId::new(record, partition).into()),
            schema,
            is_refund: record_type.is_some(),
        })
    }
}

/// Creates the id of a purchase whose record contains no id header: the UUID that is derived from
/// the record's position.
impl From<RecordId> for PurchaseId {
    fn from(id: RecordId) -> Self {
        Self::from_uuid(*id.as_uuid())
    }
}

/// Creates the reason [`Undecodable`](ReasonKind::Undecodable) of a dead letter.
impl From<DecodeError> for Reason {
    fn from(error: DecodeError) -> Self {
        Self::from_parts(ReasonKind::Undecodable, error.to_string())
    }
}

/// Creates the error about a member or a header of a record. `problem` is the rest of a sentence that
/// begins with `subject`.
fn member_error(subject: &str, problem: &str) -> DecodeError {
    DecodeError::NotAPurchase(format!("{subject} {problem}"))
}

/// Returns `value`, the value of a member that every purchase must contain.
///
/// # Errors
/// [`DecodeError::NotAPurchase`] without a value. The error names `member`.
fn require_member<'a>(
    member: &str,
    value: Option<RawScalar<'a>>,
) -> Result<RawScalar<'a>, DecodeError> {
    value.ok_or_else(|| member_error(member, "is missing"))
}

/// Parses the value of `member`, which must be text, as a `T`.
///
/// # Errors
/// [`DecodeError::NotAPurchase`] if the value is missing, is of another JSON type, or is not a
/// valid `T`.
fn parse_required_text<T: FromStr<Err = Invalid>>(
    member: &str,
    value: Option<RawScalar<'_>>,
) -> Result<T, DecodeError> {
    let text = require_member(member, value)?
        .text()
        .ok_or_else(|| member_error(member, "is no text"))?;
    text.parse()
        .map_err(|error: T::Err| member_error(member, error.reason()))
}

/// Parses the price of a refund, which must be a negative number.
///
/// # Errors
/// [`DecodeError::NotAPurchase`] if the value is not a price, or is not negative.
fn parse_amount(value: RawScalar<'_>) -> Result<Price, DecodeError> {
    let amount = Price::parse_signed(value.as_json())
        .map_err(|error| member_error("price", error.reason()))?;
    if amount.is_negative() {
        Ok(amount)
    } else {
        Err(member_error("price", "must be negative for a refund"))
    }
}

/// Encodes `purchase` as a record: the key is the user id, and the value is JSON.
///
/// The value contains exactly the members `username`, `userid`, `price`, `timestamp`, and the
/// details of the purchase. A partitioned log keeps the records of one key in order, so it keeps
/// each user's purchases in order. The headers are the id, the schema version, the type of a
/// refund, and the context of the request. The log assigns offset and timestamp when it appends the
/// record.
///
/// A log that copies the parts of a record anyway, as a client of Kafka does, encodes them one by
/// one instead: by [`encode_headers`] and [`encode_value`].
///
/// # Errors
/// The errors of [`encode_value`].
pub fn encode(purchase: &Purchase) -> Result<LogRecord> {
    // Key, headers and value share one buffer, so that a record of usual length needs one
    // allocation.
    let mut buffer = BytesMut::with_capacity(TYPICAL_BYTES);
    buffer.extend_from_slice(purchase.user_id.as_str().as_bytes());
    let key = buffer.split().freeze();

    let headers = HeadersBuilder::with_buffer(buffer);
    let headers = encode_headers(purchase, headers, |headers, name, value| {
        headers.with(name, Some(value))
    });
    let (headers, mut buffer) = headers.build_and_split();

    encode_value(purchase, &mut buffer)?;
    let value = buffer.freeze();

    // The offset and the timestamp are placeholders, which the log replaces.
    Ok(LogRecord::new(0, Timestamp::MIN, Some(value))
        .with_key(Some(key))
        .with_headers(headers))
}

/// The initial capacity in bytes of the buffer for one record.
///
/// The headers take about 230 bytes: 36 of the id, 55 of a trace, 36 of a request id, their names,
/// and 8 of lengths each. The value takes about 120 bytes.
const TYPICAL_BYTES: usize = 448;

/// Appends the value of the record of `purchase`, which [`encode`] describes, to `value`.
///
/// # Errors
/// None today: a later version may refuse a purchase.
pub fn encode_value(purchase: &Purchase, value: &mut impl BufMut) -> Result<()> {
    write_members(purchase, value);
    Ok(())
}

/// Adds the headers of the record of `purchase`, which [`encode`] describes, to `headers`.
///
/// `headers` may be of any type. `add` is called with the headers so far, and with the name and the
/// value of the next one.
///
/// A purchase without details is written with schema `1`, so that older versions of this program
/// can still read it.
pub fn encode_headers<H>(
    purchase: &Purchase,
    mut headers: H,
    mut add: impl FnMut(H, &str, &[u8]) -> H,
) -> H {
    let mut id_text = [0; PurchaseId::MAX_BYTES];
    let id = purchase.id.encode(&mut id_text);
    headers = add(headers, header::PURCHASE_ID, id.as_bytes());

    let schema = if purchase.details == Details::NONE {
        SCHEMA_VERSION
    } else {
        DETAILED_SCHEMA
    };
    headers = add(headers, header::SCHEMA, schema.as_bytes());
    if purchase.is_refund() {
        headers = add(headers, header::TYPE, REFUND.as_bytes());
    }
    header::add_request(headers, purchase.context.as_deref(), add)
}
