//! A raw record of a log, and its position.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Headers;
use crate::macros::format_as;
use crate::{Invalid, Timestamp};

/// The header of an erased record.
const ERASED: &str = "erased";

/// One raw record of a log, not decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRecord {
    /// Its offset in the partition.
    pub offset: u64,
    /// The timestamp that the log assigned; 1970-01-01T00:00:00Z if it has none, see [`known_time`](Self::known_time).
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
        Self {
            offset,
            time,
            key: None,
            headers: Headers::EMPTY,
            value,
        }
    }

    /// The timestamp that the log assigned, if it has one. A producer of Kafka may leave it out.
    #[must_use]
    pub fn known_time(&self) -> Option<Timestamp> {
        (self.time.as_millis() != 0).then_some(self.time)
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

    /// Deletes key, headers and value. A header marks the record as erased.
    pub fn erase(&mut self) {
        self.key = None;
        self.value = None;
        self.headers = Headers::builder().with(ERASED, None).build();
    }

    /// Whether the record was [erased](Self::erase).
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.value.is_none() && self.headers.contains(ERASED)
    }

    /// The approximate memory of the record, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        size_of::<Self>() + length(&self.key) + self.headers.as_bytes().len() + length(&self.value)
    }
}

/// The position of one record in a log. Its text form is `topic-partition-offset`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordPosition {
    /// The topic.
    pub topic: Arc<str>,
    /// The number of the partition.
    pub partition: u32,
    /// The offset in the partition.
    pub offset: u64,
}

format_as!(
    RecordPosition: |this| Display = Display(format_args!("{}-{}-{}", this.topic, this.partition, this.offset))
);

impl RecordPosition {
    /// The position of a record.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, partition: u32, offset: u64) -> Self {
        Self {
            topic: topic.into(),
            partition,
            offset,
        }
    }
}

crate::domain::try_from_text!(RecordPosition);

impl FromStr for RecordPosition {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::malformed(
            "the position",
            "must be topic-partition-offset, such as purchases-0-42",
        );
        // Parsed from the end: topic names may contain dashes.
        let (before_offset, offset) = text.rsplit_once('-').ok_or(INVALID)?;
        let (topic, partition) = before_offset.rsplit_once('-').ok_or(INVALID)?;
        match (partition.parse(), offset.parse()) {
            (Ok(partition), Ok(offset)) if !topic.is_empty() => {
                Ok(Self::new(topic, partition, offset))
            }
            _ => Err(INVALID),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_as_written() {
        let position = RecordPosition::new("t-1", 3, 7);
        assert_eq!(position.to_string(), "t-1-3-7");
        assert_eq!(position.to_string().parse(), Ok(position));
        for wrong in ["", "7", "3-7", "-3-7", "t-x-7", "t-3--7"] {
            assert!(wrong.parse::<RecordPosition>().is_err(), "{wrong}");
        }
    }
}
