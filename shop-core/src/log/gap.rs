//! Records that a log no longer has, although the group has not read them.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::json;

use super::{DeadLetter, Headers, LogRecord, Partition, Reason, ReasonKind, Resolution};
use crate::macros::{format_as, named_enum};
use crate::{Error, ErrorKind, Result, Timestamp};

/// Offsets that a log no longer has, although the group has not read them.
///
/// A source delivers it in the place of the records. [`Ingest`](crate::ingest::Ingest) keeps it as a dead letter with
/// the reason [`Gap`](ReasonKind::Gap) before the position passes it.
///
/// Offsets that were never visible to a reader, such as the markers of a transaction, and offsets that compaction has
/// removed are not a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The partition, in the epoch in which the gap was delivered.
    pub partition: Partition,
    /// The first offset of the gap.
    pub from: u64,
    /// The first offset after the gap.
    pub to: u64,
    /// What has removed the records.
    pub cause: GapCause,
    /// The offset of the next record to read. It is `to`, unless the log was truncated and is read again from an
    /// earlier offset.
    pub next_offset: u64,
}

format_as!(Gap: |this| Display = Display(format_args!(
    "{}-{}: {} {}", this.partition.topic, this.partition.index, this.extent(), this.cause.description()
)));

named_enum! {
    /// What has removed the records of a [`Gap`]. The names are those in dead letters.
    pub enum GapCause {
        /// The records were deleted, by retention or by an operator: the log begins after them.
        Deleted = "deleted",
        /// The log ends before them. Records after the gap may be lost, too.
        Truncated = "truncated",
        /// The records are missing between others.
        Missing = "missing",
        /// The topic was deleted and created again. How many records were not read by then is not known: the gap has
        /// none, and begins at the group's position in the earlier topic.
        Recreated = "recreated",
        /// The store does not have them, although the group has passed them: it is another store, or an older copy. The
        /// records are in the log, and only those at both ends of the gap were looked up.
        Absent = "absent",
    }

    invalid: "the cause of the gap", "must be deleted, truncated, missing, recreated or absent"
}

impl GapCause {
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

/// The header of a dead letter that was too large: a part of its record is kept.
#[doc(hidden)]
pub const CUT_HEADER: &str = "dead-letter-cut";

// The headers of a gap's dead letter. All values are text.
const TOPIC_HEADER: &str = "gap-topic";
const PARTITION_HEADER: &str = "gap-partition";
const FROM_HEADER: &str = "gap-from";
const TO_HEADER: &str = "gap-to";
const COUNT_HEADER: &str = "gap-count";
const CAUSE_HEADER: &str = "gap-cause";

impl Gap {
    /// The offsets `from` to `to`, without `to`, of `partition`.
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

    /// The same gap, with the records from `next_offset` on delivered after it.
    #[must_use]
    pub const fn with_next_offset(mut self, next_offset: u64) -> Self {
        self.next_offset = next_offset;
        self
    }

    /// The number of offsets.
    #[must_use]
    pub const fn offset_count(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    fn extent(&self) -> String {
        match self.offset_count() {
            0 => format!("records from offset {} on", self.from),
            count => format!("offsets {} to {} ({count} records)", self.from, self.last()),
        }
    }

    const fn last(&self) -> u64 {
        self.to.saturating_sub(1)
    }

    /// Its dead letter. The record has the last offset of the gap, without key and value: a gap that grows before its
    /// position is committed is a new dead letter.
    #[must_use]
    pub fn to_dead_letter(&self, detected_at: Timestamp) -> DeadLetter {
        let values = [
            (TOPIC_HEADER, self.partition.topic.to_string()),
            (PARTITION_HEADER, self.partition.index.to_string()),
            (FROM_HEADER, self.from.to_string()),
            (TO_HEADER, self.to.to_string()),
            (COUNT_HEADER, self.offset_count().to_string()),
            (CAUSE_HEADER, self.cause.as_str().to_owned()),
        ];
        let headers = values
            .iter()
            .fold(Headers::builder(), |headers, (name, value)| {
                headers.with(name, Some(value.as_bytes()))
            });
        let record = LogRecord::new(self.last(), detected_at, None).with_headers(headers.build());
        DeadLetter::new(
            record,
            self.partition.clone(),
            Reason::from_parts(ReasonKind::Gap, self.to_string()),
            1,
        )
    }

    /// Merges gaps that overlap or touch. A gap may have several dead letters: it grows until its position is
    /// committed.
    #[must_use]
    #[doc(hidden)]
    pub fn merge(mut gaps: Vec<Self>) -> Vec<Self> {
        let place = |gap: &Self| (Arc::clone(&gap.partition.topic), gap.partition.index);
        gaps.sort_by_key(|gap| (place(gap), gap.from));
        let mut merged: Vec<Self> = Vec::with_capacity(gaps.len());
        for gap in gaps {
            match merged.last_mut() {
                Some(last) if place(last) == place(&gap) && gap.from <= last.to => {
                    last.to = last.to.max(gap.to);
                    last.next_offset = last.to;
                }
                _ => merged.push(gap),
            }
        }
        merged
    }
}

/// The form in JSON: offsets from `from` to before `to`.
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
    /// The gap that this dead letter is about, if its reason is [`Gap`](ReasonKind::Gap).
    #[must_use]
    pub fn gap(&self) -> Option<Gap> {
        if self.reason.kind() != ReasonKind::Gap {
            return None;
        }
        let text = |name: &str| str::from_utf8(self.record.headers.get(name)?).ok();
        let number = |name: &str| text(name)?.parse::<u64>().ok();
        let from = number(FROM_HEADER)?;
        let to = number(TO_HEADER)?;
        Some(Gap::new(
            self.partition.clone(),
            from,
            to,
            text(CAUSE_HEADER)?.parse().ok()?,
        ))
    }
}

impl Resolution {
    /// Why `dead_letter` cannot be resolved so; `None` if it can. It is not replayed without its whole record.
    #[must_use]
    pub fn refuses(self, dead_letter: &DeadLetter) -> Option<&'static str> {
        let is_cut = dead_letter.record.headers.contains(CUT_HEADER);
        match dead_letter.reason.kind() {
            _ if self == Self::Dropped => None,
            ReasonKind::Gap => Some("is a gap: its records are gone, it can only be discarded"),
            _ => is_cut.then_some("was too large to be kept whole: it can only be discarded"),
        }
    }

    /// Checks that `dead_letters` can be resolved so. To be called by every
    /// [`LogAdmin::resolve`](super::LogAdmin::resolve) first.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) with the first that it [refuses](Self::refuses).
    pub fn check(self, dead_letters: &[DeadLetter]) -> Result<()> {
        let fault = |one: &DeadLetter| {
            self.refuses(one)
                .map(|why| format!("{} {why}", one.position()))
        };
        let Some(fault) = dead_letters.iter().find_map(fault) else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Invalid, fault).with_origin("log"))
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
    fn a_gap_is_the_same_dead_letter_whenever_it_is_detected() {
        let (first, again) = (
            gap(2, 5).to_dead_letter(Timestamp::MIN),
            gap(2, 5).to_dead_letter(Timestamp::MAX),
        );
        assert_eq!(first.record_id(), again.record_id());
        for other in [gap(2, 6), gap(1, 5)] {
            assert_ne!(
                first.record_id(),
                other.to_dead_letter(Timestamp::MIN).record_id(),
                "it has grown"
            );
        }
        assert!(Resolution::Replayed.check(&[first]).is_err());
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
