//! The exponential backoff between attempts at a call that fails.
//!
//! A backoff protects a component that is down or overloaded: pauses that grow keep the retries of
//! all members from delaying its recovery. A backoff does not help against a record at fault, which
//! fails however long the pause is. In that case `insertion` splits the batch.
//!
//! The pipeline keeps one backoff for reading and one for commits. Each batch keeps its own for its
//! calls to the store and to the dead letters.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};

use super::IngestOptions;
use crate::Error;

/// The backoff of one call: the time of the next attempt, and since when the call fails.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    /// The first pause, without jitter.
    initial: Duration,
    /// The maximum pause, without jitter.
    max: Duration,
    /// The seed of the jitter, for tests; random without one.
    jitter_seed: Option<u64>,
    /// The number of pauses since the last success, which determines the length of the next one.
    pauses: u32,
    /// The instant before which the call is not made.
    pub(super) not_before: Option<Instant>,
    /// Since when the call fails, and its last error.
    pub(super) failing: Option<(Instant, Error)>,
}

impl Backoff {
    /// Creates a backoff for a call that has not failed. The call is due at once.
    pub(super) fn new(options: &IngestOptions) -> Self {
        Self {
            initial: options.initial_backoff,
            max: options.max_backoff,
            jitter_seed: options.jitter_seed,
            ..Self::default()
        }
    }

    /// Records a failure of the call at `now`, and returns when to retry the call: after the next
    /// pause, or after the [`retry_after`](Error::retry_after) of `error` if this is longer.
    pub(super) fn record_failure(&mut self, error: &Error, now: Instant) -> Instant {
        self.record_error(error, now);

        let min_pause = error.retry_after().unwrap_or_default();
        let retry_at = saturating_instant(now, self.next_pause().max(min_pause));
        self.not_before = Some(retry_at);
        retry_at
    }

    /// Records a failure of the call without changing when to retry.
    ///
    /// The call counts as failing since the first failure after its last success.
    pub(super) fn record_error(&mut self, error: &Error, now: Instant) {
        let since = self.failing.as_ref().map_or(now, |(since, _)| *since);
        self.failing = Some((since, error.clone()));
    }

    /// Records a success of the call, and resets the pauses. Returns whether the call was failing.
    ///
    /// `not_before` stays as it is, because commits use it for their interval.
    pub(super) fn record_success(&mut self) -> bool {
        let was_failing = self.failing.take().is_some();
        if was_failing {
            self.pauses = 0;
        }
        was_failing
    }

    /// Allows the call at once, and resets the pauses. The call still counts as failing until a
    /// success.
    pub(super) const fn retry_now(&mut self) {
        self.not_before = None;
        self.pauses = 0;
    }

    /// Checks whether the call may be made at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|not_before| not_before <= now)
    }

    /// Returns the instant at which the retry of a failing call counts as a success, unless it has
    /// failed by then. Returns `None` if the call is not failing, or if no retry is planned.
    ///
    /// A call that reads from the source waits for records. So a retry that works may return nothing
    /// for a long time.
    pub(super) fn healthy_at(&self) -> Option<Instant> {
        self.failing.as_ref()?;
        let not_before = self.not_before?;
        Some(saturating_instant(not_before, self.max))
    }

    /// Returns the next pause, and counts it.
    ///
    /// The pause is twice as long as the previous one, up to the maximum, plus up to 100 % jitter.
    fn next_pause(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.pauses).unwrap_or(u32::MAX);
        let pause = self.initial.saturating_mul(factor).min(self.max);

        // The builder gives one pause of exactly this length, and adds the jitter.
        let mut builder = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(pause)
            .with_max_delay(pause);
        if let Some(seed) = self.jitter_seed {
            builder = builder.with_jitter_seed(seed.wrapping_add(self.pauses.into()));
        }

        self.pauses = self.pauses.saturating_add(1);
        // The builder always gives one pause, so the default never applies.
        builder.build().next().unwrap_or(pause)
    }
}

/// Returns the instant `time` after `now`.
///
/// A time of more than a year means no limit. It is shortened to a year, because the clock may not
/// be able to represent a later instant.
pub(super) fn saturating_instant(now: Instant, time: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(365 * 24 * 3_600);
    now + time.min(LONG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn backoff() -> Backoff {
        Backoff::new(&IngestOptions {
            jitter_seed: Some(1),
            ..IngestOptions::default()
        })
    }

    fn unavailable() -> Error {
        Error::new(ErrorKind::Unavailable, "unavailable on purpose")
    }

    fn pauses(backoff: &mut Backoff, now: Instant) -> Vec<Duration> {
        (0..8)
            .map(|_| backoff.record_failure(&unavailable(), now) - now)
            .collect()
    }

    #[test]
    fn pauses_double_up_to_the_maximum_and_reset_after_a_recovery() {
        let (mut backoff, now, options) = (backoff(), Instant::now(), IngestOptions::default());
        for _ in 0..2 {
            let mut least = options.initial_backoff;
            for pause in pauses(&mut backoff, now) {
                assert!(
                    pause >= least && pause <= least * 2,
                    "{pause:?} is not {least:?} and its random part"
                );
                least = (least * 2).min(options.max_backoff);
            }
            assert!(backoff.record_success() && !backoff.record_success());
        }
    }

    #[test]
    fn a_failure_lasts_from_the_first_error_on() {
        let (mut backoff, now) = (backoff(), Instant::now());
        let later = backoff.record_failure(&unavailable(), now);
        backoff.record_failure(&Error::new(ErrorKind::Denied, "denied"), later);
        assert!(
            backoff.failing.as_ref().is_some_and(|(since, error)| {
                *since == now && error.kind() == ErrorKind::Denied
            })
        );
    }
}
