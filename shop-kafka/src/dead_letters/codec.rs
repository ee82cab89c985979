//! Encodes a dead letter as a Kafka record, and decodes it.

use rdkafka::message::OwnedHeaders;
use shop_core::Timestamp;
use shop_core::log::{
    DeadLetter, Headers, LogRecord, Partition, Reason, ReasonKind, ResolvedDeadLetter,
};

use crate::record::to_headers;

/// Header of a marker: `replayed` or `dropped`. All headers of a marker are text.
pub(super) const RESOLUTION: &str = "dead-letter-settled";
/// Header of a marker: the position of the record, for humans.
pub(super) const RECORD: &str = "dead-letter-record";
/// Header of a marker: the record id.
pub(super) const RECORD_ID: &str = "dead-letter-place";
/// Header of a marker: the id of the purchase or event in the record, if it has one.
pub(super) const ID: &str = "dead-letter-purchase";

/// The headers that are appended to those of the original record.
const NAMES: [&str; 9] = [
    "dead-letter-cluster",
    "dead-letter-topic",
    "dead-letter-partition",
    "dead-letter-offset",
    "dead-letter-time",
    "dead-letter-reason",
    "dead-letter-detail",
    "dead-letter-attempts",
    "dead-letter-version",
];

/// Encodes `dead_letter` as headers: those of the original record, then [`NAMES`].
pub(crate) fn headers(dead_letter: &DeadLetter) -> OwnedHeaders {
    let DeadLetter {
        record,
        partition,
        reason,
        attempts,
        version,
        ..
    } = dead_letter;
    let values: [&str; 9] = [
        &partition.cluster,
        &partition.topic,
        &partition.index.to_string(),
        &record.offset.to_string(),
        &record.time.as_millis().to_string(),
        reason.kind().as_str(),
        reason.detail(),
        &attempts.to_string(),
        version,
    ];
    let own: Vec<(&str, &[u8])> = NAMES.into_iter().zip(values.map(str::as_bytes)).collect();
    to_headers(&record.headers, &own)
}

/// Decodes a record of the dead-letter topic; `None` if it is not a dead letter.
pub(crate) fn decode(encoded: &LogRecord) -> Option<DeadLetter> {
    let all: Vec<(&str, Option<&[u8]>)> = encoded.headers.iter().collect();
    // Counted from the end: a replayed record may itself have these headers.
    let (original, own) = all.split_at_checked(all.len().checked_sub(NAMES.len())?)?;
    let text = |index: usize| -> Option<&str> {
        let (name, value) = own.get(index)?;
        (*name == NAMES[index]).then_some(())?;
        std::str::from_utf8((*value)?).ok()
    };
    let index = text(2)?.parse().ok()?;
    let partition = Partition::new(text(0)?.into(), text(1)?.into(), index, 0);
    let offset = text(3)?.parse().ok()?;
    let time = Timestamp::from_millis(text(4)?.parse().ok()?).ok()?;
    let kind = text(5)?.parse().unwrap_or(ReasonKind::Refused);
    let reason = Reason::from_parts(kind, text(6)?.to_owned());
    let mut headers = Headers::builder();
    for (name, value) in original {
        headers = headers.with(name, *value);
    }
    let record = LogRecord::new(offset, time, encoded.value.clone())
        .with_key(encoded.key.clone())
        .with_headers(headers.build());
    let mut dead_letter = DeadLetter::new(record, partition, reason, text(7)?.parse().ok()?);
    text(8)?.clone_into(&mut dead_letter.version);
    Some(dead_letter)
}

/// Decodes a marker; `None` if `record` is not a marker.
pub(crate) fn marker_of(record: &LogRecord) -> Option<ResolvedDeadLetter> {
    let (first, _) = record.headers.iter().next()?;
    // A dead letter starts with the headers of the original record, which may contain any names.
    if first != RESOLUTION || decode(record).is_some() {
        return None;
    }
    let text = |name: &str| std::str::from_utf8(record.headers.get(name)?).ok();
    Some(ResolvedDeadLetter::new(
        text(RECORD_ID)?.parse().ok()?,
        text(ID).map(str::to_owned),
        text(RESOLUTION)?.parse().ok()?,
    ))
}
