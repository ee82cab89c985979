//! Positions in a log at which a subscription resumes, and the cursors that carry them to clients
//! as text.
//!
//! A cursor reads `DIGEST.PARTITION-OFFSET.PARTITION-OFFSET`. The digest identifies the log, so
//! that a cursor of another log, or of this log before it was restored from a backup, is refused
//! instead of resuming at unrelated records.

use std::fmt::Write as _;
use std::str::FromStr;

use uuid::Uuid;

use crate::log::{LogScan, Offsets};
use crate::macros::format_as;
use crate::{Error, ErrorKind, Invalid, Result};

/// An opaque position behind an event of [`PurchaseEvents`](crate::ports::PurchaseEvents), at which
/// to resume.
///
/// Only the feed or the service that returned a cursor can read it. Store its `to_string()`, and
/// parse that text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FeedCursor(String);

format_as!(FeedCursor: |this| Display = Display(this.0), Debug = Debug(this.0));

impl FeedCursor {
    /// Returns the text of the cursor.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

crate::domain::try_from_text!(FeedCursor);

impl FromStr for FeedCursor {
    type Err = Invalid;

    /// Accepts any visible ASCII text, because each implementation of `PurchaseEvents` writes
    /// cursors of its own.
    ///
    /// The feed that receives the cursor checks the rest of the syntax.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(INVALID_CURSOR);
        }
        Ok(Self(text.to_owned()))
    }
}

const INVALID_CURSOR: Invalid = Invalid::malformed("the cursor", "is not a position of this feed");

/// A position in all partitions of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FeedPosition {
    /// The [digest](log_digest) of the log.
    pub(super) log_digest: u32,
    /// The next offset of each partition. A partition without an entry did not contain a record.
    pub(super) offsets: Offsets,
}

/// Returns a short digest of the cluster, generation and topic of the log that `tail` reads.
///
/// The generation changes when a log is restored from a backup, and the digest changes with the
/// generation.
pub(super) fn log_digest(tail: &LogScan) -> u32 {
    let names = [&tail.cluster]
        .into_iter()
        .chain(&tail.generation)
        .chain([&tail.topic]);
    let mut digest = Uuid::NAMESPACE_OID;
    for name in names {
        digest = Uuid::new_v5(&digest, name.as_bytes());
    }
    // The first field of a UUID is its first 32 bits.
    digest.as_fields().0
}

/// Returns the next offset of `partition` in `offsets`, or 0 if `offsets` does not contain the
/// partition.
pub(super) fn next_offset(offsets: &Offsets, partition: u32) -> u64 {
    offsets.get(&partition).copied().unwrap_or_default()
}

/// Moves each partition of `offsets` forward to its offset in `target`, and never back.
pub(super) fn advance_offsets(offsets: &mut Offsets, target: &Offsets) {
    for (partition, target_offset) in target {
        let offset = offsets.entry(*partition).or_default();
        *offset = (*target_offset).max(*offset);
    }
}

/// Creates the [`Expired`](ErrorKind::Expired) error for a cursor at which the log cannot resume,
/// because of `reason`.
fn expired_error(reason: &str) -> Error {
    Error::new(
        ErrorKind::Expired,
        format!("{reason}: list the purchases, and follow the events without a cursor"),
    )
}

impl FeedPosition {
    /// Reads the position that `cursor` carries.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if `cursor` is not a cursor of a feed.
    pub(super) fn from_cursor(cursor: &FeedCursor) -> Result<Self> {
        // By the source of the error, a service recognizes that the cursor is invalid, and not
        // another parameter of the request.
        Self::parse(&cursor.0)
            .ok_or_else(|| Error::from(INVALID_CURSOR).with_source(INVALID_CURSOR))
    }

    /// Parses the text of a cursor. Returns `None` if the text is malformed.
    fn parse(text: &str) -> Option<Self> {
        let mut sections = text.split('.');

        // `from_str_radix` would also accept a sign, and fewer digits.
        let digest_text = sections.next()?;
        if digest_text.len() != 8 || digest_text.starts_with('+') {
            return None;
        }
        let log_digest = u32::from_str_radix(digest_text, 16).ok()?;

        let mut offsets = Offsets::new();
        for partition_text in sections {
            let (partition, offset) = partition_text.split_once('-')?;
            offsets.insert(partition.parse().ok()?, offset.parse().ok()?);
        }
        Some(Self {
            log_digest,
            offsets,
        })
    }

