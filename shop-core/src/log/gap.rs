//! Gaps: offsets that a log no longer contains, although the consumer group has not read their
//! records.
//!
//! A gap is the evidence that records were lost. It takes this way:
//!
//! - A [`LogSource`](super::LogSource) notices that offsets are missing, and delivers a [`Gap`] in
//!   the place of the records.
//! - [`Ingest`](crate::ingest::Ingest) stores the gap as a dead letter ([`Gap::to_dead_letter`])
//!   before it commits a position behind it.
//! - [`verify`](crate::verify::verify()) and the dead letter commands read the gap back
//!   ([`DeadLetter::gap`]).
//! - An operator can discard the dead letter of a gap, but not replay it: there is no record to
//!   publish again ([`Resolution::refuses`]).

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::json;

use super::{DeadLetter, Headers, LogRecord, Partition, Reason, ReasonKind, Resolution};
use crate::macros::{format_as, named_enum};
use crate::{Error, ErrorKind, Result, Timestamp};

/// A range of offsets of one partition that a log no longer contains, although the group has not
/// read them.
///
/// A source delivers the gap in the place of the records. [`Ingest`](crate::ingest::Ingest) stores
/// it as a dead letter with the reason [`Gap`](ReasonKind::Gap) before the group's position passes
/// it.
///
/// Two kinds of missing offsets are not a gap: offsets that were never visible to a reader, such as
/// the markers of a transaction, and offsets that compaction removed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The partition, in the epoch in which the source delivered the gap.
    pub partition: Partition,
    /// The first offset of the gap.
    pub from: u64,
    /// The first offset after the gap.
    pub to: u64,
    /// The event that removed the records.
    pub cause: GapCause,
    /// The offset of the next record to read. It equals `to`, unless the log was truncated and is
    /// read again from an earlier offset.
    pub next_offset: u64,
}

format_as!(Gap: |this| Display = Display(format_args!(
    "{}-{}: {} {}", this.partition.topic, this.partition.index, this.extent(), this.cause.description()
)));

named_enum! {
    /// The event that removed the records of a [`Gap`]. Dead letters contain these names.
    pub enum GapCause {
        /// Retention or an operator deleted the records: the log begins after them.
        Deleted = "deleted",
        /// The end of the log was cut off: the log ends before these records. Records after the gap
        /// may be lost, too.
        Truncated = "truncated",
        /// The records are missing, while the log still contains records before and after them.
        Missing = "missing",
        /// The topic was deleted and created again. The number of records that were not read by
        /// then is unknown: the gap contains no offset, and begins at the group's position in the
        /// earlier topic.
        Recreated = "recreated",
        /// The store does not contain the purchases of these records, although the group's position
        /// passed them: it is another store, or an older copy of the store. The log still contains
        /// the records. Only the records at both ends of the gap were looked up.
        Absent = "absent",
    }

    invalid: "the cause of the gap", "must be deleted, truncated, missing, recreated or absent"
}

impl GapCause {
    /// Returns the end of the sentence that describes the gap to an operator, such as `were deleted
    /// before they were read`.
    const fn description(self) -> &'static str {
        match self {
            Self::Deleted => "were deleted before they were read",
            Self::Truncated => "were truncated from the end of the log",
            Self::Missing => "are missing between others",
            Self::Recreated => "may be lost: the topic was deleted and created again",
            Self::Absent => "are not in the store, which had them; more may be missing",
        }
    }
}

/// The name of the header that marks a dead letter whose record was too large to be stored whole:
/// the dead letter contains only a part of the record, so it cannot be replayed.
pub const CUT_HEADER: &str = "dead-letter-cut";

// The names of the headers that describe a gap in its dead letter. All their values are text.
const TOPIC_HEADER: &str = "gap-topic";
const PARTITION_HEADER: &str = "gap-partition";
const FROM_HEADER: &str = "gap-from";
const TO_HEADER: &str = "gap-to";
const COUNT_HEADER: &str = "gap-count";
const CAUSE_HEADER: &str = "gap-cause";

