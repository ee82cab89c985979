//! How records are identified: by their position, or by a header.

use std::str::FromStr;

use uuid::Uuid;

use super::{LogRecord, Partition};
use crate::domain::hashed;

/// Namespace of record ids. Fixed for ever: another value would duplicate purchases.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f5a_0a52_5d3e_4c0e_9a4d_2f6f_31b7_0c12);

/// The identity that a record has from its position: the same at every redelivery.
///
/// A UUIDv5 over cluster, topic, partition, offset and time. No other record has it, not even in a topic that was
/// deleted and created again, which counts its offsets from 0 once more: its records have other times. The epoch does
/// not count.
#[derive(derive_more::Display, Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[display("{}", _0.hyphenated())]
pub struct RecordId(Uuid);

/// A text that is no [`RecordId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record id is a UUID such as bb8a1e84-3cdd-55ff-999d-00f040a84f59")]
pub struct InvalidRecordId;

impl RecordId {
    /// The id of `record` in `partition`.
    #[must_use]
    pub fn new(record: &LogRecord, partition: &Partition) -> Self {
        Self(hashed(
            NAMESPACE,
            &[
                partition.cluster.as_bytes(),
                partition.topic.as_bytes(),
                &partition.index.to_be_bytes(),
                &record.offset.to_be_bytes(),
                &record.time.as_millis().to_be_bytes(),
            ],
        ))
    }

    /// The UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl FromStr for RecordId {
    type Err = InvalidRecordId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self).map_err(|_malformed| InvalidRecordId)
    }
}

/// What the operators of a log must know of the records of a topic, which the log itself does not look into: their
/// name, and the header with their id if they have one.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RecordType {
    /// What one of them is called in texts.
    pub name: &'static str,
    id_header: Option<IdHeader>,
}

#[derive(Debug, Clone, Copy)]
struct IdHeader {
    name: &'static str,
    read: fn(&[u8]) -> Option<String>,
}

impl RecordType {
    /// Records that need no id: applying one of them again changes nothing, at whatever position it is.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, id_header: None }
    }

    /// Records with their id in the header `name`, or from their position if they have no such header. `read` returns
    /// the id that a header's value holds, or `None` if it holds none.
    #[must_use]
    pub const fn with_id_header(mut self, name: &'static str, read: fn(&[u8]) -> Option<String>) -> Self {
        self.id_header = Some(IdHeader { name, read });
        self
    }

    /// The id that `record` has or would have; `None` when its type has none, or its header holds none.
    #[must_use]
    pub fn id(&self, record: &LogRecord, partition: &Partition) -> Option<String> {
        let header = self.id_header?;
        match record.headers.contains(header.name) {
            true => record.headers.get(header.name).and_then(header.read),
            false => Some(RecordId::new(record, partition).to_string()),
        }
    }

    /// The record to publish in order to process `record` again: key, headers and value unchanged.
    ///
    /// A record that has its id from its position would get another one where it is published. It is given its id in
    /// the header, so that a replay keeps the id, and repeating it duplicates nothing.
    #[must_use]
    pub fn replay_record(&self, record: &LogRecord, partition: &Partition) -> LogRecord {
        let mut record = record.clone();
        if let Some(header) = self.id_header.filter(|header| !record.headers.contains(header.name)) {
            let id = RecordId::new(&record, partition).to_string();
            record.headers = record.headers.with(header.name, Some(id.as_bytes()));
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn id((cluster, topic): (&str, &str), (partition, offset): (u32, u64), millis: i64) -> RecordId {
        let record = LogRecord::new(offset, Timestamp::from_millis(millis).unwrap(), None);
        RecordId::new(&record, &Partition::new(cluster.into(), topic.into(), partition, offset + 7))
    }

    #[test]
    fn ids_never_change_between_versions() {
        // Such values are in stores and in dead letters: if this test fails, redelivery duplicates purchases.
        let known = "bb8a1e84-3cdd-55ff-999d-00f040a84f59";
        let id = id(("cluster", "purchases"), (3, 42), 1_700_000_000_000);
        assert_eq!((id.to_string().as_str(), known.parse()), (known, Ok(id)));
        assert_eq!("65a1f0c2d3e4b5a697887766".parse::<RecordId>(), Err(InvalidRecordId));
    }

    #[test]
    fn every_part_of_a_position_counts() {
        let base = id(("c", "t"), (0, 0), 1);
        let others = [
            id(("d", "t"), (0, 0), 1),
            id(("c", "u"), (0, 0), 1),
            id(("c", "t"), (1, 0), 1),
            id(("c", "t"), (0, 1), 1),
            id(("c", "t"), (0, 0), 2),
        ];
        assert!(!others.contains(&base), "{others:?}");
    }
}
