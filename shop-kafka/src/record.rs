//! Between librdkafka's messages and records of the log.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use rdkafka::Message;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, OwnedHeaders};
use shop_core::Timestamp;
use shop_core::log::{Headers, HeadersBuilder, LogRecord};

/// The record that `message` holds. Copied, as a message keeps hold of all that was fetched with it; into
/// `buffer`, which the records of one batch share: they come and go together, and cost few allocations.
pub(crate) fn from_message(message: &BorrowedMessage<'_>, buffer: &mut BytesMut) -> LogRecord {
    let time = message.timestamp().to_millis().and_then(|millis| Timestamp::from_millis(millis).ok());
    // A record may come without a time, or with one that no clock shows; it then counts as of 1970.
    let time = time.or_else(|| Timestamp::from_millis(0).ok()).unwrap_or(Timestamp::MIN);
    let mut copy = |bytes: &[u8]| {
        buffer.extend_from_slice(bytes);
        buffer.split().freeze()
    };
    let (key, value) = (message.key().map(&mut copy), message.payload().map(&mut copy));
    // Offsets of records that were delivered are never negative.
    let offset = u64::try_from(message.offset()).unwrap_or_default();
    let headers = message.headers().map(|headers| from_headers(headers, buffer)).unwrap_or_default();
    LogRecord::new(offset, time, value).with_key(key).with_headers(headers)
}

fn from_headers(headers: &BorrowedHeaders, buffer: &mut BytesMut) -> Headers {
    let mut builder = HeadersBuilder::with_buffer(std::mem::take(buffer));
    for index in 0..headers.count() {
        // rdkafka panics at a name that is not UTF-8, which Kafka's protocol forbids and no broker checks.
        // One such record must not stop the log.
        match catch_unwind(AssertUnwindSafe(|| headers.try_get(index))) {
            Ok(Some(header)) => builder = builder.with(header.key, header.value),
            Ok(None) => break,
            Err(_panic) => tracing::warn!("a header whose name is not UTF-8 was left out"),
        }
    }
    let (headers, rest) = builder.build_and_split();
    *buffer = rest;
    headers
}

/// The headers for librdkafka, followed by `more`.
pub(crate) fn to_headers(headers: &Headers, more: &[(&str, &[u8])]) -> OwnedHeaders {
    let all = headers.iter().chain(more.iter().map(|(name, value)| (*name, Some(*value))));
    all.fold(OwnedHeaders::new(), |owned, (key, value)| owned.insert(Header { key, value }))
}
