//! Which dead letters are read, and how a log that can only scan them finds these.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt as _;

use super::{DeadLetter, LogAdmin, ReasonKind, RecordPosition};
use crate::{Result, Timestamp, options};

options! {
    /// Which pending dead letters are on a page.
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
    }
}

impl DeadLetterFilter {
    /// Whether `dead_letter` is selected.
    #[must_use]
    pub fn selects(&self, dead_letter: &DeadLetter) -> bool {
        self.selects_at(&dead_letter.position(), dead_letter.reason.kind(), dead_letter.record.time)
    }

    /// Whether a dead letter with this position, reason and time of its record is selected.
    #[must_use]
    pub fn selects_at(&self, position: &RecordPosition, reason: ReasonKind, time: Timestamp) -> bool {
        self.reason.is_none_or(|kind| kind == reason)
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && self.after.as_ref().is_none_or(|after| position > after)
    }
}

/// The dead letters of the first `limit` positions that `filter` selects, by a scan.
pub(super) async fn page(
    log: &(impl LogAdmin + ?Sized),
    filter: &DeadLetterFilter,
    limit: usize,
) -> Result<Vec<DeadLetter>> {
    let (mut page, mut all) = (BTreeMap::<_, Vec<_>>::new(), log.scan_dead_letters().await?);
    while let Some(state) = all.try_next().await? {
        // The pending ones come first.
        let Some(dead_letter) = state.into_pending() else { break };
        if filter.selects(&dead_letter) {
            page.entry(dead_letter.position()).or_default().push(dead_letter);
        }
        if page.len() > limit {
            page.pop_last();
        }
    }
    Ok(page.into_values().flatten().collect())
}

/// The dead letters at `positions`, by a scan.
pub(super) async fn at(
    log: &(impl LogAdmin + ?Sized),
    positions: &BTreeSet<RecordPosition>,
) -> Result<Vec<DeadLetter>> {
    let (mut found, mut all) = (Vec::new(), log.scan_dead_letters().await?);
    while let Some(state) = all.try_next().await? {
        let Some(dead_letter) = state.into_pending() else { break };
        if positions.contains(&dead_letter.position()) {
            found.push(dead_letter);
        }
    }
    Ok(found)
}
