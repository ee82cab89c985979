//! The place at which a subscription continues.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::log::Offsets;
use crate::{Error, ErrorKind, Result};

/// The place in a log behind a purchase of a [`PurchaseFeed`](super::PurchaseFeed). Its text form is opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedCursor {
    /// Which log it is of.
    log: u32,
    /// The next offset of each partition. Partitions that are missing had no records.
    offsets: Offsets,
}

/// A text that is not a [`FeedCursor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a position of this feed")]
#[non_exhaustive]
pub struct InvalidFeedCursor;

/// A short digest of the name of a topic: a position in another log is recognized.
pub(super) fn digest(cluster: &str, topic: &str) -> u32 {
    let of_cluster = Uuid::new_v5(&Uuid::NAMESPACE_OID, cluster.as_bytes());
    Uuid::new_v5(&of_cluster, topic.as_bytes()).as_fields().0
}

impl FeedCursor {
    pub(super) const fn new(log: u32, offsets: Offsets) -> Self {
        Self { log, offsets }
    }

    pub(super) const fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// The next offset of `partition`.
    pub(super) fn offset(&self, partition: u32) -> u64 {
        self.offsets.get(&partition).copied().unwrap_or_default()
    }

    /// Checks that a subscription can continue here, in `log`, which was read up to `read`.
    pub(super) fn check(&self, log: u32, read: &Offsets, max_catch_up: u64) -> Result<()> {
        let behind = read.iter().map(|(partition, next)| next.saturating_sub(self.offset(*partition)));
        let is_ahead = read.iter().any(|(partition, next)| self.offset(*partition) > *next);
        if self.log != log || is_ahead {
            return Err(Error::new(ErrorKind::Invalid, "the cursor is of another log"));
        }
        if behind.fold(0, u64::saturating_add) > max_catch_up {
            return Err(Error::new(ErrorKind::Invalid, "the cursor is too far behind"));
        }
        Ok(())
    }

    /// Checks that the log still has the records from here on: it is read from `start` on.
    pub(super) fn check_start(&self, start: &Offsets) -> Result<()> {
        match self
            .offsets
            .iter()
            .find(|(partition, at)| start.get(partition).is_some_and(|start| start != *at))
        {
            None => Ok(()),
            Some(_) => {
                Err(Error::new(ErrorKind::Invalid, "the log no longer has the records after the cursor"))
            }
        }
    }
}

impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.log)?;
        self.offsets.iter().try_for_each(|(partition, offset)| write!(f, ".{partition}-{offset}"))
    }
}

impl FromStr for FeedCursor {
    type Err = InvalidFeedCursor;

    fn from_str(text: &str) -> Result<Self, InvalidFeedCursor> {
        let mut parts = text.split('.');
        let log =
            parts.next().filter(|log| log.len() == 8 && !log.starts_with('+')).ok_or(InvalidFeedCursor)?;
        let log = u32::from_str_radix(log, 16).map_err(|_invalid| InvalidFeedCursor)?;
        let offset = |part: &str| {
            let (partition, offset) = part.split_once('-')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        };
        let offsets = parts.map(offset).collect::<Option<_>>().ok_or(InvalidFeedCursor)?;
        Ok(Self { log, offsets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(offsets: &[(u32, u64)]) -> FeedCursor {
        FeedCursor::new(digest("cluster", "purchases"), offsets.iter().copied().collect())
    }

    #[test]
    fn the_text_of_a_cursor_leads_back_to_it() {
        for offsets in [&[][..], &[(0, 0)], &[(0, 15), (7, u64::MAX)]] {
            let cursor = cursor(offsets);
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in
            ["", ".", "0-1", "+1234567", "12345678.", "12345678.1", "12345678.1-", "12345678.1-2-3", "é"]
        {
            assert_eq!(text.parse::<FeedCursor>(), Err(InvalidFeedCursor), "{text}");
        }
    }

    #[test]
    fn a_cursor_of_another_log_or_too_far_behind_is_refused() {
        let (log, read) = (digest("cluster", "purchases"), Offsets::from([(0, 20), (1, 5)]));
        assert!(cursor(&[(0, 15)]).check(log, &read, 10).is_ok(), "5 of each partition");
        assert!(cursor(&[(0, 14)]).check(log, &read, 10).is_err());
        assert!(cursor(&[(0, 21)]).check(log, &read, 10).is_err(), "ahead of the log");
        assert!(cursor(&[(0, 20)]).check(digest("cluster", "other"), &read, 10).is_err());
        assert!(cursor(&[(0, 15)]).check_start(&Offsets::from([(0, 15), (1, 0)])).is_ok());
        assert!(cursor(&[(0, 15)]).check_start(&Offsets::from([(0, 16)])).is_err(), "deleted by retention");
    }
}
