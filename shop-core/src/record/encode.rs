//! Encodes purchases into records.

use bytes::Bytes;
use serde::Serialize;

use super::{SCHEMA_VERSION, header};
use crate::json::{number, text};
use crate::log::{Headers, HeadersBuilder, LogRecord};
use crate::{Error, ErrorKind, Price, Purchase, Result, Timestamp};

// A separate type: a `Serialize` implementation for JSON and other formats alike would store exact numbers incorrectly.
#[derive(Serialize)]
struct Value<'a> {
    username: &'a str,
    userid: &'a str,
    #[serde(with = "number")]
    price: Price,
    #[serde(with = "text")]
    timestamp: Timestamp,
}

/// Encodes `purchase` as JSON with exactly `username`, `userid`, `price` and `timestamp`. The key is the user id, so a
/// partitioned log keeps each user's purchases in order. The headers are id, schema, and the request's context. The log
/// assigns offset and timestamp.
///
/// # Errors
/// [`Internal`](ErrorKind::Internal) when a purchase cannot be encoded, which would be a defect of this crate.
pub fn encode(purchase: &Purchase) -> Result<LogRecord> {
    let value = Value {
        username: purchase.user_name.as_str(),
        userid: purchase.user_id.as_str(),
        price: purchase.price,
        timestamp: purchase.timestamp,
    };
    let value = serde_json::to_vec(&value).map_err(|error| {
        Error::new(ErrorKind::Internal, "a purchase could not be written as JSON").with_source(error)
    })?;
    let key = Bytes::copy_from_slice(purchase.user_id.as_str().as_bytes());
    Ok(LogRecord::new(0, Timestamp::MIN, Some(value.into()))
        .with_key(Some(key))
        .with_headers(headers(purchase)))
}

fn headers(purchase: &Purchase) -> Headers {
    // 36 characters of id, 55 of traceparent, 36 of request id, the names, and 8 bytes of lengths each.
    const TYPICAL_BYTES: usize = 256;
    let id = purchase.id.to_string();
    let headers = HeadersBuilder::with_capacity(TYPICAL_BYTES)
        .with(header::PURCHASE_ID, Some(id.as_bytes()))
        .with(header::SCHEMA, Some(SCHEMA_VERSION.as_bytes()));
    header::from_request(headers, purchase.context.as_deref()).build()
}
