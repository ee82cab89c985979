//! The ids of records: derived from the position of the record, or read from a header.
//!
//! Ingest may read a record several times. Its id must be the same each time, so that the store
//! recognizes the record. A [`RecordId`] is derived from the position. A [`RecordType`] says
//! whether records of a topic carry their id in a header instead, and keeps the id when a record is
//! published again at another position.

use std::str::FromStr;

use uuid::Uuid;

use super::{LogRecord, Partition};
use crate::domain::uuid_from_parts;
use crate::macros::format_as;
use crate::{Invalid, PurchaseId};

/// The namespace of the UUIDs of record ids. It must never change: with another value, a
/// redelivered record would become a second purchase.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f5a_0a52_5d3e_4c0e_9a4d_2f6f_31b7_0c12);

/// The identity of a record, derived from its position, and therefore unchanged at every
/// redelivery.
///
/// It is a UUIDv5 over cluster, topic, partition, offset and timestamp. The id stays unique even if
/// a topic is deleted and created again: the offsets start from 0 again, but the timestamps differ.
/// The epoch of the partition is not a part of the id, because it changes with the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(Uuid);

format_as!(RecordId: |this| Display = Display(this.0.hyphenated()));

impl RecordId {
    /// Derives the id of `record`, which was read from `partition`.
    #[must_use]
    pub fn new(record: &LogRecord, partition: &Partition) -> Self {
        Self(uuid_from_parts(
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

    /// Returns the id as a UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl FromStr for RecordId {
    type Err = Invalid;

    /// Parses the text of a UUID.
    ///
    /// # Errors
    /// [`Invalid`] if `text` is not a UUID.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let reason = "must be a UUID such as bb8a1e84-3cdd-55ff-999d-00f040a84f59";
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_malformed| Invalid::malformed("the record id", reason))
    }
}

/// The properties of a topic's records that the administration of a log needs to know, without
/// decoding them.
///
/// They are the name of a record, and the header that contains its id, if any.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RecordType {
    /// The name of one record in messages, such as `purchase`.
    pub name: &'static str,
    /// The name of the header with the id, which has the form of a [`PurchaseId`].
    id_header: Option<&'static str>,
}

impl RecordType {
    /// Creates the type of records without an id. Applying such a record a second time must change
    /// nothing, at any position.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            id_header: None,
        }
    }

    /// Declares that records of this type carry their id, a [`PurchaseId`], in the header `name`.
    ///
    /// The id of a record without this header is derived from its position.
    pub(crate) const fn with_id_header(mut self, name: &'static str) -> Self {
        self.id_header = Some(name);
        self
    }

    /// Returns the id of `record`, from its header or derived from its position.
    ///
    /// Returns `None` if records of this type carry no ids, or if the header is present but
    /// invalid.
    #[must_use]
    pub fn id(&self, record: &LogRecord, partition: &Partition) -> Option<String> {
        let header_name = self.id_header?;
        let id = if record.headers.contains(header_name) {
            PurchaseId::from_header(record.headers.get(header_name)?)?
        } else {
            RecordId::new(record, partition).into()
        };
        Some(id.to_string())
    }

    /// Returns the record to publish in order to process `record` again. Key, value and the
    /// existing headers are unchanged.
    ///
    /// An id that is derived from the position would change, because the published record is at a
    /// new position. So the id is added as a header, unless `record` already contains an id header.
    /// The published record has the same id then, and a second replay duplicates nothing.
    #[must_use]
    pub fn replay_record(&self, record: &LogRecord, partition: &Partition) -> LogRecord {
        let mut record = record.clone();
        if let Some(name) = self.id_header
            && !record.headers.contains(name)
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

    fn id(cluster: &str, topic: &str, partition: u32, offset: u64, millis: i64) -> RecordId {
        let record = LogRecord::new(offset, Timestamp::from_millis(millis).unwrap(), None);
        let epoch = offset + 7;
        let partition = Partition::new(cluster.into(), topic.into(), partition, epoch);
        RecordId::new(&record, &partition)
    }

    #[test]
    fn ids_never_change_between_versions() {
        // Stores and dead letters contain such ids: if this test fails, redelivery duplicates
        // purchases.
        let known = "bb8a1e84-3cdd-55ff-999d-00f040a84f59";
        let id = id("cluster", "purchases", 3, 42, 1_700_000_000_000);
        assert_eq!((&*id.to_string(), known.parse()), (known, Ok(id)));
        assert!("65a1f0c2d3e4b5a697887766".parse::<RecordId>().is_err());
    }

    #[test]
    fn every_part_of_a_position_counts() {
        let others = [
            id("d", "t", 0, 0, 1),
            id("c", "u", 0, 0, 1),
            id("c", "t", 1, 0, 1),
            id("c", "t", 0, 1, 1),
            id("c", "t", 0, 0, 2),
        ];
        assert!(!others.contains(&id("c", "t", 0, 0, 1)), "{others:?}");
    }
}
