//! Dead letters as an operator meets them: kept until somebody settles them, by a replay or by hand.
//!
//! A log's adapter offers what it keeps as a stream of [`DeadLetterState`], and settles letters by its own means.

use std::fmt;
use std::str::FromStr;

use crate::PurchaseId;
use crate::log::{DeadLetter, Headers, LogRecord};
use crate::record::{header, place_id};

/// What a log keeps of a record that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterState {
    /// A letter that waits for somebody.
    Pending(DeadLetter),
    /// A letter that somebody has settled. Its bytes may be gone.
    Resolved(ResolvedDeadLetter),
}

impl DeadLetterState {
    /// The letter, if it is still kept.
    #[must_use]
    pub fn into_pending(self) -> Option<DeadLetter> {
        match self {
            Self::Pending(letter) => Some(letter),
            Self::Resolved(_) => None,
        }
    }
}

/// What is remembered of a letter that is no longer kept, so that its record does not count as lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolvedDeadLetter {
    /// The id of the place at which its record stands: see [`DeadLetter::place`].
    pub place: PurchaseId,
    /// The id of its purchase, if it can have one: see [`DeadLetter::purchase_id`].
    pub purchase: Option<PurchaseId>,
    /// How it was settled.
    pub settlement: Resolution,
}

impl ResolvedDeadLetter {
    /// A letter about the record at `place`.
    #[must_use]
    pub const fn new(place: PurchaseId, purchase: Option<PurchaseId>, settlement: Resolution) -> Self {
        Self { place, purchase, settlement }
    }
}

/// How a letter was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resolution {
    /// Its record was published again.
    Replayed,
    /// Somebody has decided that nothing is to become of it.
    Dropped,
}

impl Resolution {
    /// The word for it in a log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Dropped => "dropped",
        }
    }

    /// The settlement that the word stands for, if it is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Replayed, Self::Dropped].into_iter().find(|settlement| settlement.as_str() == word)
    }
}

/// Where a record stands, as people write it: `topic-partition-offset`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The number of the partition.
    pub partition: u32,
    /// The offset in the partition.
    pub offset: u64,
}

/// A text that is no [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be topic-partition-offset, such as purchases-0-42")]
pub struct InvalidPlace;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.topic, self.partition, self.offset)
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // From the end: a topic's name may have dashes.
        let mut parts = text.rsplitn(3, '-');
        let offset = parts.next().and_then(|part| part.parse().ok()).ok_or(InvalidPlace)?;
        let partition = parts.next().and_then(|part| part.parse().ok()).ok_or(InvalidPlace)?;
        let topic = parts.next().filter(|topic| !topic.is_empty()).ok_or(InvalidPlace)?;
        Ok(Self { topic: topic.to_owned(), partition, offset })
    }
}

impl DeadLetter {
    /// Where its record stands, for people.
    #[must_use]
    pub fn stood_at(&self) -> Place {
        let topic = self.partition.topic.to_string();
        Place { topic, partition: self.partition.index, offset: self.record.offset }
    }

    /// The id of the place at which its record stands: what tells letters apart.
    #[must_use]
    pub fn place(&self) -> PurchaseId {
        place_id(&self.record, &self.partition)
    }

    /// The id that its purchase has or would have; `None` when the record carries one that is none.
    #[must_use]
    pub fn purchase_id(&self) -> Option<PurchaseId> {
        if !carries_id(&self.record.headers) {
            return Some(self.place());
        }
        let carried = self.record.headers.get(header::PURCHASE_ID)?;
        std::str::from_utf8(carried).ok()?.parse().ok()
    }

    /// The record to publish in order to try it again: key, headers and value as they were.
    ///
    /// A record without an id has one from where it stands, and would get another one where it is published: it is
    /// given the first in a header. So a replay keeps the purchase's id, and repeating it doubles nothing. A purchase
    /// whose value names no time gets that of its replay.
    #[must_use]
    pub fn to_replay(&self) -> LogRecord {
        let mut record = self.record.clone();
        if !carries_id(&record.headers) {
            let id = self.place().to_string();
            let own =
                record.headers.iter().fold(Headers::builder(), |own, (name, value)| own.with(name, value));
            record.headers = own.with(header::PURCHASE_ID, Some(id.as_bytes())).build();
        }
        record
    }
}

fn carries_id(headers: &Headers) -> bool {
    headers.iter().any(|(name, _)| name == header::PURCHASE_ID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::log::{Partition, Reason};
    use crate::record::decode;

    fn letter(headers: Headers) -> DeadLetter {
        let value = br#"{"username":"ada","userid":"u1","price":1,"timestamp":"2026-03-01T09:00:00Z"}"#;
        let record = LogRecord::new(7, Timestamp::MIN, Some(value.to_vec().into()))
            .with_key(Some("u1".into()))
            .with_headers(headers);
        DeadLetter::new(record, Partition::new("c".into(), "t-1".into(), 3, 9), Reason::conflict(), 1)
    }

    fn elsewhere() -> Partition {
        Partition::new("c".into(), "t-1".into(), 4, 1)
    }

    #[test]
    fn a_replay_keeps_the_id_that_the_place_has_given() {
        let letter = letter(Headers::builder().with("their", Some(b"own")).build());
        let id = decode(&letter.record, &letter.partition).unwrap().id;
        let mut replayed = letter.to_replay();
        replayed.offset = 1_000;
        assert_eq!(decode(&replayed, &elsewhere()).unwrap().id, id);
        assert_eq!((letter.purchase_id(), replayed.headers.get("their")), (Some(id), Some(&b"own"[..])));
        assert_eq!((&replayed.key, &replayed.value), (&letter.record.key, &letter.record.value));
        // One that fails again is replayed once more, as the same purchase.
        let again = DeadLetter::new(replayed.clone(), elsewhere(), Reason::conflict(), 1);
        assert_eq!((again.purchase_id(), again.to_replay()), (Some(id), replayed));
    }

    #[test]
    fn a_record_with_an_id_is_replayed_as_it_is() {
        for (id, kept) in [(&b"0190163d-8694-739b-aea5-966c26f8ad91"[..], true), (b"no id", false)] {
            let letter = letter(Headers::builder().with(header::PURCHASE_ID, Some(id)).build());
            assert_eq!(letter.to_replay(), letter.record);
            assert_eq!(letter.purchase_id().is_some(), kept);
        }
    }

    #[test]
    fn places_read_back_as_written() {
        let place = letter(Headers::EMPTY).stood_at();
        assert_eq!(place.to_string(), "t-1-3-7");
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in ["", "7", "3-7", "-3-7", "t-x-7", "t-3--7"] {
            assert_eq!(wrong.parse::<Place>(), Err(InvalidPlace), "{wrong}");
        }
    }
}
