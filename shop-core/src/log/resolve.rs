//! Resolves dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::{Interval, MissedTickBehavior};

use super::{DeadLetter, LogAdmin, ReasonKind, RecordPosition, RecordType, Resolution};
use crate::{Result, options};

/// The maximum number of dead letters, and about the number of their bytes, that are resolved together.
const MAX_BATCH: u32 = 100;
const MAX_BATCH_BYTES: usize = 4 << 20;

/// The outcome of a dead letter in [`resolve_all`], or of a position in [`resolve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolved {
    /// It was resolved, or would be. Of a position: each dead letter at it; a gap among several is not replayed.
    Done,
    /// It is a gap: its records are gone and cannot be replayed, only discarded.
    IsGap,
}

options! {
    /// How [`resolve_all`] resolves.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ResolveOptions {
        /// Whether they are replayed or dropped.
        pub resolution: Resolution = resolution,
        /// Whether they are only read.
        pub dry_run: bool = false,
        /// The maximum number per second (default none).
        pub rate: Option<NonZeroU32> = None,
    }

    /// Without a limit of the rate, and without a dry run.
    pub fn new(resolution: Resolution);
}

/// Resolves the pending dead letters of `log` at `positions`, whose records are of type `of`; with `dry_run`, only finds
/// them. Returns the outcome of each position at which there is one.
///
/// # Errors
/// As [`resolve_all`].
///
/// # Cancel safety
/// As [`resolve_all`].
pub async fn resolve(
    log: &dyn LogAdmin,
    of: RecordType,
    positions: &BTreeSet<RecordPosition>,
    resolution: Resolution,
    dry_run: bool,
) -> Result<BTreeMap<RecordPosition, Resolved>> {
    let mut found = BTreeMap::new();
    let all = stream::iter(log.dead_letters_at(positions).await?.into_iter().map(Ok));
    let options = ResolveOptions::new(resolution).dry_run(dry_run);
    resolve_all(log, of, all, &options, |dead_letter, resolved| match resolved {
        Resolved::Done => drop(found.insert(dead_letter.position(), resolved)),
        Resolved::IsGap => drop(found.entry(dead_letter.position()).or_insert(resolved)),
    })
    .await?;
    Ok(found)
}

/// Resolves `dead_letters` of `log`, whose records are of type `of`, in batches. `progress` is called for each of them
/// when it is resolved, and for each that cannot be.
///
/// # Errors
/// Those of the stream, and as [`LogAdmin::replay`] and [`LogAdmin::discard`]. Some may have been resolved; the others are
/// unchanged. Repeating it is safe.
///
/// # Cancel safety
/// Dropping the future may leave some of the dead letters resolved; the others stay pending.
pub async fn resolve_all(
    log: &dyn LogAdmin,
    of: RecordType,
    dead_letters: impl Stream<Item = Result<DeadLetter>> + Send,
    options: &ResolveOptions,
    mut progress: impl FnMut(&DeadLetter, Resolved) + Send,
) -> Result<()> {
    let mut dead_letters = std::pin::pin!(dead_letters);
    let (mut pace, mut batch, mut bytes) = (RateLimiter::new(options.rate), Vec::new(), 0);
    loop {
        let next = dead_letters.next().await.transpose()?;
        let is_end = next.is_none();
        if let Some(dead_letter) = next {
            let is_gap = dead_letter.reason.kind() == ReasonKind::Gap;
            if options.resolution == Resolution::Replayed && is_gap {
                progress(&dead_letter, Resolved::IsGap);
                continue;
            }
            if options.dry_run {
                progress(&dead_letter, Resolved::Done);
                continue;
            }
            bytes += dead_letter.record.value.as_ref().map_or(0, bytes::Bytes::len);
            batch.push(dead_letter);
        }
        if batch.len() >= pace.batch_size || bytes > MAX_BATCH_BYTES || is_end && !batch.is_empty() {
            pace.wait().await;
            match options.resolution {
                Resolution::Replayed => log.replay(&batch, of).await?,
                Resolution::Dropped => log.discard(&batch, of).await?,
            };
            batch.drain(..).for_each(|dead_letter| progress(&dead_letter, Resolved::Done));
            bytes = 0;
        }
        if is_end {
            return Ok(());
        }
    }
}

/// The size of a batch, and the interval between batches.
struct RateLimiter {
    batch_size: usize,
    interval: Option<Interval>,
}

impl RateLimiter {
    /// At most `rate` records per second, in at most ten batches per second.
    fn new(rate: Option<NonZeroU32>) -> Self {
        let batch = rate.map_or(MAX_BATCH, |rate| (rate.get() / 10).clamp(1, MAX_BATCH));
        let interval = rate.map(|rate| {
            let mut interval = tokio::time::interval(Duration::from_secs(1) * batch / rate.get());
            // Without bursts after a delay: no second may exceed the rate.
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Self { batch_size: usize::try_from(batch).unwrap_or(1), interval }
    }

    async fn wait(&mut self) {
        if let Some(interval) = &mut self.interval {
            interval.tick().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rate_limiter_does_not_exceed_the_rate() {
        for rate in [1, 7, 10, 250, 100_000] {
            let mut pace = RateLimiter::new(NonZeroU32::new(rate));
            let begun = tokio::time::Instant::now();
            let mut resolved = 0;
            while begun.elapsed() < Duration::from_secs(10) {
                pace.wait().await;
                resolved += pace.batch_size;
            }
            let most = usize::try_from(rate).unwrap() * 10 + pace.batch_size * 2;
            assert!((most / 2..=most).contains(&resolved), "{rate}: {resolved} in 10 s");
        }
        assert_eq!(RateLimiter::new(None).batch_size, 100);
    }
}