/// The number of attempts in the dead letter of a gap: a gap is dead-lettered without a retry.
const SINGLE_ATTEMPT: u32 = 1;

impl Gap {
    /// Creates the gap of the offsets from `from` up to, but not including, `to` in `partition`.
    #[must_use]
    pub const fn new(partition: Partition, from: u64, to: u64, cause: GapCause) -> Self {
        Self {
            partition,
            from,
            to,
            cause,
            next_offset: to,
        }
    }

    /// Sets the offset of the first record that the source delivers after this gap. The default is
    /// `to`.
    #[must_use]
    pub const fn with_next_offset(mut self, next_offset: u64) -> Self {
        self.next_offset = next_offset;
        self
    }

    /// Returns the number of offsets in this gap, which is 0 for a topic that was
    /// [recreated](GapCause::Recreated).
    #[must_use]
    pub const fn offset_count(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    /// Returns the offsets of this gap as text for an operator, such as `offsets 200 to 449 (250
    /// records)`.
    fn extent(&self) -> String {
        match self.offset_count() {
            0 => format!("records from offset {} on", self.from),
            count => format!("offsets {} to {} ({count} records)", self.from, self.last()),
        }
    }

    /// Returns the last offset of this gap: the offset before `to`, or 0 if `to` is 0.
    const fn last(&self) -> u64 {
        self.to.saturating_sub(1)
    }

    /// Creates the dead letter that keeps this gap. [`DeadLetter::gap`] reads the gap back.
    ///
    /// The record of the dead letter is at the last offset of the gap, and has the time
    /// `detected_at`, at which the gap was found. The record contains neither key nor value: its
    /// headers describe the gap.
    ///
    /// The group's position is committed after the dead letter was put. If the process restarts in
    /// between, the source finds the gap again. The gap may have grown by then, and becomes a second
    /// dead letter. Reports merge the gaps of both: `verify`, and the status of a topic.
    #[must_use]
    pub fn to_dead_letter(&self, detected_at: Timestamp) -> DeadLetter {
        let header_values = [
            (TOPIC_HEADER, self.partition.topic.to_string()),
            (PARTITION_HEADER, self.partition.index.to_string()),
            (FROM_HEADER, self.from.to_string()),
            (TO_HEADER, self.to.to_string()),
            (COUNT_HEADER, self.offset_count().to_string()),
            (CAUSE_HEADER, self.cause.as_str().to_owned()),
        ];
        let mut headers = Headers::builder();
        for (name, value) in header_values {
            headers = headers.with(name, Some(value.as_bytes()));
        }

        let record = LogRecord::new(self.last(), detected_at, None).with_headers(headers.build());
        DeadLetter::new(
            record,
            self.partition.clone(),
            Reason::from_parts(ReasonKind::Gap, self.to_string()),
            SINGLE_ATTEMPT,
        )
    }

    /// Merges gaps of the same partition that overlap or touch, so that a report counts every
    /// offset once.
    ///
    /// One gap may be stored in several dead letters, because it can grow until the group's
    /// position behind it is committed. A merged gap keeps the cause of its first part. The result
    /// is ordered by topic, partition and offset.
    #[must_use]
    pub(crate) fn merge(mut gaps: Vec<Self>) -> Vec<Self> {
        // The epoch of a partition is ignored: it differs whenever the gap was delivered to another
        // member of the group.
        let topic_partition = |gap: &Self| (Arc::clone(&gap.partition.topic), gap.partition.index);
        // After sorting, a gap can only overlap or touch the last merged gap.
        gaps.sort_by_key(|gap| (topic_partition(gap), gap.from));
        let mut merged_gaps: Vec<Self> = Vec::with_capacity(gaps.len());
        for gap in gaps {
            match merged_gaps.last_mut() {
                Some(last_gap)
                    if topic_partition(last_gap) == topic_partition(&gap)
                        && gap.from <= last_gap.to =>
                {
                    last_gap.to = last_gap.to.max(gap.to);
                    last_gap.next_offset = last_gap.to;
                }
                _ => merged_gaps.push(gap),
            }
        }
        merged_gaps
    }
}

/// Serializes the gap for reports in JSON. `from` is included in the gap, and `to` is not.
impl Serialize for Gap {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let members = json!({
            "topic": self.partition.topic,
            "partition": self.partition.index,
            "from": self.from,
            "to": self.to,
            "count": self.offset_count(),
            "cause": self.cause.as_str(),
        });
        members.serialize(serializer)
    }
}

