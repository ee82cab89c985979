//! Exponential backoff between attempts.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};

use super::IngestOptions;
use crate::Error;

/// When to retry a failing call, and since when it fails.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    /// The initial and the maximum pause, without jitter.
    initial: Duration,
    max: Duration,
    jitter_seed: Option<u64>,
    /// Pauses so far.
    pauses: u32,
    /// The call is not made before this instant.
    not_before: Option<Instant>,
    /// Since when the call fails, and its last error.
    failing: Option<(Instant, Error)>,
}

impl Backoff {
    pub(super) const fn new(options: &IngestOptions) -> Self {
        Self {
            initial: options.initial_backoff,
            max: options.max_backoff,
            jitter_seed: options.jitter_seed,
            pauses: 0,
            not_before: None,
            failing: None,
        }
    }

    /// The next pause: twice as long as the previous one, plus up to 100 % jitter.
    fn next_pause(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.pauses).unwrap_or(u32::MAX);
        let pause = self.initial.saturating_mul(factor).min(self.max);
        let builder = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(pause)
            .with_max_delay(pause);
        let builder = match self.jitter_seed {
            Some(seed) => builder.with_jitter_seed(seed.wrapping_add(self.pauses.into())),
            None => builder,
        };
        self.pauses = self.pauses.saturating_add(1);
        builder.build().next().unwrap_or(pause)
    }

    /// Records a failure. Returns when to retry: after the next pause, or later if the error requires it.
    pub(super) fn record_failure(&mut self, error: &Error, now: Instant) -> Instant {
        self.record_error(error, now);
        let min = error.retry_after().unwrap_or_default();
        let until = saturating_instant(now, self.next_pause().max(min));
        self.not_before = Some(until);
        until
    }

    /// Records a failure without changing when to retry.
    pub(super) fn record_error(&mut self, error: &Error, now: Instant) {
        let since = self.failing.as_ref().map_or(now, |(since, _)| *since);
        self.failing = Some((since, error.clone()));
    }

    /// Records a success. Returns whether the call was failing.
    pub(super) fn record_success(&mut self) -> bool {
        let was_failing = self.failing.take().is_some();
        if was_failing {
            self.pauses = 0;
        }
        was_failing
    }

    /// Sets the earliest time of the next call.
    pub(super) const fn wait_until(&mut self, at: Instant) {
        self.not_before = Some(at);
    }

    /// Allows the call at once and resets the pauses. A failure stays recorded.
    pub(super) const fn retry_now(&mut self) {
        self.not_before = None;
        self.pauses = 0;
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    pub(super) const fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// When a call that waits without an error counts as healthy again.
    pub(super) fn healthy_at(&self) -> Option<Instant> {
        let from = self.failing.as_ref().and(self.not_before)?;
        Some(saturating_instant(from, self.max))
    }

    /// Since when the call fails, and its last error.
    pub(super) const fn failing(&self) -> Option<&(Instant, Error)> {
        self.failing.as_ref()
    }
}

/// The instant `time` after `now`. A time that the clock cannot represent means no limit.
pub(super) fn saturating_instant(now: Instant, time: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(365 * 24 * 3_600);
    now + time.min(LONG)
}

#[cfg(test)]
mod tests {
    use std::hash::{Hash, Hasher};

    use super::*;
    use crate::{ErrorKind, Retry};

    impl Hash for Backoff {
        fn hash<H: Hasher>(&self, state: &mut H) {
            let since = self.failing.as_ref().map(|(since, _)| since);
            (self.pauses, self.not_before, since).hash(state);
        }
    }

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
    fn retry_after_lengthens_the_next_pause() {
        let (mut backoff, now, long) = (backoff(), Instant::now(), Duration::from_secs(30));
        let until = backoff.record_failure(&unavailable().with_retry(Retry::After(long)), now);
        assert_eq!(until, now + long);
        assert!(!backoff.is_due(now) && backoff.is_due(until));
        assert_eq!(
            backoff.healthy_at(),
            Some(until + IngestOptions::default().max_backoff)
        );
        backoff.retry_now();
        assert!(backoff.is_due(now) && backoff.failing().is_some());
    }

    #[test]
    fn a_failure_lasts_from_the_first_error_on() {
        let (mut backoff, now) = (backoff(), Instant::now());
        let later = backoff.record_failure(&unavailable(), now);
        backoff.record_failure(&Error::new(ErrorKind::Denied, "denied"), later);
        assert!(
            backoff.failing().is_some_and(|(since, error)| {
                *since == now && error.kind() == ErrorKind::Denied
            })
        );
    }
}
