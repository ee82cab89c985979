//! The bodies of `/v1/dead-letters`.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use shop_core::ingest::StuckRecord;
use shop_core::log::{DeadLetter, RecordPosition, RecordType};
use shop_core::record::{Record as _, RecordDecoders};
use shop_core::{Purchase, Timestamp};

/// The maximum number of characters of a preview.
const MAX_PREVIEW_CHARS: usize = 200;

/// A page of pending dead letters, in the order of their positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLettersBody {
    /// The dead letters, without their records.
    pub items: Vec<DeadLetterBody>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<String>,
    /// The records that block an ingest of the process.
    #[serde(default)]
    pub stuck: Vec<StuckBody>,
}

impl DeadLettersBody {
    /// Creates a page of dead letters.
    #[must_use]
    pub const fn new(
        items: Vec<DeadLetterBody>,
        next: Option<String>,
        stuck: Vec<StuckBody>,
    ) -> Self {
        Self { items, next, stuck }
    }
}

/// A record that the store does not accept while it accepts others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StuckBody {
    /// The position of the record, as `POST /v1/dead-letters:park` takes it.
    pub position: String,
    /// The topic of the record.
    pub topic: String,
    /// The partition of the record.
    pub partition: u32,
    /// The offset of the record.
    pub offset: u64,
    /// The id of the purchase or event in the record, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The seconds since the record was read.
    pub age_seconds: u64,
    /// The kind of the error.
    pub error: String,
    /// The text of the error with its sources, for operators. It is empty if an older service
    /// reports it.
    #[serde(default)]
    pub detail: String,
}

impl From<StuckRecord> for StuckBody {
    fn from(stuck: StuckRecord) -> Self {
        Self {
            topic: stuck.topic.to_string(),
            position: RecordPosition::new(stuck.topic, stuck.partition, stuck.offset).to_string(),
            partition: stuck.partition,
            offset: stuck.offset,
            id: stuck.id,
            age_seconds: stuck.since.elapsed().as_secs(),
            error: stuck.error.kind().as_str().to_owned(),
            detail: stuck.error.chain().to_string(),
        }
    }
}

/// The result for one dead letter that was to be replayed or discarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResolvedBody {
    /// The position, as in the request.
    pub position: String,
    /// The result.
    pub status: ResolvedStatus,
    /// The reason why the dead letter was not resolved, or would become a dead letter again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl ResolvedBody {
    /// Creates the result for the dead letter at `position`.
    #[must_use]
    pub const fn new(position: String, status: ResolvedStatus, detail: Option<String>) -> Self {
        Self {
            position,
            status,
            detail,
        }
    }
}

/// The result of replaying or discarding a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResolvedStatus {
    /// The record of the dead letter was published again.
    Replayed,
    /// The dead letter was discarded.
    Discarded,
    /// The record was stuck, and is a dead letter now.
    Parked,
    /// The dead letter cannot be replayed, only discarded; or the record is not stuck, and so was
    /// not parked.
    Refused,
    /// There is no pending dead letter at the position.
    Unknown,
    /// In the dry run of a replay: the record would become a dead letter again.
    DeadLetter,
    /// A result that this version does not know.
    #[serde(other)]
    Other,
}

/// A dead letter, which is a record that could not be ingested. Its bytes may be anything: see
/// [`BytesBody`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetterBody {
    /// The position of the record: topic, partition and offset, joined by dashes.
    pub position: String,
    /// The time of the record.
    pub time: Timestamp,
    /// The kind of the reason.
    pub reason: String,
    /// The reason in words.
    pub detail: BytesBody,
    /// The number of attempts to ingest the record.
    pub attempts: u32,
    /// The version of the program that wrote the dead letter.
    pub version: BytesBody,
    /// The cluster of the log.
    pub cluster: String,
    /// The id of the purchase or event, if the record has one.
    pub id: Option<String>,
    /// The number of lost records, if the dead letter is about a gap in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// The purchase in the record, if the record can be decoded as a purchase. Members that this
    /// version does not know are left out, so that a list has a bounded size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purchase: Option<Box<Purchase>>,
    /// The purchase that is stored under the id of the record. It is set if the dead letter is
    /// about a conflict and was requested alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<Box<Purchase>>,
    /// The beginning of the value of the record as text, at most 200 characters. It is set in
    /// lists. Control characters, and bytes that are not UTF-8, are replaced by U+FFFD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// The record. Lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordBody>,
}

/// The key, the headers and the value of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordBody {
    /// The key.
    pub key: Option<BytesBody>,
    /// The headers, in their order.
    pub headers: Vec<RecordHeaderBody>,
    /// The value.
    pub value: Option<BytesBody>,
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordHeaderBody {
    /// The name.
    pub name: BytesBody,
    /// The value.
    pub value: Option<BytesBody>,
}

