//! The outcomes of the recent calls of a port, whose check may succeed while they fail.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;
use crate::{ErrorKind, Result};

/// How long the outcome of a call counts.
const WINDOW: Duration = Duration::from_secs(10);

/// The outcomes of the calls of a port in the last ten seconds. A port whose check succeeds may still fail what callers
/// ask of it, such as a log of which too few replicas are in sync.
#[derive(Debug, Default)]
pub struct RecentOutcomes {
    last_success: Mutex<Option<Instant>>,
    last_failure: Mutex<Option<Instant>>,
}

impl RecentOutcomes {
    /// Notes the results of calls that have ended at the same time. An error that is due to the call, such as an invalid
    /// value, says nothing of the port.
    pub fn record<T>(&self, results: &[Result<T>]) {
        let has_failed = |result: &Result<T>| {
            let Err(error) = result else { return false };
            error.is_retryable() || matches!(error.kind(), ErrorKind::Denied | ErrorKind::Internal)
        };
        if results.iter().any(Result::is_ok) {
            *lock(&self.last_success) = Some(Instant::now());
        } else if results.iter().any(has_failed) {
            *lock(&self.last_failure) = Some(Instant::now());
        }
    }

    /// Whether calls have failed in the last ten seconds, and none has succeeded.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        is_recent(&self.last_failure) && !is_recent(&self.last_success)
    }
}

fn is_recent(time: &Mutex<Option<Instant>>) -> bool {
    lock(time).is_some_and(|at| at.elapsed() < WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[tokio::test(start_paused = true)]
    async fn failures_count_until_the_first_success_and_for_ten_seconds() {
        let outcomes = RecentOutcomes::default();
        let note = async |seconds: u64, result: Result<()>| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            outcomes.record(&[result]);
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
