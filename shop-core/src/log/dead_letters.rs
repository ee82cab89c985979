//! Dead letters: their port, and their state, pending or resolved by a replay or a discard.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::{LogRecord, Partition, Reason, ReasonKind, RecordId, RecordPosition, RecordType};
use crate::macros::named_enum;
use crate::{Result, Timestamp, options};

/// Stores records that can never be processed, byte for byte. It belongs to the log, so records can be dead-lettered
/// while the store is unavailable.
///
/// [`LogAdmin`](super::LogAdmin) lists, replays and discards what is put here.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `put` returns `Ok` only when all dead letters are durable, with the original bytes, key and headers
///   (`log::dead_letters_are_byte_identical`).
/// - Putting the same dead letters again is harmless (`log::dead_letters_may_be_put_again`), also when they are resolved
///   (`log_admin::a_resolved_dead_letter_stays_resolved`).
/// - Dead letters are identified by position and time: a gap, and a record at an offset that the log has used again, do
///   not replace another dead letter at their offset (`log_admin::dead_letters_at_one_offset_are_distinct`).
/// - `contains` finds a record whose dead letter was put, also by another process, and is pending or resolved
///   (`log_admin::a_dead_letter_is_found_by_its_record`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait DeadLetters: Debug + Send + Sync + 'static {
    /// Stores all of `dead_letters`. One that is resolved stays resolved, except a gap: it is pending again, because the
    /// same offsets may be lost once more.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached. Some of the dead letters may have
    /// been stored; retrying with all of them is safe.
    async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()>;

    /// Whether there is a dead letter about `record` of `partition`, pending or resolved. Ingest asks before it retries
    /// a stuck record, and continues after one that an operator has parked. The epoch of `partition` is ignored.
    ///
    /// The default returns false: such a log cannot park records.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached.
    async fn contains(&self, record: &LogRecord, partition: &Partition) -> Result<bool> {
        let _unknown = (record, partition);
        Ok(false)
    }

    /// Checks whether dead letters can be put now. Writes nothing.
    ///
    /// # Errors
    /// The reason why not.
    async fn check(&self) -> Result<()>;
}

/// A record that can never be processed, with its position and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The original record.
    pub record: LogRecord,
    /// Its partition.
    pub partition: Partition,
    /// Why it can never be stored.
    pub reason: Reason,
    /// The number of attempts.
    pub attempts: u32,
    /// The version of the program that dead-lettered it.
    pub version: String,
}

impl DeadLetter {
    /// A dead letter about `record`, written by this version after `attempts` attempts.
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

/// The state of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterState {
    /// Pending: an operator has to replay or discard it.
    Pending(DeadLetter),
    /// Resolved by an operator. Its bytes may be deleted.
    Resolved(ResolvedDeadLetter),
}

impl DeadLetterState {
    /// The dead letter, if it is still pending.
    #[must_use]
    pub fn into_pending(self) -> Option<DeadLetter> {
        match self {
            Self::Pending(dead_letter) => Some(dead_letter),
            Self::Resolved(_) => None,
        }
    }
}

/// A resolved dead letter. Kept so that its record is not reported as lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolvedDeadLetter {
    /// The id of its record: see [`DeadLetter::record_id`].
    pub record_id: RecordId,
    /// The id of its record as defined by the record's type, if any: see [`DeadLetter::id`].
    pub id: Option<String>,
    /// How it was resolved.
    pub resolution: Resolution,
}

impl ResolvedDeadLetter {
    /// The resolution of the dead letter about the record `record_id`.
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
    /// How a dead letter was resolved. The names are those in a log.
    pub enum Resolution {
        /// Its record was published again.
        Replayed = "replayed",
        /// It was discarded: its record is not processed.
        Dropped = "dropped",
    }

    invalid: "the resolution", "must be replayed or dropped"
}

impl DeadLetter {
    /// The position of its record.
    #[must_use]
    pub fn position(&self) -> RecordPosition {
        RecordPosition::new(
            Arc::clone(&self.partition.topic),
            self.partition.index,
            self.record.offset,
        )
    }

    /// The id of its record, which identifies the dead letter. That of a gap depends on its offsets, not on the time at
    /// which it was detected.
    #[must_use]
    pub fn record_id(&self) -> RecordId {
        match self.reason.kind() {
            ReasonKind::Gap => {
                // The first offset takes the place of a time that no record has.
                let from = self.gap().map_or(0, |gap| gap.from);
                let time = Timestamp::from_millis(
                    Timestamp::MIN.as_millis().saturating_add_unsigned(from),
                );
                let record =
                    LogRecord::new(self.record.offset, time.unwrap_or(Timestamp::MIN), None);
                RecordId::new(&record, &self.partition)
            }
            _ => RecordId::new(&self.record, &self.partition),
        }
    }