impl DeadLetter {
    /// Reads the gap that this dead letter keeps, as [`Gap::to_dead_letter`] wrote it.
    ///
    /// Returns `None` if the reason is not [`Gap`](ReasonKind::Gap), or if a header of the gap is
    /// missing or malformed. The `next_offset` of the gap is not stored: it is `to` in the result.
    #[must_use]
    pub fn gap(&self) -> Option<Gap> {
        if self.reason.kind() != ReasonKind::Gap {
            return None;
        }

        let header_text = |name: &str| str::from_utf8(self.record.headers.get(name)?).ok();
        let header_number = |name: &str| header_text(name)?.parse::<u64>().ok();
        let from = header_number(FROM_HEADER)?;
        let to = header_number(TO_HEADER)?;
        let cause = header_text(CAUSE_HEADER)?.parse().ok()?;
        Some(Gap::new(self.partition.clone(), from, to, cause))
    }
}

impl Resolution {
    /// Returns the reason why `dead_letter` cannot be resolved in this way, or `None` if it can.
    ///
    /// Every dead letter can be dropped. A replay publishes the record again, so it needs the whole
    /// record: a [`Gap`] contains no record, and a dead letter with the header `dead-letter-cut`
    /// contains only a part.
    #[must_use]
    pub fn refuses(self, dead_letter: &DeadLetter) -> Option<&'static str> {
        if self == Self::Dropped {
            return None;
        }
        if dead_letter.reason.kind() == ReasonKind::Gap {
            return Some("is a gap: its records are gone, it can only be discarded");
        }
        if dead_letter.record.headers.contains(CUT_HEADER) {
            return Some("was too large to be kept whole: it can only be discarded");
        }
        None
    }

    /// Checks that all `dead_letters` can be resolved in this way.
    ///
    /// Every implementation of [`Log::resolve`](super::Log::resolve) calls this first, so
    /// that a call with one unsuitable dead letter changes nothing.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) with the position of the first dead letter that is
    /// [refused](Self::refuses), and the reason.
    pub fn check(self, dead_letters: &[DeadLetter]) -> Result<()> {
        for dead_letter in dead_letters {
            if let Some(reason) = self.refuses(dead_letter) {
                let message = format!("{} {reason}", dead_letter.position());
                return Err(Error::new(ErrorKind::Invalid, message).with_origin("log"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(index: u32) -> Partition {
        Partition::new("c".into(), "purchases".into(), index, 7)
    }

    fn gap(from: u64, to: u64) -> Gap {
        Gap::new(partition(0), from, to, GapCause::Deleted)
    }

    #[test]
    fn a_gap_reads_back_from_its_dead_letter() {
        for cause in GapCause::ALL {
            let gap = Gap::new(partition(3), 200, 450, cause);
            let dead_letter = gap.to_dead_letter(Timestamp::MIN);
            assert_eq!(dead_letter.position().to_string(), "purchases-3-449");
            assert_eq!(dead_letter.gap(), Some(gap));
        }
        let text = gap(200, 450).to_string();
        assert_eq!(
            text,
            "purchases-0: offsets 200 to 449 (250 records) were deleted before they were read"
        );
    }

    #[test]
    fn overlapping_gaps_are_merged() {
        let ranges = |gaps: Vec<Gap>| {
            Gap::merge(gaps)
                .iter()
                .map(|gap| (gap.partition.index, gap.from, gap.to))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            ranges(vec![gap(5, 9), gap(2, 5), gap(3, 4), gap(10, 11)]),
            [(0, 2, 9), (0, 10, 11)]
        );
        let other = Gap::new(partition(1), 2, 5, GapCause::Deleted);
        assert_eq!(ranges(vec![other, gap(2, 5)]), [(0, 2, 5), (1, 2, 5)]);
    }
}
