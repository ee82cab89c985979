//! How records are identified: by their position, or by a header.

use std::str::FromStr;

use uuid::Uuid;

use super::{LogRecord, Partition};
use crate::Invalid;
use crate::domain::hashed;
use crate::macros::format_as;

/// Namespace of record ids. Must never change: another value would duplicate purchases.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f5a_0a52_5d3e_4c0e_9a4d_2f6f_31b7_0c12);

/// The identity of a record, derived from its position: the same at every redelivery.
///
/// A UUIDv5 over cluster, topic, partition, offset and time. It is unique even if a topic is deleted and created again:
/// offsets start from 0 again, but the times differ. The epoch is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(Uuid);

format_as!(RecordId: |this| Display = Display(this.0.hyphenated()));

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
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let reason = "must be a UUID such as bb8a1e84-3cdd-55ff-999d-00f040a84f59";
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_malformed| Invalid::malformed("the record id", reason))
    }
}

/// The properties of a topic's records that administration of a log needs, without decoding them: their name, and the
/// header with their id, if any.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RecordType {
    /// The name of one record in messages.
    pub name: &'static str,
    /// Its name, and what parses its value.
    id_header: Option<(&'static str, ReadId)>,
}

type ReadId = fn(&[u8]) -> Option<String>;

impl RecordType {
    /// Records without an id. Applying one again changes nothing, at any position.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            id_header: None,
        }
    }

    /// Records whose id is in the header `name`, or is derived from their position if the header is absent. `read`
    /// parses the header's value; `None` means it is invalid.
    pub(crate) const fn with_id_header(mut self, name: &'static str, read: ReadId) -> Self {
        self.id_header = Some((name, read));
        self
    }

    /// The id of `record`; `None` when its type has no ids, or its header is invalid.
    #[must_use]
    pub fn id(&self, record: &LogRecord, partition: &Partition) -> Option<String> {
        let (name, read) = self.id_header?;
        if record.headers.contains(name) {
            record.headers.get(name).and_then(read)
        } else {
            Some(RecordId::new(record, partition).to_string())
        }
    }

    /// The record to publish in order to process `record` again, with key, headers and value unchanged.
    ///
    /// An id that is derived from the position would change with the new position. The replayed record therefore gets
    /// its id as a header: a replay keeps the id, and repeating it duplicates nothing.
    #[must_use]
    pub fn replay_record(&self, record: &LogRecord, partition: &Partition) -> LogRecord {
        let mut record = record.clone();
        if let Some((name, _)) = self
            .id_header
            .filter(|(name, _)| !record.headers.contains(name))
        {
            let id = RecordId::new(&record, partition).to_string();
            record.headers = record.headers.with(name, Some(id.as_bytes()));
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn id(
        (cluster, topic): (&str, &str),
        (partition, offset): (u32, u64),
        millis: i64,
    ) -> RecordId {
        let record = LogRecord::new(offset, Timestamp::from_millis(millis).unwrap(), None);
        RecordId::new(
            &record,
            &Partition::new(cluster.into(), topic.into(), partition, offset + 7),
        )
    }

    #[test]
    fn ids_never_change_between_versions() {
        // Stores and dead letters contain such ids: if this test fails, redelivery duplicates purchases.
        let known = "bb8a1e84-3cdd-55ff-999d-00f040a84f59";
        let id = id(("cluster", "purchases"), (3, 42), 1_700_000_000_000);
        assert_eq!((id.to_string().as_str(), known.parse()), (known, Ok(id)));
        assert!("65a1f0c2d3e4b5a697887766".parse::<RecordId>().is_err());
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
