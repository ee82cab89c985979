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
/// The bytes are copied because a message keeps its whole fetch response in memory. The copies are
/// in `buffer`, which the records of a batch share, so that there are few allocations.
pub(crate) fn from_message(message: &BorrowedMessage<'_>, buffer: &mut BytesMut) -> LogRecord {
    // A timestamp that is missing or out of range becomes 1970-01-01.
    let millis = message.timestamp().to_millis().unwrap_or_default();
    let timestamp = Timestamp::from_millis(millis)
        .or_else(|_out_of_range| Timestamp::from_millis(0))
        .unwrap_or(Timestamp::MIN);

    let mut copy_bytes = |bytes: &[u8]| {
        buffer.extend_from_slice(bytes);
        buffer.split().freeze()
    };
    let key = message.key().map(&mut copy_bytes);
    let value = message.payload().map(&mut copy_bytes);
    let headers = message
        .headers()
        .map(|headers| from_headers(headers, buffer))
        .unwrap_or_default();

    LogRecord::new(unsigned(message.offset()), timestamp, value)
        .with_key(key)
        .with_headers(headers)
}

/// Copies the headers of a message into `buffer`. Skips headers whose name is not UTF-8.
fn from_headers(headers: &BorrowedHeaders, buffer: &mut BytesMut) -> Headers {
    let mut builder = HeadersBuilder::with_buffer(std::mem::take(buffer));
    for index in 0..headers.count() {
        // rdkafka panics on a header name that is not UTF-8. Kafka's protocol forbids such names,
        // but brokers do not check them, and one such record must not stop the consumer.
        match catch_unwind(AssertUnwindSafe(|| headers.try_get(index))) {
            Ok(Some(header)) => builder = builder.with(header.key, header.value),
            // The index is in range, so this does not happen.
            Ok(None) => break,
            Err(_panic) => tracing::warn!("skipped a header whose name is not UTF-8"),
        }
    }

    let (headers, remaining_buffer) = builder.build_and_split();
    *buffer = remaining_buffer;
    headers
}

/// Converts `headers`, followed by `additional_headers`, to headers of librdkafka.
pub(crate) fn to_headers(headers: &Headers, additional_headers: &[(&str, &[u8])]) -> OwnedHeaders {
    let mut converted = OwnedHeaders::new();
    for (key, value) in headers.iter() {
        converted = converted.insert(Header { key, value });
    }
    for &(key, value) in additional_headers {
        converted = converted.insert(Header {
            key,
            value: Some(value),
        });
    }
    converted
}
