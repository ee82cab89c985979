//! Resolves dead letters by their positions.

use std::collections::{BTreeMap, BTreeSet};

use super::{DeadLetter, LogAdmin, ReasonKind, RecordPosition, RecordType, Resolution};
use crate::Result;

/// The maximum number of dead letters, and about the number of their bytes, that are resolved together.
const MAX_BATCH: usize = 100;
const MAX_BATCH_BYTES: usize = 4 << 20;

/// What became of a position in [`resolve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolved {
    /// Each dead letter at the position was resolved, or would be; a gap among several is not replayed.
    Done,
    /// It is a gap: its records are gone and cannot be replayed, only discarded.
    IsGap,
}

/// Resolves the pending dead letters of `log` at `positions`, whose records are of type `of`; with `dry_run`, only finds
/// them. Returns what became of each position at which there is one.
///
/// # Errors
/// As [`LogAdmin::replay`] and [`LogAdmin::discard`]. Some may have been resolved; the others are unchanged. Repeating
/// it is safe.
///
/// # Cancel safety
/// Dropping the future may leave some of the dead letters resolved; the others stay pending.
pub async fn resolve(
    log: &dyn LogAdmin,
    of: RecordType,
    positions: &BTreeSet<RecordPosition>,
    resolution: Resolution,
    dry_run: bool,
) -> Result<BTreeMap<RecordPosition, Resolved>> {
    let (mut found, mut batch, mut bytes) = (BTreeMap::new(), Vec::<DeadLetter>::new(), 0);
    for dead_letter in log.dead_letters_at(positions).await? {
        let position = dead_letter.position();
        if resolution == Resolution::Replayed && dead_letter.reason.kind() == ReasonKind::Gap {
            found.entry(position).or_insert(Resolved::IsGap);
            continue;
        }
        found.insert(position, Resolved::Done);
        if dry_run {
            continue;
        }
        bytes += dead_letter.record.value.as_ref().map_or(0, bytes::Bytes::len);
        batch.push(dead_letter);
        if batch.len() == MAX_BATCH || bytes > MAX_BATCH_BYTES {
            resolve_batch(log, of, &std::mem::take(&mut batch), resolution).await?;
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        resolve_batch(log, of, &batch, resolution).await?;
    }
    Ok(found)
}

async fn resolve_batch(
    log: &dyn LogAdmin,
    of: RecordType,
    batch: &[DeadLetter],
    resolution: Resolution,
) -> Result<u64> {
    match resolution {
        Resolution::Replayed => log.replay(batch, of).await,
        Resolution::Dropped => log.discard(batch, of).await,
    }
}
