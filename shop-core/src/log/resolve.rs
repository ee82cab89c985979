//! Resolves dead letters.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _};
use tokio::time::{Interval, MissedTickBehavior};

use super::{DeadLetter, LogAdmin, RecordType, Resolution};
use crate::{Result, options};

/// The maximum number of dead letters, and about the number of their bytes, that are resolved together.
const MAX_BATCH: u32 = 100;
const MAX_BATCH_BYTES: usize = 4 << 20;

options! {
    /// How [`resolve`] resolves.
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

/// Resolves `dead_letters` of `log`, whose records are of type `of`, in batches. Calls `each` for each of them when it is
/// resolved, or would be, and for each that is [refused](Resolution::refuses), with the reason. Ends when that
/// returns false.
///
/// # Errors
/// Those of the stream, and of [`LogAdmin::resolve`]. Some may have been resolved; the others are unchanged.
/// Repeating it is safe.
///
/// # Cancel safety
/// Dropping the future may leave some of the dead letters resolved; the others stay pending.
pub async fn resolve(
    log: &dyn LogAdmin,
    record_type: RecordType,
    dead_letters: impl Stream<Item = Result<DeadLetter>> + Send,
    options: &ResolveOptions,
    mut on_decided: impl FnMut(DeadLetter, Option<&'static str>) -> bool + Send,
) -> Result<()> {
    let mut dead_letters = std::pin::pin!(dead_letters);
    let ((batch_size, mut pace), mut batch, mut bytes) = (paced(options.rate), Vec::new(), 0);
    loop {
        let next = dead_letters.try_next().await?;
        let is_end = next.is_none();
        if let Some(dead_letter) = next {
            let refused = options.resolution.refuses(&dead_letter);
            if refused.is_some() || options.dry_run {
                if !on_decided(dead_letter, refused) {
                    return Ok(());
                }
                continue;
            }
            bytes += dead_letter
                .record
                .value
                .as_ref()
                .map_or(0, bytes::Bytes::len);
            batch.push(dead_letter);
        }
        if batch.len() >= batch_size || bytes > MAX_BATCH_BYTES || is_end && !batch.is_empty() {
            if let Some(interval) = &mut pace {
                interval.tick().await;
            }
            log.resolve(&batch, record_type, options.resolution).await?;
            bytes = 0;
            if !batch
                .drain(..)
                .all(|dead_letter| on_decided(dead_letter, None))
            {
                return Ok(());
            }
        }
        if is_end {
            return Ok(());
        }
    }
}

/// The size of a batch, and the interval between batches: at most `rate` records per second, in at most ten batches.
fn paced(rate: Option<NonZeroU32>) -> (usize, Option<Interval>) {
    let batch = rate.map_or(MAX_BATCH, |rate| (rate.get() / 10).clamp(1, MAX_BATCH));
    let interval = rate.map(|rate| {
        let mut interval = tokio::time::interval(Duration::from_secs(1) * batch / rate.get());
        // Without bursts after a delay: no second may exceed the rate.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    });
    (usize::try_from(batch).unwrap_or(1), interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{
        CUT_HEADER, DeadLetters as _, Headers, LogAdminExt as _, LogRecord, Partition, Reason,
    };
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
        log.dead_letters().put(&all).await.unwrap();
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
            let (batch_size, interval) = paced(NonZeroU32::new(rate));
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
        assert_eq!(paced(None).0, 100);
    }
}
