//! Dead letters: records that can never be processed, kept for an operator.
//!
//! Ingest puts a record here when the record does not decode, or when the store rejects it for
//! good, and continues with the next record. A dead letter is *pending* until an operator resolves
//! it: by a replay, which publishes the record again, or by dropping it. A resolved dead letter
//! leaves a [`ResolvedDeadLetter`] behind.
//!
//! [`Log`](super::Log) stores, lists and resolves dead letters.

use std::collections::BTreeSet;

use super::{LogRecord, Partition, Reason, ReasonKind, RecordId, RecordPosition, RecordType};
use crate::macros::named_enum;
use crate::{Timestamp, options};

/// A record that can never be processed, with its position and the reason.
///
/// The dead letter of a [`Gap`](super::Gap) is special: its record contains no value, and its
/// headers describe the gap.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The original record, unchanged unless it was too large to be kept whole.
    pub record: LogRecord,
    /// The partition from which the record was read.
    pub partition: Partition,
    /// The reason why the record cannot be processed.
    pub reason: Reason,
    /// The number of attempts to process the record: 0 if an operator parked the record.
    pub attempts: u32,
    /// The version of the program that wrote this dead letter.
    pub version: String,
}

impl DeadLetter {
    /// Creates a pending dead letter about `record` after `attempts` attempts, written by this
    /// version of the program.
    #[must_use]
    pub fn new(record: LogRecord, partition: Partition, reason: Reason, attempts: u32) -> Self {
        Self {
            record,
            partition,
            reason,
            attempts,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A dead letter of a log, which is pending or resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterState {
    /// The dead letter is pending: it waits for an operator to replay or discard it.
    Pending(DeadLetter),
    /// An operator resolved the dead letter. The log may have deleted the bytes of its record.
    Resolved(ResolvedDeadLetter),
}

impl DeadLetterState {
    /// Returns the dead letter if it is still pending.
    #[must_use]
    pub fn into_pending(self) -> Option<DeadLetter> {
        match self {
            Self::Pending(dead_letter) => Some(dead_letter),
            Self::Resolved(_) => None,
        }
    }

    /// Returns the id that identifies the dead letter: see [`DeadLetter::record_id`].
    #[must_use]
    pub fn record_id(&self) -> RecordId {
        match self {
            Self::Pending(dead_letter) => dead_letter.record_id(),
            Self::Resolved(resolved) => resolved.record_id,
        }
    }
}

/// The remainder of a dead letter that was resolved. The log keeps it so that the record is not
/// reported as lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolvedDeadLetter {
    /// The id that identifies the dead letter: see [`DeadLetter::record_id`].
    pub record_id: RecordId,
    /// The id of the record as its type defines it, such as a purchase id, if there is one: see
    /// [`DeadLetter::id`].
    pub id: Option<String>,
    /// Whether the dead letter was replayed or dropped.
    pub resolution: Resolution,
}

impl ResolvedDeadLetter {
    /// Creates the remainder of the dead letter about the record `record_id`.
    #[must_use]
    pub const fn new(record_id: RecordId, id: Option<String>, resolution: Resolution) -> Self {
        Self {
            record_id,
            id,
            resolution,
        }
    }
}

named_enum! {
    /// The two ways in which a dead letter can be resolved. A log stores these names.
    pub enum Resolution {
        /// The record is published again, and is then processed like any other record.
        Replayed = "replayed",
        /// The dead letter is discarded: its record is never processed.
        Dropped = "dropped",
    }

    invalid: "the resolution", "must be replayed or dropped"
}

impl DeadLetter {
    /// Returns the position of the original record.
    #[must_use]
    pub fn position(&self) -> RecordPosition {
        RecordPosition::from_record(&self.record, &self.partition)
    }

    /// Returns the id that identifies this dead letter: it is derived from the position and the
    /// time of the record.
    ///
    /// The record of a gap carries no time of its own, only the time at which the gap was detected.
    /// The id of a gap is therefore derived from its first and last offset, so that a gap that is
    /// detected again is the same dead letter.
    #[must_use]
    pub fn record_id(&self) -> RecordId {
        if self.reason.kind() != ReasonKind::Gap {
            return RecordId::new(&self.record, &self.partition);
        }

        // The record of a gap is at the last offset of the gap. The first offset takes the place of
        // the time, as milliseconds after the earliest time: no record is that old. A dead letter
        // whose headers are damaged counts as a gap from offset 0.
        let first_offset = self.gap().map_or(0, |gap| gap.from);
        let millis = Timestamp::MIN
            .as_millis()
            .saturating_add_unsigned(first_offset);
        let time_of_first_offset = Timestamp::from_millis(millis).unwrap_or(Timestamp::MIN);
        let gap_record = LogRecord::new(self.record.offset, time_of_first_offset, None);
        RecordId::new(&gap_record, &self.partition)
    }

    /// Returns the id of the original record as its type defines it, such as a purchase id: see
    /// [`RecordType::id`]. Returns `None` for a gap, because there is no original record.
    #[must_use]
    pub fn id(&self, record_type: RecordType) -> Option<String> {
        if self.reason.kind() == ReasonKind::Gap {
            return None;
        }
        record_type.id(&self.record, &self.partition)
    }

    /// Returns the record to publish in order to process the original record again: see
    /// [`RecordType::replay_record`].
    #[must_use]
    pub fn replay_record(&self, record_type: RecordType) -> LogRecord {
        record_type.replay_record(&self.record, &self.partition)
    }
}

options! {
    /// A selection of pending dead letters. A dead letter is selected if it meets all conditions
    /// that are set. By default all are selected.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DeadLetterFilter {
        /// The kind of the reason.
        pub reason: Option<ReasonKind> = None,
        /// The earliest timestamp of a record, inclusive.
        pub since: Option<Timestamp> = None,
        /// The time before which the timestamps of the records are, exclusive.
        pub until: Option<Timestamp> = None,
        /// The position after which the selection begins, exclusive: the last position of the
        /// previous page.
        pub after: Option<RecordPosition> = None,
        /// The positions of the records. An empty set does not restrict the positions.
        pub positions: BTreeSet<RecordPosition> = BTreeSet::new(),
    }
}

impl DeadLetterFilter {
    /// Returns whether this filter selects `dead_letter`.
    #[must_use]
    pub fn selects(&self, dead_letter: &DeadLetter) -> bool {
        self.selects_at(
            &dead_letter.position(),
            dead_letter.reason.kind(),
            dead_letter.record.time,
        )
    }

