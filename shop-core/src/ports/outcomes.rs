//! The outcomes of the recent calls of a port, which may fail while the check of the port succeeds.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;
use crate::{Blame, Error, Result};

/// The time during which the outcome of a call counts.
const WINDOW: Duration = Duration::from_secs(10);

/// The outcomes of the calls of a port in the last ten seconds.
///
/// The calls of a port may fail although its check succeeds. For example, a log with too few
/// replicas in sync can be reached, but accepts no purchase. A health check asks both.
#[derive(Debug, Default)]
pub struct RecentOutcomes {
    /// The time of the last call that succeeded.
    last_success: Mutex<Option<Instant>>,
    /// The last call that failed because of the port.
    last_failure: Mutex<Option<Failure>>,
}

/// A failed call: its time and its error.
#[derive(Debug, Clone)]
struct Failure {
    at: Instant,
    error: Error,
}

impl RecentOutcomes {
    /// Records the results of calls that ended together at the time `ended_at`, such as the results
    /// of a batch.
    ///
    /// One success shows that the port works. An error that is the fault of the caller, such as an
    /// invalid value, says nothing about the port, and is not recorded.
    pub fn record<T>(&self, ended_at: Instant, results: &[Result<T>]) {
        if results.iter().any(Result::is_ok) {
            *lock(&self.last_success) = Some(ended_at);
            return;
        }

        let mut errors = results.iter().filter_map(|result| result.as_ref().err());
        let port_error = errors.find(|error| error.kind().blame() != Blame::Caller);
        if let Some(error) = port_error {
            *lock(&self.last_failure) = Some(Failure {
                at: ended_at,
                error: error.clone(),
            });
        }
    }

    /// Returns whether calls failed in the last ten seconds, and no call succeeded.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failure().is_some()
    }

    /// Returns the last error, if calls failed in the last ten seconds, and no call succeeded.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        let is_recent = |at: Instant| at.elapsed() < WINDOW;
        if lock(&self.last_success).is_some_and(is_recent) {
            return None;
        }
        let failure = lock(&self.last_failure).clone()?;
        is_recent(failure.at).then_some(failure.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[tokio::test(start_paused = true)]
    async fn failures_count_until_the_first_success_and_for_ten_seconds() {
        let outcomes = RecentOutcomes::default();
        let note = async |seconds: u64, result: Result<()>| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            outcomes.record(Instant::now(), &[result]);
            outcomes.is_failing()
        };
        let failure = |kind| Err(Error::new(kind, "by hand"));
        assert!(!note(1, Ok(())).await);
        assert!(
            !note(5, failure(ErrorKind::Unavailable)).await,
            "a success is recent"
        );
        assert!(note(6, failure(ErrorKind::Unavailable)).await);
        assert!(!note(1, Ok(())).await);
        assert!(
            !note(11, failure(ErrorKind::TooLarge)).await,
            "due to the call"
        );
        assert!(note(1, failure(ErrorKind::Denied)).await);
        tokio::time::sleep(WINDOW).await;
        assert!(!outcomes.is_failing());
    }
}
