//! Converts between librdkafka's messages and records of the log.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use rdkafka::Message;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, OwnedHeaders};
use shop_core::Timestamp;
use shop_core::log::{Headers, HeadersBuilder, LogRecord};

use crate::number::unsigned;

/// Copies `message` into a record.
///
/// The bytes are copied because a message keeps its whole fetch response in memory. They are
/// written to `buffer`, which the records of a batch share, so that there are few allocations.
pub(crate) fn from_message(message: &BorrowedMessage<'_>, buffer: &mut BytesMut) -> LogRecord {
    let timestamp = message
        .timestamp()
        .to_millis()
        .and_then(|millis| Timestamp::from_millis(millis).ok());
    // A timestamp that is missing or out of range becomes 1970-01-01.
    let timestamp = timestamp
        .or_else(|| Timestamp::from_millis(0).ok())
        .unwrap_or(Timestamp::MIN);
    let mut copy = |bytes: &[u8]| {
        buffer.extend_from_slice(bytes);
        buffer.split().freeze()
    };
    let key = message.key().map(&mut copy);
    let value = message.payload().map(&mut copy);
    let offset = unsigned(message.offset());
    let headers = message
        .headers()
        .map(|headers| from_headers(headers, buffer))
        .unwrap_or_default();
    LogRecord::new(offset, timestamp, value)
        .with_key(key)
        .with_headers(headers)
}

/// Copies the headers of a message into `buffer`. Skips headers whose name is not UTF-8.
fn from_headers(headers: &BorrowedHeaders, buffer: &mut BytesMut) -> Headers {
    let mut builder = HeadersBuilder::with_buffer(std::mem::take(buffer));
    for index in 0..headers.count() {
        // rdkafka panics on a header name that is not UTF-8. Kafka's protocol forbids such names, but brokers do
        // not check them, and one such record must not stop the consumer.
        match catch_unwind(AssertUnwindSafe(|| headers.try_get(index))) {
            Ok(Some(header)) => builder = builder.with(header.key, header.value),
            Ok(None) => break,
            Err(_panic) => tracing::warn!("skipped a header whose name is not UTF-8"),
        }
    }
    let (headers, rest) = builder.build_and_split();
    *buffer = rest;
    headers
}

/// Converts `headers`, followed by the headers `more`, to headers of librdkafka.
pub(crate) fn to_headers(headers: &Headers, more: &[(&str, &[u8])]) -> OwnedHeaders {
    let all = headers
        .iter()
        .chain(more.iter().map(|(name, value)| (*name, Some(*value))));
    all.fold(OwnedHeaders::new(), |owned, (key, value)| {
        owned.insert(Header { key, value })
    })
}
