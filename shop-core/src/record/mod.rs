//! What stands in the log: raw records, and the codec between them and purchases.

mod decode;
mod encode;
pub(crate) mod event;
#[cfg(test)]
mod formats_test;
mod headers;
mod typed;

use bytes::Bytes;

pub use decode::{UndecodableRecord, decode, place_id};
pub use encode::{EncodedPurchase, encode};
pub use headers::{Headers, HeadersBuilder, InvalidHeaders};
pub use typed::{Event, Record};

use crate::Timestamp;

/// Names of the headers that we write. Everything beyond the four members that the replaced systems' readers
/// know stands in headers, so that these can go on reading the value.
pub mod header {
    use super::HeadersBuilder;
    use crate::RequestContext;

    /// The purchase's id.
    pub const PURCHASE_ID: &str = "purchase-id";
    /// The version of the record's format.
    pub const SCHEMA: &str = "schema";
    /// The W3C trace context of the request.
    pub const TRACEPARENT: &str = "traceparent";
    /// The id of the request.
    pub const REQUEST_ID: &str = "request-id";

    /// `headers`, and those of the request.
    pub(super) fn of_request(
        mut headers: HeadersBuilder,
        context: Option<&RequestContext>,
    ) -> HeadersBuilder {
        let Some(context) = context else { return headers };
        for (name, value) in [(TRACEPARENT, &context.traceparent), (REQUEST_ID, &context.request_id)] {
            if let Some(value) = value {
                headers = headers.with(name, Some(value.as_bytes()));
            }
        }
        headers
    }
}

/// The version of the record's format that we write and the only one that we read.
pub const SCHEMA_VERSION: &str = "1";

/// One record as it stands in a log, not looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRecord {
    /// Its offset in the partition.
    pub offset: u64,
    /// The time that the log gave it.
    pub time: Timestamp,
    /// The key, if there is one.
    pub key: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
    /// The value; `None` for a tombstone.
    pub value: Option<Bytes>,
}

impl LogRecord {
    /// The record at `offset` with `value`, without key and headers.
    #[must_use]
    pub const fn new(offset: u64, time: Timestamp, value: Option<Bytes>) -> Self {
        Self { offset, time, key: None, headers: Headers::EMPTY, value }
    }

    /// The same record with `key`.
    #[must_use]
    pub fn with_key(mut self, key: Option<Bytes>) -> Self {
        self.key = key;
        self
    }

    /// The same record with `headers`.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// How much memory the record takes, nearly, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        size_of::<Self>() + length(&self.key) + self.headers.as_bytes().len() + length(&self.value)
    }
}
