//! The state of dead letters: pending, or resolved by a replay or a discard.

use std::str::FromStr;
use std::sync::Arc;

use super::{DeadLetter, LogRecord, ReasonKind, RecordId, RecordPosition, RecordType};
use crate::Timestamp;

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
        Self { record_id, id, resolution }
    }
}

/// How a dead letter was resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resolution {
    /// Its record was published again.
    Replayed,
    /// It was discarded: its record is not processed.
    Dropped,
}

/// Text that is not a [`Resolution`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be replayed or dropped")]
pub struct InvalidResolution;

impl Resolution {
    /// Its name in a log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Dropped => "dropped",
        }
    }
}

impl FromStr for Resolution {
    type Err = InvalidResolution;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let all = [Self::Replayed, Self::Dropped];
        all.into_iter().find(|resolution| resolution.as_str() == word).ok_or(InvalidResolution)
    }
}

impl DeadLetter {
    /// The position of its record.
    #[must_use]
    pub fn position(&self) -> RecordPosition {
        RecordPosition::new(Arc::clone(&self.partition.topic), self.partition.index, self.record.offset)
    }

    /// The id of its record, which identifies the dead letter. That of a gap depends on its offsets, not on the time at
    /// which it was detected.
    #[must_use]
    pub fn record_id(&self) -> RecordId {
        match self.reason.kind() {
            ReasonKind::Gap => {
                // The first offset takes the place of a time that no record has.
                let from = self.gap().map_or(0, |gap| gap.from);
                let time = Timestamp::from_millis(Timestamp::MIN.as_millis().saturating_add_unsigned(from));
                let record = LogRecord::new(self.record.offset, time.unwrap_or(Timestamp::MIN), None);
                RecordId::new(&record, &self.partition)
            }
            _ => RecordId::new(&self.record, &self.partition),
        }
    }

    /// The id of its record as defined by the record's type: see [`RecordType::id`]. `None` for a gap.
    #[must_use]
    pub fn id(&self, of: RecordType) -> Option<String> {
        (self.reason.kind() != ReasonKind::Gap).then(|| of.id(&self.record, &self.partition)).flatten()
    }

    /// The record to publish in order to process it again: see [`RecordType::replay_record`].
    #[must_use]
    pub fn replay_record(&self, of: RecordType) -> LogRecord {
        of.replay_record(&self.record, &self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Headers, Partition, Reason};
    use crate::record::{Record, decode, header};
    use crate::users::User;
    use crate::{Purchase, PurchaseId};

    const OF: RecordType = Purchase::TYPE;

    fn purchase_id(dead_letter: &DeadLetter) -> Option<PurchaseId> {
        dead_letter.id(OF).map(|id| id.parse().unwrap())
    }

    fn dead_letter(headers: Headers) -> DeadLetter {
        let value = br#"{"username":"ada","userid":"u1","price":1,"timestamp":"2026-03-01T09:00:00Z"}"#;
        let record = LogRecord::new(7, Timestamp::MIN, Some(value.to_vec().into()))
            .with_key(Some("u1".into()))
            .with_headers(headers);
        DeadLetter::new(record, Partition::new("c".into(), "t-1".into(), 3, 9), Reason::conflict(OF), 1)
    }

    fn elsewhere() -> Partition {
        Partition::new("c".into(), "t-1".into(), 4, 1)
    }

    #[test]
    fn a_replay_keeps_the_id_from_the_position() {
        let dead_letter = dead_letter(Headers::builder().with("their", Some(b"own")).build());
        let id = decode(&dead_letter.record, &dead_letter.partition).unwrap().id;
        let mut replayed = dead_letter.replay_record(OF);
        replayed.offset = 1_000;
        assert_eq!(decode(&replayed, &elsewhere()).unwrap().id, id);
        assert_eq!((purchase_id(&dead_letter), replayed.headers.get("their")), (Some(id), Some(&b"own"[..])));
        assert_eq!((&replayed.key, &replayed.value), (&dead_letter.record.key, &dead_letter.record.value));
        // A replayed record that fails again can be replayed once more, as the same purchase.
        let again = DeadLetter::new(replayed.clone(), elsewhere(), Reason::conflict(OF), 1);
        assert_eq!((purchase_id(&again), again.replay_record(OF)), (Some(id), replayed));
    }

    #[test]
    fn a_record_with_an_id_is_replayed_as_it_is() {
        for (id, kept) in [(&b"0190163d-8694-739b-aea5-966c26f8ad91"[..], true), (b"no id", false)] {
            let dead_letter = dead_letter(Headers::builder().with(header::PURCHASE_ID, Some(id)).build());
            assert_eq!(dead_letter.replay_record(OF), dead_letter.record);
            assert_eq!(purchase_id(&dead_letter).is_some(), kept);
        }
    }

    #[test]
    fn an_event_has_no_id_and_is_replayed_as_it_is() {
        let dead_letter = dead_letter(Headers::builder().with(header::SCHEMA, Some(b"1")).build());
        assert_eq!(
            (dead_letter.id(User::TYPE), dead_letter.replay_record(User::TYPE)),
            (None, dead_letter.record.clone())
        );
        let conflict = |of| Reason::conflict(of).detail().to_owned();
        assert_eq!(conflict(User::TYPE), "the id is taken by a record with other content");
        assert_eq!(conflict(OF), "the id is taken by a purchase with other content");
    }
}