    /// Returns the dead letter of `state`, if it is pending and this filter selects it.
    pub(super) fn select_pending(&self, state: DeadLetterState) -> Option<DeadLetter> {
        state
            .into_pending()
            .filter(|dead_letter| self.selects(dead_letter))
    }

    /// Returns whether this filter selects a dead letter with this `position`, this `reason`, and
    /// this `time` of its record.
    ///
    /// A caller that knows these three values can decide before it reads the dead letter itself.
    #[must_use]
    pub fn selects_at(
        &self,
        position: &RecordPosition,
        reason: ReasonKind,
        time: Timestamp,
    ) -> bool {
        // A condition that is not set selects each dead letter.
        self.reason
            .is_none_or(|selected_reason| selected_reason == reason)
            && self.since.is_none_or(|first_time| time >= first_time)
            && self.until.is_none_or(|end_time| time < end_time)
            && self
                .after
                .as_ref()
                .is_none_or(|last_position| position > last_position)
            && (self.positions.is_empty() || self.positions.contains(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Purchase;
    use crate::log::Headers;
    use crate::record::{Record, header};

    const OF: RecordType = Purchase::TYPE;

    fn dead_letter(record: LogRecord) -> DeadLetter {
        let partition = Partition::new("c".into(), "t-1".into(), 3, 9);
        DeadLetter::new(record, partition, Reason::conflict(OF), 1)
    }

    #[test]
    fn a_record_with_an_id_is_replayed_as_it_is() {
        let value = r#"{"username":"ada","userid":"u1","price":1}"#;
        let record = LogRecord::new(7, Timestamp::MIN, Some(value.into()));
        // A replayed record that fails again can be replayed once more, as the same purchase.
        let replayed = dead_letter(record.clone()).replay_record(OF);
        let again = dead_letter(replayed.clone());
        assert_eq!(again.replay_record(OF), replayed);
        assert_eq!(again.id(OF), dead_letter(record.clone()).id(OF));

        let headers = Headers::builder().with(header::PURCHASE_ID, Some(b"no id"));
        let without_id = dead_letter(record.with_headers(headers.build()));
        assert_eq!(without_id.replay_record(OF), without_id.record);
        assert_eq!(without_id.id(OF), None);
    }
}
