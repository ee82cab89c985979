//! Logs why requests fail: one line per cause and interval. An unavailable log or store fails thousands of requests per
//! second, and a line for each would fill the disk that may be the cause.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use shop_core::ErrorKind;
use tokio::time::Instant;
use tracing::Span;

use crate::response::error::FailedCall;

/// The time between two lines about the same cause.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// An operation, and the kind of its error.
type FailureCause = (&'static str, ErrorKind);

/// The lines of each cause: there are as many causes as operations and kinds together.
#[derive(Default)]
pub(crate) struct FailureLog {
    /// When the next line may be logged, and the number of failures since the last one.
    causes: Mutex<HashMap<FailureCause, (Instant, u64)>>,
}

impl FailureLog {
    /// Logs in the request's span why it failed, if a line of its cause is due. `call` is an extension of its response.
    pub(crate) fn note(&self, call: &FailedCall, request: &Span) {
        let operation = call.operation();
        if let Some(suppressed) = self.due(operation, call.error.kind()) {
            let error = call.error.chain();
            let outcome = call.error.outcome();
            tracing::warn!(parent: request, %error, ?outcome, operation, suppressed, "request failed");
        }
    }

    /// The number of failures of this cause since the last line, if a line is due now.
    fn due(&self, operation: &'static str, kind: ErrorKind) -> Option<u64> {
        let now = Instant::now();
        let mut causes = self.causes.lock();
        let (due, suppressed) = causes.entry((operation, kind)).or_insert((now, 0));
        if now < *due {
            *suppressed += 1;
            return None;
        }
        *due = now + INTERVAL;
        Some(std::mem::take(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cause_is_one_line_per_interval() {
        let log = FailureLog::default();
        let write = || log.due("write purchase", ErrorKind::Unavailable);
        assert_eq!(write(), Some(0));
        assert!((0..5_000).all(|_| write().is_none()));
        assert_eq!(
            log.due("query purchase", ErrorKind::Unavailable),
            Some(0),
            "another cause"
        );
        tokio::time::advance(INTERVAL).await;
        assert_eq!(write(), Some(5_000));
        assert_eq!(write(), None);
    }
}
