//! The options of the pipeline.

use std::sync::Arc;
use std::time::Duration;

use crate::{Clock, SystemClock, options};

options! {
    /// Options of an [`Ingest`](super::Ingest). The defaults suit nearly all deployments.
    #[derive(Debug, Clone)]
    pub struct IngestOptions {
        /// The maximum number of batches in flight (default 8).
        pub max_in_flight_batches: usize = 8,
        /// The bytes of records in flight at which reading pauses (default 64 MiB). The last batch
        /// may exceed it.
        pub max_in_flight_bytes: usize = 64 << 20,
        /// The minimum time between two commits of a partition (default 100 ms). Positions of
        /// revoked partitions are committed at once.
        pub commit_interval: Duration = Duration::from_millis(100),
        /// The maximum duration of a shutdown (default 20 s). Batches still in flight after three
        /// quarters of this time are abandoned; the last quarter is reserved for the commit.
        pub drain_timeout: Duration = Duration::from_secs(20),
        /// The first pause after a transient error (default 50 ms). Each further pause is twice as
        /// long.
        pub initial_backoff: Duration = Duration::from_millis(50),
        /// The maximum pause after a transient error (default 2 s). Up to 100 % jitter is added, so
        /// members do not retry simultaneously.
        pub max_backoff: Duration = Duration::from_secs(2),
        /// The seed of the jitter, for reproducible tests; random by default.
        pub jitter_seed: Option<u64> = None,
        /// The number of dead letters at which the pipeline stops.
        pub dead_letter_limit: DeadLetterLimit = DeadLetterLimit::default(),
        /// The clock that determines the age of a purchase at insertion.
        pub clock: Arc<dyn Clock> = Arc::new(SystemClock),
    }
}

/// The limit of dead letters, at which the pipeline stops instead of dead-lettering more records.
///
/// The limit exists so that a bad deployment does not turn the whole log into dead letters. Batches
/// that were read before the one that reached the limit are still dead-lettered; a restart
/// continues after all these batches.
///
/// A record counts once, when its dead letter was put, however often it is redelivered. A
/// [conflict](crate::log::ReasonKind::Conflict) neither counts nor ends a row of dead letters,
/// because conflicts are caused by clients. The same holds for the refund of a purchase that is not
/// stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterLimit {
    /// The number of dead letters in a row at which the pipeline stops; 0 without a limit.
    max_consecutive_count: usize,
    /// The name of the setting that an operator changes, if it is known. The error names it.
    pub(super) setting: Option<&'static str>,
}

impl DeadLetterLimit {
    /// No limit.
    pub const OFF: Self = Self::consecutive(0);

    /// Creates a limit of `count` consecutive dead letters, or of half of the last `10 * count`
    /// records.
    ///
    /// The pipeline stops at whichever is reached first. 0 is [`OFF`](Self::OFF).
    #[must_use]
    pub const fn consecutive(count: usize) -> Self {
        Self {
            max_consecutive_count: count,
            setting: None,
        }
    }

    /// Returns this limit with the name of the setting that an operator changes.
    ///
    /// The error that stops the pipeline names the setting.
    #[must_use]
    pub const fn with_setting_name(mut self, setting: &'static str) -> Self {
        self.setting = Some(setting);
        self
    }

    /// Returns the number of dead letters in a row at which the pipeline stops, or `None` without a
    /// limit.
    pub(super) fn max_consecutive(self) -> Option<usize> {
        (self.max_consecutive_count > 0).then_some(self.max_consecutive_count)
    }

    /// Returns the number of records in the window.
    pub(super) const fn window_size(self) -> u64 {
        self.max_consecutive_count.saturating_mul(10) as u64
    }

    /// Returns the number of dead letters in the window at which the pipeline stops.
    pub(super) const fn max_in_window(self) -> usize {
        self.max_consecutive_count.saturating_mul(10).div_ceil(2)
    }
}

impl Default for DeadLetterLimit {
    /// Returns the limit of 1,000 consecutive dead letters, or of half of 10,000 records.
    fn default() -> Self {
        Self::consecutive(1_000)
    }
}
