//! Encodes purchases into records.

use bytes::BytesMut;

use super::{SCHEMA_VERSION, header};
use crate::json::write_members;
use crate::log::{HeadersBuilder, LogRecord};
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result, Timestamp};

/// Encodes `purchase` as JSON with exactly `username`, `userid`, `price` and `timestamp`. The key is the user id, so a
/// partitioned log keeps each user's purchases in order. The headers are id, schema, and the request's context. The log
/// assigns offset and timestamp.
///
/// # Errors
/// [`Internal`](ErrorKind::Internal) when a purchase cannot be encoded, which would be a defect of this crate.
pub fn encode(purchase: &Purchase) -> Result<LogRecord> {
    // One buffer for all parts. Its capacity is enough for usual lengths.
    let mut buffer = BytesMut::with_capacity(TYPICAL_BYTES);
    buffer.extend_from_slice(purchase.user_id.as_str().as_bytes());
    let key = buffer.split().freeze();
    let (headers, mut buffer) = headers(purchase, buffer).build_and_split();
    write_members(purchase, &mut buffer).map_err(|error| {
        Error::new(ErrorKind::Internal, "a purchase could not be written as JSON").with_source(error)
    })?;
    let value = buffer.freeze();
    Ok(LogRecord::new(0, Timestamp::MIN, Some(value)).with_key(Some(key)).with_headers(headers))
}

/// About 230 bytes of headers: 36 of the id, 55 of a trace, 36 of a request id, their names, and 8 of lengths each.
/// About 120 of the value.
const TYPICAL_BYTES: usize = 448;

fn headers(purchase: &Purchase, buffer: BytesMut) -> HeadersBuilder {
    let mut text = [0; PurchaseId::MAX_BYTES];
    let headers = HeadersBuilder::with_buffer(buffer)
        .with(header::PURCHASE_ID, Some(purchase.id.encode(&mut text).as_bytes()))
        .with(header::SCHEMA, Some(SCHEMA_VERSION.as_bytes()));
    header::from_request(headers, purchase.context.as_deref())
}
