//! What an operator or an embedder may choose about the pipeline.

use std::sync::Arc;
use std::time::Duration;

use crate::{Clock, SystemClock};

/// How the pipeline works. The defaults are right for nearly everybody.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IngestOptions {
    /// The maximum number of batches in flight (default 8).
    pub max_in_flight_batches: usize,
    /// The bytes of records in flight at which no more are read, by default 64 MiB. The last batch read
    /// may go over it.
    pub max_in_flight_bytes: usize,
    /// The least time between two commits of a partition's position, by default 100 ms. Positions that are
    /// to be given up are committed at once.
    pub commit_interval: Duration,
    /// How long a shutdown may take, by default 20 s. What is still in flight after three quarters of that is
    /// given up; the last quarter is for committing what is durable.
    pub drain_timeout: Duration,
    /// The first pause after a transient error, by default 50 ms; each further one is twice as long.
    pub initial_backoff: Duration,
    /// The longest pause after a transient error, by default 2 s. Up to as much again is added at random,
    /// so that many members do not come back at the same moment.
    pub max_backoff: Duration,
    /// What the random part of the pauses starts from; chosen at random unless given.
    pub jitter_seed: Option<u64>,
    /// When so many records are bad that going on would do more harm than stopping.
    pub dead_letter_limit: DeadLetterLimit,
    /// The clock that says how old a purchase is when it is stored.
    pub clock: Arc<dyn Clock>,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            max_in_flight_batches: 8,
            max_in_flight_bytes: 64 << 20,
            commit_interval: Duration::from_millis(100),
            drain_timeout: Duration::from_secs(20),
            initial_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
            jitter_seed: None,
            dead_letter_limit: DeadLetterLimit::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// When the pipeline stops rather than dead-lettering more records: a bad deployment shall not empty the log
/// into the dead letters. What is dead-lettered of the batches that were read before the one that has reached the limit
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
    /// No limit: whatever cannot be stored is dead-lettered.
    pub const OFF: Self = Self::consecutive(0);

    /// Stops at so many dead letters in a row, or when half of the last ten times as many records were dead
    /// letters. 0 is [`OFF`](Self::OFF).
    #[must_use]
    pub const fn consecutive(count: usize) -> Self {
        Self { in_a_row: count, setting: None }
    }

    /// The same limit, set by an operator under this name, which the error names when the limit is reached.
    #[must_use]
    pub const fn with_setting_name(mut self, setting: &'static str) -> Self {
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
        Self::consecutive(1_000)
    }
}