    /// Returns a cursor that carries this position.
    pub(super) fn to_cursor(&self) -> FeedCursor {
        let mut text = format!("{:08x}", self.log_digest);
        for (partition, offset) in &self.offsets {
            // Writing to a string cannot fail.
            _ = write!(text, ".{partition}-{offset}");
        }
        FeedCursor(text)
    }

    /// Checks that a subscription can resume at this position: that it is a position in the log of
    /// `delivered`, and not too far behind it.
    ///
    /// `delivered` is the position up to which this process delivered purchases. A cursor of another
    /// process may be ahead of it, because that process may have delivered more.
    ///
    /// # Errors
    /// [`Expired`](ErrorKind::Expired) if this position is of another log, or more than
    /// `max_catch_up` records behind `delivered`.
    pub(super) fn check_resumable(&self, delivered: &Self, max_catch_up: u64) -> Result<()> {
        if self.log_digest != delivered.log_digest {
            return Err(expired_error("the cursor is of another log"));
        }

        let mut records_behind = 0_u64;
        for (partition, delivered_offset) in &delivered.offsets {
            let resume_offset = next_offset(&self.offsets, *partition);
            records_behind =
                records_behind.saturating_add(delivered_offset.saturating_sub(resume_offset));
        }
        if records_behind > max_catch_up {
            return Err(expired_error("the cursor is too far behind"));
        }
        Ok(())
    }

    /// Checks that the log still contains the records from this position on.
    ///
    /// The log was asked for these records. `tail_start` contains the offset from which on the log
    /// returns each partition: the requested offset or, if retention deleted its record, the first
    /// offset of the partition.
    ///
    /// # Errors
    /// [`Expired`](ErrorKind::Expired) if a partition starts at another offset than requested.
    pub(super) fn check_tail_start(&self, tail_start: &Offsets) -> Result<()> {
        for (partition, requested_offset) in &self.offsets {
            // The answer of the log may lack a partition that was added a moment ago.
            if let Some(start_offset) = tail_start.get(partition)
                && start_offset != requested_offset
            {
                return Err(expired_error(
                    "the log does not have the records after the cursor",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    fn log(topic: &str, generation: Option<&str>) -> u32 {
        let batches = futures_util::stream::empty().boxed();
        let mut tail = LogScan::new("cluster".into(), topic.into(), [], batches);
        tail.generation = generation.map(Into::into);
        log_digest(&tail)
    }

    fn position(offsets: &[(u32, u64)]) -> FeedPosition {
        FeedPosition {
            log_digest: log("purchases", None),
            offsets: offsets.iter().copied().collect(),
        }
    }

    #[test]
    fn a_cursor_round_trips_as_text() {
        for offsets in [&[][..], &[(0, 0)], &[(0, 15), (7, u64::MAX)]] {
            let original = position(offsets);
            let cursor: FeedCursor = original.to_cursor().to_string().parse().unwrap();
            assert_eq!(FeedPosition::from_cursor(&cursor).unwrap(), original);
        }
        let texts = "|.|0-1|+1234567|12345678.|12345678.1|12345678.1-|12345678.1-2-3|é";
        for text in texts.split('|') {
            assert!(FeedPosition::parse(text).is_none(), "{text}");
        }
        for text in ["", "a b", "a\n", "é"] {
            assert!(text.parse::<FeedCursor>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_cursor_of_another_log_or_too_far_behind_is_rejected() {
        let delivered = position(&[(0, 20), (1, 5)]);
        assert!(
            position(&[(0, 15)]).check_resumable(&delivered, 10).is_ok(),
            "5 of each partition"
        );
        assert!(
            position(&[(0, 14)])
                .check_resumable(&delivered, 10)
                .is_err()
        );
        assert!(
            position(&[(0, 21)]).check_resumable(&delivered, 10).is_ok(),
            "another process was ahead"
        );
        for other in [log("other", None), log("purchases", Some("restored"))] {
            let other = FeedPosition {
                log_digest: other,
                ..delivered.clone()
            };
            assert!(position(&[(0, 20)]).check_resumable(&other, 10).is_err());
        }
        assert!(
            position(&[(0, 15)])
                .check_tail_start(&Offsets::from([(0, 15), (1, 0)]))
                .is_ok()
        );
        assert!(
            position(&[(0, 15)])
                .check_tail_start(&Offsets::from([(0, 16)]))
                .is_err(),
            "deleted by retention"
        );
    }
}
