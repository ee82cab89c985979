//! The place at which a subscription continues, and its text.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::log::{Offsets, Tail};
use crate::macros::format_as;
use crate::{Error, ErrorKind, Invalid, Result};

/// The place behind an event of [`PurchaseEvents`](crate::ports::PurchaseEvents), for continuing there. An opaque text:
/// only the feed or the service that returned it can read it. Store its `to_string()`, and parse that.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FeedCursor(String);

format_as!(FeedCursor: |this| Display = Display(this.0), Debug = Debug(this.0));

impl FeedCursor {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

crate::domain::try_from_text!(FeedCursor);

impl FromStr for FeedCursor {
    type Err = Invalid;

    /// Accepts all visible ASCII. The feed checks the rest.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned())).ok_or(INVALID)
    }
}

/// A place in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Which log it is of.
    pub(super) log: u32,
    /// The next offset of each partition. Partitions that are missing had no records.
    pub(super) offsets: Offsets,
}

const INVALID: Invalid = Invalid::malformed("the cursor", "is not a position of this feed");

/// A short digest of what identifies a log: a position in another one is recognized.
pub(super) fn digest(log: &Tail) -> u32 {
    let mut digest = Uuid::NAMESPACE_OID;
    let names = [&log.cluster]
        .into_iter()
        .chain(&log.generation)
        .chain([&log.topic]);
    for name in names {
        digest = Uuid::new_v5(&digest, name.as_bytes());
    }
    digest.as_fields().0
}

/// The error for a place at which the log cannot continue.
fn expired(why: &str) -> Error {
    Error::new(
        ErrorKind::Expired,
        format!("{why}: list the purchases, and follow the events without a cursor"),
    )
}

impl Place {
    /// The place of `cursor`.
    pub(super) fn of(cursor: &FeedCursor) -> Result<Self> {
        Self::read(&cursor.0).ok_or_else(|| Error::from(INVALID).with_source(INVALID))
    }

    /// Reads the text of a cursor. Returns `None` if it is none of a feed.
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let log = parts.next()?;
        if log.len() != 8 || log.starts_with('+') {
            return None;
        }
        let log = u32::from_str_radix(log, 16).ok()?;
        let offset = |part: &str| {
            let (partition, offset) = part.split_once('-')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        };
        let offsets = parts.map(offset).collect::<Option<_>>()?;
        Some(Self { log, offsets })
    }

    pub(super) fn cursor(&self) -> FeedCursor {
        FeedCursor(self.to_string())
    }

    /// The next offset of `partition`.
    pub(super) fn offset(&self, partition: u32) -> u64 {
        self.offsets.get(&partition).copied().unwrap_or_default()
    }

    /// Moves to `offset` of `partition`, never back.
    pub(super) fn advance(&mut self, partition: u32, offset: u64) {
        let next = self.offsets.entry(partition).or_default();
        *next = offset.max(*next);
    }

    /// Moves to `offsets`, where these are ahead.
    pub(super) fn advance_to(&mut self, offsets: &Offsets) {
        offsets
            .iter()
            .for_each(|(partition, offset)| self.advance(*partition, *offset));
    }

    /// Checks that a subscription can continue here, where all before `passed` was passed on. It may be ahead of that:
    /// another process may know newer positions.
    pub(super) fn check(&self, passed: &Self, max_catch_up: u64) -> Result<()> {
        if self.log != passed.log {
            return Err(expired("the cursor is of another log"));
        }
        let behind = passed
            .offsets
            .iter()
            .map(|(partition, next)| next.saturating_sub(self.offset(*partition)));
        if behind.fold(0, u64::saturating_add) > max_catch_up {
            return Err(expired("the cursor is too far behind"));
        }
        Ok(())
    }

    /// Checks that the log still has the records from here on: it is read from `start` on.
    pub(super) fn check_start(&self, start: &Offsets) -> Result<()> {
        let is_gone = |(partition, at)| start.get(partition).is_some_and(|start| start != at);
        if self.offsets.iter().any(is_gone) {
            return Err(expired(
                "the log does not have the records after the cursor",
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.log)?;
        self.offsets
            .iter()
            .try_for_each(|(partition, offset)| write!(f, ".{partition}-{offset}"))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    fn log(topic: &str, generation: Option<&str>) -> u32 {
        let batches = futures_util::stream::empty().boxed();
        let mut tail = Tail::new(("cluster".into(), topic.into()), [], batches);
        tail.generation = generation.map(Into::into);
        digest(&tail)
    }

    fn place(offsets: &[(u32, u64)]) -> Place {
        Place {
            log: log("purchases", None),
            offsets: offsets.iter().copied().collect(),
        }
    }

    #[test]
    fn a_cursor_round_trips_as_text() {
        for offsets in [&[][..], &[(0, 0)], &[(0, 15), (7, u64::MAX)]] {
            let place = place(offsets);
            let cursor: FeedCursor = place.cursor().to_string().parse().unwrap();
            assert_eq!(Place::of(&cursor).unwrap(), place);
        }
        let texts = "|.|0-1|+1234567|12345678.|12345678.1|12345678.1-|12345678.1-2-3|é";
        for text in texts.split('|') {
            assert!(Place::read(text).is_none(), "{text}");
        }
        for text in ["", "a b", "a\n", "é"] {
            assert!(text.parse::<FeedCursor>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_cursor_of_another_log_or_too_far_behind_is_rejected() {
        let passed = place(&[(0, 20), (1, 5)]);
        assert!(
            place(&[(0, 15)]).check(&passed, 10).is_ok(),
            "5 of each partition"
        );
        assert!(place(&[(0, 14)]).check(&passed, 10).is_err());
        assert!(
            place(&[(0, 21)]).check(&passed, 10).is_ok(),
            "another process was ahead"
        );
        for other in [log("other", None), log("purchases", Some("restored"))] {
            let other = Place {
                log: other,
                ..passed.clone()
            };
            assert!(place(&[(0, 20)]).check(&other, 10).is_err());
        }
        assert!(
            place(&[(0, 15)])
                .check_start(&Offsets::from([(0, 15), (1, 0)]))
                .is_ok()
        );
        assert!(
            place(&[(0, 15)])
                .check_start(&Offsets::from([(0, 16)]))
                .is_err(),
            "deleted by retention"
        );
    }
}
