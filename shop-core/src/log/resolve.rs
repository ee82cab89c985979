//! Resolves many dead letters in batches, optionally at a limited rate or as a dry run.
//!
//! [`Log::resolve`] resolves one slice of dead letters. [`resolve`] here drives it for a
//! stream of any length: [`Operations`](crate::operations::Operations) and the erasure of a user's
//! data call it.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _};
use tokio::time::{Interval, MissedTickBehavior};

use super::{DeadLetter, Log, RecordType, Resolution};
use crate::{Result, options};

/// The maximum number of dead letters that are resolved in one call of [`Log::resolve`].
const MAX_BATCH: u32 = 100;
/// The size of the values in bytes above which a batch is resolved before it contains [`MAX_BATCH`]
/// dead letters. The last dead letter of a batch may exceed this size.
const MAX_BATCH_BYTES: usize = 4 << 20;

options! {
    /// The options of [`resolve`].
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ResolveOptions {
        /// Whether the dead letters are replayed or dropped.
        pub resolution: Resolution = resolution,
        /// Whether the dead letters are only read and reported, and the log stays unchanged.
        pub dry_run: bool = false,
        /// The maximum number of dead letters that are resolved per second (default: unlimited).
        pub rate: Option<NonZeroU32> = None,
    }

    /// Creates options without a limit of the rate and without a dry run.
    pub fn new(resolution: Resolution);
}

/// Replays or drops `dead_letters` of `log`, whose records are of `record_type`, in batches.
///
/// Calls `on_decided` once for each dead letter:
///
/// - with `None` after the dead letter was resolved, or, in a dry run, if it would be resolved
/// - with the reason if the dead letter is [refused](Resolution::refuses): it stays pending, and the
///   others are still resolved. A refused dead letter may be reported before earlier ones.
///
/// Ends early, without an error, when `on_decided` returns `false`. Dead letters that are not
/// resolved by then stay pending. Other dead letters of the same batch may be resolved without a
/// report.
///
/// # Errors
/// - the errors of the stream `dead_letters`
/// - the errors of [`Log::resolve`]
///
/// Some of the dead letters may be resolved by then; the others are unchanged. Repeating the call
/// is safe.
///
/// # Cancel safety
/// Dropping the future may leave some of the dead letters resolved; the others stay pending.
pub async fn resolve(
    log: &dyn Log,
    record_type: RecordType,
    dead_letters: impl Stream<Item = Result<DeadLetter>> + Send,
    options: &ResolveOptions,
    mut on_decided: impl FnMut(DeadLetter, Option<&'static str>) -> bool + Send,
) -> Result<()> {
    let mut dead_letters = std::pin::pin!(dead_letters);
    let (batch_size, mut batch_interval) = batch_pacing(options.rate);
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    loop {
        let next_dead_letter = dead_letters.try_next().await?;
        let is_end = next_dead_letter.is_none();
        if let Some(dead_letter) = next_dead_letter {
            // `Log::resolve` rejects a whole batch with a refused dead letter, so a refused one is
            // never added to a batch. In a dry run, none is added.
            let refusal = options.resolution.refuses(&dead_letter);
            if refusal.is_some() || options.dry_run {
                if !on_decided(dead_letter, refusal) {
                    return Ok(());
                }
                continue;
            }

            batch_bytes += dead_letter
                .record
                .value
                .as_ref()
                .map_or(0, bytes::Bytes::len);
            batch.push(dead_letter);
        }

        let is_full = batch.len() >= batch_size || batch_bytes > MAX_BATCH_BYTES;
        let is_last = is_end && !batch.is_empty();
        if is_full || is_last {
            if let Some(interval) = &mut batch_interval {
                interval.tick().await;
            }

            // The dead letters are reported only after the log resolved them, so that an error
            // leaves no report of a dead letter that is still pending.
            log.resolve(&batch, record_type, options.resolution).await?;
            batch_bytes = 0;
            for dead_letter in batch.drain(..) {
                let refusal = None;
                if !on_decided(dead_letter, refusal) {
                    return Ok(());
                }
            }
        }

        if is_end {
            return Ok(());
        }
    }
}

/// Returns the size of a batch, and the interval between two batches, for at most `rate` dead
/// letters per second.
///
/// A batch contains a tenth of the rate, so that the load is spread over the second. It contains at
/// least 1 and at most [`MAX_BATCH`] dead letters. Without a rate, there is no interval, and
/// batches of [`MAX_BATCH`] follow each other without a pause.
fn batch_pacing(rate: Option<NonZeroU32>) -> (usize, Option<Interval>) {
    let batch_size = rate.map_or(MAX_BATCH, |rate| (rate.get() / 10).clamp(1, MAX_BATCH));
    let interval = rate.map(|rate| {
        let batch_time = Duration::from_secs(1) * batch_size / rate.get();
        let mut interval = tokio::time::interval(batch_time);
        // By default an interval catches up with the ticks that it missed during a slow batch. Such
        // a burst would exceed the rate.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    });
    (usize::try_from(batch_size).unwrap_or(1), interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{CUT_HEADER, Headers, LogExt as _, LogRecord, Partition, Reason};
    use crate::memory::InMemoryLog;
    use crate::record::Record as _;
    use crate::{Purchase, Timestamp};

    #[tokio::test]
    async fn a_dead_letter_without_its_whole_record_does_not_stop_a_replay() {
        let log = InMemoryLog::default();
        let letter = |offset, headers| {
            let record = LogRecord::new(offset, Timestamp::MIN, None).with_headers(headers);
            DeadLetter::new(
                record,
                Partition::new("c".into(), "t".into(), 0, 0),
                Reason::parked("x"),
                1,
            )
        };
        let all = [
            letter(1, Headers::EMPTY.with(CUT_HEADER, None)),
            letter(2, Headers::EMPTY),
        ];
        log.put_dead_letters(&all).await.unwrap();
        let pending = log.select_dead_letters(Default::default()).await.unwrap();
        let options = ResolveOptions::new(Resolution::Replayed);
        resolve(&log, Purchase::TYPE, pending, &options, |_, _| true)
            .await
            .unwrap();
        assert_eq!(log.pending_dead_letters().await.unwrap(), all[..1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_does_not_exceed_the_rate() {
        for rate in [1, 7, 10, 250, 100_000] {
            let (batch_size, interval) = batch_pacing(NonZeroU32::new(rate));
            let mut interval = interval.unwrap();
            let begun = tokio::time::Instant::now();
            let mut resolved = 0;
            while begun.elapsed() < Duration::from_secs(10) {
                interval.tick().await;
                resolved += batch_size;
            }
            let most = usize::try_from(rate).unwrap() * 10 + batch_size * 2;
            assert!(
                (most / 2..=most).contains(&resolved),
                "{rate}: {resolved} in 10 s"
            );
        }
        assert_eq!(batch_pacing(None).0, 100);
    }
}