    /// The id of its record as defined by the record's type: see [`RecordType::id`]. `None` for a gap.
    #[must_use]
    pub fn id(&self, record_type: RecordType) -> Option<String> {
        (self.reason.kind() != ReasonKind::Gap)
            .then(|| record_type.id(&self.record, &self.partition))
            .flatten()
    }

    /// The record to publish in order to process it again: see [`RecordType::replay_record`].
    #[must_use]
    pub fn replay_record(&self, of: RecordType) -> LogRecord {
        of.replay_record(&self.record, &self.partition)
    }
}

options! {
    /// Which pending dead letters are read.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DeadLetterFilter {
        /// The reason.
        pub reason: Option<ReasonKind> = None,
        /// The earliest time of a record.
        pub since: Option<Timestamp> = None,
        /// The time before which records are.
        pub until: Option<Timestamp> = None,
        /// The position after which the page begins.
        pub after: Option<RecordPosition> = None,
        /// The positions, if it is about some only.
        pub positions: BTreeSet<RecordPosition> = BTreeSet::new(),
    }
}

impl DeadLetterFilter {
    /// Whether `dead_letter` is selected.
    #[must_use]
    pub fn selects(&self, dead_letter: &DeadLetter) -> bool {
        self.selects_at(
            &dead_letter.position(),
            dead_letter.reason.kind(),
            dead_letter.record.time,
        )
    }

    /// Whether a dead letter with this position, reason and time of its record is selected.
    #[must_use]
    pub fn selects_at(
        &self,
        position: &RecordPosition,
        reason: ReasonKind,
        time: Timestamp,
    ) -> bool {
        self.reason.is_none_or(|kind| kind == reason)
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && self.after.as_ref().is_none_or(|after| position > after)
            && (self.positions.is_empty() || self.positions.contains(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Headers;
    use crate::record::{Record, decode, header};
    use crate::{Purchase, PurchaseId};

    const OF: RecordType = Purchase::TYPE;
    const EVENT: RecordType = RecordType::new("record");

    fn purchase_id(dead_letter: &DeadLetter) -> Option<PurchaseId> {
        dead_letter.id(OF).map(|id| id.parse().unwrap())
    }

    fn dead_letter(headers: Headers) -> DeadLetter {
        let value =
            br#"{"username":"ada","userid":"u1","price":1,"timestamp":"2026-03-01T09:00:00Z"}"#;
        let record = LogRecord::new(7, Timestamp::MIN, Some(value.to_vec().into()))
            .with_key(Some("u1".into()))
            .with_headers(headers);
        DeadLetter::new(
            record,
            Partition::new("c".into(), "t-1".into(), 3, 9),
            Reason::conflict(OF),
            1,
        )
    }

    fn elsewhere() -> Partition {
        Partition::new("c".into(), "t-1".into(), 4, 1)
    }

    #[test]
    fn a_replay_keeps_the_id_from_the_position() {
        let dead_letter = dead_letter(Headers::builder().with("their", Some(b"own")).build());
        let id = decode(&dead_letter.record, &dead_letter.partition)
            .unwrap()
            .id;
        let mut replayed = dead_letter.replay_record(OF);
        replayed.offset = 1_000;
        assert_eq!(decode(&replayed, &elsewhere()).unwrap().id, id);
        assert_eq!(
            (purchase_id(&dead_letter), replayed.headers.get("their")),
            (Some(id), Some(&b"own"[..]))
        );
        assert_eq!(
            (&replayed.key, &replayed.value),
            (&dead_letter.record.key, &dead_letter.record.value)
        );
        // A replayed record that fails again can be replayed once more, as the same purchase.
        let again = DeadLetter::new(replayed.clone(), elsewhere(), Reason::conflict(OF), 1);
        assert_eq!(
            (purchase_id(&again), again.replay_record(OF)),
            (Some(id), replayed)
        );
    }

    #[test]
    fn a_record_with_an_id_is_replayed_as_it_is() {
        for (id, kept) in [
            (&b"0190163d-8694-739b-aea5-966c26f8ad91"[..], true),
            (b"no id", false),
        ] {
            let dead_letter = dead_letter(
                Headers::builder()
                    .with(header::PURCHASE_ID, Some(id))
                    .build(),
            );
            assert_eq!(dead_letter.replay_record(OF), dead_letter.record);
            assert_eq!(purchase_id(&dead_letter).is_some(), kept);
        }
    }

    #[test]
    fn an_event_has_no_id_and_is_replayed_as_it_is() {
        let dead_letter = dead_letter(Headers::builder().with(header::SCHEMA, Some(b"1")).build());
        assert_eq!(
            (dead_letter.id(EVENT), dead_letter.replay_record(EVENT)),
            (None, dead_letter.record.clone())
        );
        let conflict = |of| Reason::conflict(of).detail().to_owned();
        assert_eq!(
            conflict(EVENT),
            "the id is taken by a record with other content"
        );
        assert_eq!(
            conflict(OF),
            "the id is taken by a purchase with other content"
        );
    }
}
