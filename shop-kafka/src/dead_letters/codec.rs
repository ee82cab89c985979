//! Encodes a dead letter as a Kafka record, and decodes it.

use rdkafka::message::OwnedHeaders;
use shop_core::Timestamp;
use shop_core::log::{
    DeadLetter, Headers, LogRecord, Partition, Reason, ReasonKind, ResolvedDeadLetter,
};

use crate::record::to_headers;

/// The header of a marker with the resolution: `replayed` or `dropped`. All headers of a marker are
/// text.
pub(super) const RESOLUTION: &str = "dead-letter-settled";
/// The header of a marker with the position of the record in the log, for human readers.
pub(super) const RECORD: &str = "dead-letter-record";
/// The header of a marker with the record id, by which the dead letter is found.
pub(super) const RECORD_ID: &str = "dead-letter-place";
/// The header of a marker with the id of the purchase or event in the record, if there is one.
pub(super) const ID: &str = "dead-letter-purchase";

/// The names of the headers that follow the original record's headers in a dead letter, in this
/// order.
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

/// Encodes `dead_letter` as headers: the headers of the original record, followed by [`NAMES`].
pub(crate) fn encode_headers(dead_letter: &DeadLetter) -> OwnedHeaders {
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
    let own_headers: Vec<(&str, &[u8])> =
        NAMES.into_iter().zip(values.map(str::as_bytes)).collect();
    to_headers(&record.headers, &own_headers)
}

/// Decodes a record of the dead-letter topic. Returns `None` if the record is not a dead letter:
/// its last headers do not have the [`NAMES`], or a value is not valid.
pub(crate) fn decode(encoded: &LogRecord) -> Option<DeadLetter> {
    let all_headers: Vec<(&str, Option<&[u8]>)> = encoded.headers.iter().collect();
    // The last headers count, because the original record may contain headers with the same names:
    // it may be a dead letter itself.
    let (original_headers, own_headers) = all_headers.split_last_chunk::<{ NAMES.len() }>()?;
    let mut values = [""; NAMES.len()];
    for (index, (name, value)) in own_headers.iter().enumerate() {
        if *name != NAMES[index] {
            return None;
        }
        values[index] = str::from_utf8((*value)?).ok()?;
    }
    let [
        cluster,
        topic,
        index,
        offset,
        millis,
        kind_name,
        detail,
        attempts,
        version,
    ] = values;

    // The epoch in which the record was read is not stored.
    let no_epoch = 0;
    let partition = Partition::new(cluster.into(), topic.into(), index.parse().ok()?, no_epoch);
    let time = Timestamp::from_millis(millis.parse().ok()?).ok()?;
    // A later version may write a kind that this version does not know.
    let kind = kind_name.parse().unwrap_or(ReasonKind::Refused);
    let reason = Reason::from_parts(kind, detail.to_owned());
    let mut headers = Headers::builder();
    for (name, value) in original_headers {
        headers = headers.with(name, *value);
    }
    let record = LogRecord::new(offset.parse().ok()?, time, encoded.value.clone())
        .with_key(encoded.key.clone())
        .with_headers(headers.build());
    let mut dead_letter = DeadLetter::new(record, partition, reason, attempts.parse().ok()?);
    version.clone_into(&mut dead_letter.version);
    Some(dead_letter)
}

/// Decodes the marker of a resolved dead letter. Returns `None` if `record` is not a marker.
pub(crate) fn decode_marker(record: &LogRecord) -> Option<ResolvedDeadLetter> {
    let (first_name, _) = record.headers.iter().next()?;
    // A dead letter begins with the headers of its original record. These may have the names of a
    // marker's headers, so a dead letter is never taken for a marker.
    if first_name != RESOLUTION || decode(record).is_some() {
        return None;
    }

    let header_text = |name: &str| str::from_utf8(record.headers.get(name)?).ok();
    let record_id = header_text(RECORD_ID)?.parse().ok()?;
    let purchase_or_event_id = header_text(ID).map(str::to_owned);
    let resolution = header_text(RESOLUTION)?.parse().ok()?;
    Some(ResolvedDeadLetter::new(
        record_id,
        purchase_or_event_id,
        resolution,
    ))
}
