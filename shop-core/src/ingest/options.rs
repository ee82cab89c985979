//! What an operator or an embedder may choose about the pipeline.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::{Clock, Error, Retry, SystemClock};

/// How the pipeline works. The defaults are right for nearly everybody.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IngestOptions {
    /// The most batches that are carried at a time, 8 unless chosen.
    pub in_flight: usize,
    /// The bytes of records in flight at which no more are read, 64 MiB unless chosen. The last batch read
    /// may go over it.
    pub in_flight_bytes: usize,
    /// The least time between two commits of a partition's position, 100 ms unless chosen. Positions that are
    /// to be given up are committed at once.
    pub commit_interval: Duration,
    /// How long a shutdown may take, 20 s unless chosen. What is still on its way after three quarters of that is
    /// given up; the last quarter is for committing what is durable.
    pub drain: Duration,
    /// The first pause after a transient error, 50 ms unless chosen; each further one is twice as long.
    pub retry_min: Duration,
    /// The longest pause after a transient error, 2 s unless chosen. Up to as much again is added at random,
    /// so that many members do not come back at the same moment.
    pub retry_max: Duration,
    /// What the random part of the pauses starts from; chosen at random unless given.
    pub jitter_seed: Option<u64>,
    /// When so many records are bad that going on would do more harm than stopping.
    pub dead_letter_limit: DeadLetterLimit,
    /// The time of day that tells how old a purchase is when it is stored.
    pub clock: Arc<dyn Clock>,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            in_flight: 8,
            in_flight_bytes: 64 << 20,
            commit_interval: Duration::from_millis(100),
            drain: Duration::from_secs(20),
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(2),
            jitter_seed: None,
            dead_letter_limit: DeadLetterLimit::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl IngestOptions {
    /// How long to wait after `error`: the next of `pauses`, or longer if the error asks for it.
    pub(super) fn pause(&self, pauses: &mut ExponentialBackoff, error: &Error) -> Duration {
        let least = if let Retry::After(least) = error.retry() { least } else { Duration::ZERO };
        pauses.next().unwrap_or(self.retry_max).max(least)
    }

    pub(super) fn backoff(&self) -> ExponentialBackoff {
        let builder = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(self.retry_min)
            .with_max_delay(self.retry_max)
            .without_max_times();
        match self.jitter_seed {
            Some(seed) => builder.with_jitter_seed(seed).build(),
            None => builder.build(),
        }
    }
}

/// When the pipeline stops rather than putting more records aside: a bad deployment shall not empty the log
/// into the dead letters. What is put aside of the batches that were read before the one that has reached the limit
/// comes on top of it, so that a restart goes on behind all of them.
///
/// A record counts once, when its letter was put, however often it is delivered. A
/// [conflict](crate::log::ReasonKind::Conflict) neither counts nor ends a row: clients make conflicts, they say nothing
/// of the deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterLimit {
    in_a_row: usize,
    setting: Option<&'static str>,
}

impl DeadLetterLimit {
    /// No limit: whatever cannot be stored is put aside.
    pub const OFF: Self = Self::in_a_row(0);

    /// Stops at so many dead letters in a row, or when half of the last ten times as many records were dead
    /// letters. 0 is [`OFF`](Self::OFF).
    #[must_use]
    pub const fn in_a_row(count: usize) -> Self {
        Self { in_a_row: count, setting: None }
    }

    /// The same limit, set by an operator under this name: whoever reads that it was reached knows what to change.
    #[must_use]
    pub const fn named(mut self, setting: &'static str) -> Self {
        self.setting = Some(setting);
        self
    }

    pub(super) const fn row(self) -> Option<usize> {
        if self.in_a_row == 0 { None } else { Some(self.in_a_row) }
    }

    /// The records that are looked back on, and how many dead letters among them are too many.
    pub(super) const fn window(self) -> (u64, usize) {
        let window = self.in_a_row.saturating_mul(10);
        (window as u64, window.div_ceil(2))
    }

    pub(super) const fn setting(self) -> Option<&'static str> {
        self.setting
    }
}

impl Default for DeadLetterLimit {
    /// 1,000 in a row, or half of 10,000.
    fn default() -> Self {
        Self::in_a_row(1_000)
    }
}