/// Bytes of a record, as text or in base64.
///
/// Bytes are written in base64 if they are not UTF-8, or if they contain control characters other
/// than line feeds and tabs, which could move the cursor of a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum BytesBody {
    /// Text.
    Text(String),
    /// Other bytes.
    Base64 {
        /// The bytes in base64.
        base64: String,
    },
}

impl BytesBody {
    /// Returns the text, or the base64 with the prefix `base64:`, for a line of output.
    #[must_use]
    pub fn into_line(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Base64 { base64 } => format!("base64:{base64}"),
        }
    }
}

impl From<&[u8]> for BytesBody {
    fn from(bytes: &[u8]) -> Self {
        let is_harmful =
            |character: char| character.is_control() && character != '\n' && character != '\t';
        match str::from_utf8(bytes) {
            Ok(text) if !text.contains(is_harmful) => Self::Text(text.to_owned()),
            _ => Self::Base64 {
                base64: BASE64.encode(bytes),
            },
        }
    }
}

impl DeadLetterBody {
    /// Creates the body of a dead letter in a list. The body contains a preview of the record and its
    /// purchase, but not the record itself.
    ///
    /// `record_type` is the type of the record in the dead letter.
    #[must_use]
    pub fn without_record(
        dead_letter: &DeadLetter,
        record_type: RecordType,
        decoders: &RecordDecoders,
    ) -> Self {
        let lost_records = dead_letter.gap().map(|gap| gap.offset_count());
        let purchase = decode_purchase(dead_letter, record_type, decoders);

        Self {
            position: dead_letter.position().to_string(),
            time: dead_letter.record.time,
            reason: dead_letter.reason.kind().as_str().to_owned(),
            // The reason may quote the record, and the version is a header that any producer may
            // write. Both can contain control characters, so they are converted as bytes.
            detail: dead_letter.reason.to_string().as_bytes().into(),
            attempts: dead_letter.attempts,
            version: dead_letter.version.as_bytes().into(),
            cluster: dead_letter.partition.cluster.to_string(),
            id: dead_letter.id(record_type),
            lost: lost_records,
            purchase: purchase.map(Box::new),
            // Only the response about a single conflict contains the stored purchase. Its caller
            // adds the purchase.
            stored: None,
            preview: dead_letter.record.value.as_deref().map(preview),
            record: None,
        }
    }

    /// Creates the body of a dead letter that was requested alone, with the whole record.
    ///
    /// `record_type` is the type of the record in the dead letter.
    #[must_use]
    pub fn with_record(
        dead_letter: &DeadLetter,
        record_type: RecordType,
        decoders: &RecordDecoders,
    ) -> Self {
        let record = &dead_letter.record;
        let headers = record.headers.iter().map(|(name, value)| RecordHeaderBody {
            name: name.as_bytes().into(),
            value: value.map(BytesBody::from),
        });
        let record_body = RecordBody {
            key: record.key.as_deref().map(BytesBody::from),
            headers: headers.collect(),
            value: record.value.as_deref().map(BytesBody::from),
        };
        Self {
            record: Some(record_body),
            preview: None,
            ..Self::without_record(dead_letter, record_type, decoders)
        }
    }
}

/// Decodes the purchase in the record of `dead_letter`.
///
/// Returns `None` if records of `record_type` contain no purchases, if the dead letter is about a
/// gap, or if the record is not valid, which may be the reason for the dead letter.
fn decode_purchase(
    dead_letter: &DeadLetter,
    record_type: RecordType,
    decoders: &RecordDecoders,
) -> Option<Purchase> {
    if record_type.name != Purchase::TYPE.name || dead_letter.gap().is_some() {
        return None;
    }
    let mut purchase = decoders
        .decode(&dead_letter.record, &dead_letter.partition)
        .ok()?
        .without_context();
    purchase.details.remove_unknown();
    Some(purchase)
}

/// Returns the first [`MAX_PREVIEW_CHARS`] characters of `value`. Control characters, and bytes that
/// are not UTF-8, become U+FFFD.
fn preview(value: &[u8]) -> String {
    // A character takes at most four bytes, so the rest of a long value is not decoded.
    let beginning = String::from_utf8_lossy(value.get(..4 * MAX_PREVIEW_CHARS).unwrap_or(value));
    let printable = beginning.replace(char::is_control, "\u{fffd}");
    printable.chars().take(MAX_PREVIEW_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_short_and_harmless() {
        assert_eq!(preview(b"{\"price\": 1}"), "{\"price\": 1}");
        assert_eq!(preview(b"\x1b[2J\xffx\n"), "\u{fffd}[2J\u{fffd}x\u{fffd}");
        for (long, short) in [
            ("a", "a"),
            ("\u{1f600}", "\u{1f600}"),
            ("\u{e4}a", "\u{e4}a"),
        ] {
            let preview = preview(long.repeat(1_000).as_bytes());
            assert_eq!(preview.chars().count(), MAX_PREVIEW_CHARS);
            assert!(preview.chars().all(|c| short.contains(c)), "{preview}");
        }
    }
}
