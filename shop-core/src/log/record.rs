//! Raw records of a log, and their positions.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Headers, Partition};
use crate::macros::format_as;
use crate::{Invalid, Timestamp};

/// The name of the only header of an erased record.
const ERASED: &str = "erased";

/// A raw record of a log: bytes that are not decoded yet.
///
/// A [`Record`](crate::record::Record) type decodes such a record. In a record that is yet to be
/// appended, `offset` and `time` are placeholders, which the log replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRecord {
    /// The offset of the record in its partition.
    pub offset: u64,
    /// The timestamp that the log assigned, or 1970-01-01T00:00:00Z for a record without a
    /// timestamp: see [`known_time`](Self::known_time).
    pub time: Timestamp,
    /// The key, if any. A partitioned log keeps the records of one key in order.
    pub key: Option<Bytes>,
    /// The headers, in the order in which they were written.
    pub headers: Headers,
    /// The value, or `None` for a tombstone or an [erased](Self::erase) record.
    pub value: Option<Bytes>,
}

impl LogRecord {
    /// Creates a record with `value` at `offset`, without key and headers.
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

    /// Returns the timestamp that the log assigned, or `None` if there is none: a Kafka producer
    /// may omit the timestamp.
    #[must_use]
    pub fn known_time(&self) -> Option<Timestamp> {
        // The time 0, in 1970, stands for a record without a timestamp.
        let has_time = self.time.as_millis() != 0;
        has_time.then_some(self.time)
    }

    /// Sets the key of this record.
    #[must_use]
    pub fn with_key(mut self, key: Option<Bytes>) -> Self {
        self.key = key;
        self
    }

    /// Replaces the headers of this record.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Deletes key, headers and value of this record, for example because a user's data must be
    /// deleted.
    ///
    /// The record keeps its offset, so that no gap appears in the log. A header tells an erased
    /// record apart from a tombstone. Ingest skips an erased record.
    pub fn erase(&mut self) {
        self.key = None;
        self.value = None;
        self.headers = Headers::builder().with(ERASED, None).build();
    }

    /// Returns whether this record was [erased](Self::erase).
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.value.is_none() && self.headers.contains(ERASED)
    }

    /// Returns the approximate memory of this record in bytes: the struct, the key, the headers and
    /// the value.
    #[must_use]
    pub fn size(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        size_of::<Self>() + length(&self.key) + self.headers.as_bytes().len() + length(&self.value)
    }
}

/// The position of one record in a log. Its text form is `topic-partition-offset`, such as
/// `purchases-0-42`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordPosition {
    /// The name of the topic.
    pub topic: Arc<str>,
    /// The index of the partition.
    pub partition: u32,
    /// The offset in the partition.
    pub offset: u64,
}

format_as!(
    RecordPosition: |this| Display = Display(format_args!("{}-{}-{}", this.topic, this.partition, this.offset))
);

impl RecordPosition {
    /// Creates the position of the record at `offset` of `partition` in `topic`.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, partition: u32, offset: u64) -> Self {
        Self {
            topic: topic.into(),
            partition,
            offset,
        }
    }

    /// Creates the position of `record`, which is in `partition`.
    pub(crate) fn from_record(record: &LogRecord, partition: &Partition) -> Self {
        Self::new(Arc::clone(&partition.topic), partition.index, record.offset)
    }
}

crate::domain::try_from_text!(RecordPosition);

impl FromStr for RecordPosition {
    type Err = Invalid;

    /// Parses the text form of a position.
    ///
    /// # Errors
    /// [`Invalid`] if `text` is not `topic-partition-offset`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::malformed(
            "the position",
            "must be topic-partition-offset, such as purchases-0-42",
        );
        // The text is split from its end, because the name of a topic may contain dashes.
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
    use crate::cases_test::outcomes;

    #[test]
    fn positions_read_back_as_written() {
        let positions = "t-1-3-7\n7\n3-7\n-3-7\nt-x-7\nt-3--7";
        insta::assert_snapshot!(outcomes(positions, str::parse::<RecordPosition>));
    }
}
