//! The log lines about requests that fail: one line per cause and interval.
//!
//! An unavailable log or store fails thousands of requests per second, and a line for each would
//! fill the disk that may be the cause. The line says how many failures were not logged.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use shop_core::ErrorKind;
use tokio::time::Instant;
use tracing::Span;

use crate::response::error::FailedCall;

/// The minimum time between two lines about the same cause.
const INTERVAL: Duration = Duration::from_secs(10);

/// The cause of a failure: the operation that failed, and the kind of its error.
type FailureCause = (&'static str, ErrorKind);

/// The log of the failures of a service.
#[derive(Default)]
pub(crate) struct FailureLog {
    /// The state of each cause. There are at most as many as operations times kinds of errors.
    causes: Mutex<HashMap<FailureCause, CauseState>>,
}

/// The state of the lines about one cause.
struct CauseState {
    /// When the next line may be logged.
    due_at: Instant,
    /// The number of failures since the last line.
    suppressed: u64,
}

impl FailureLog {
    /// Logs why a request failed, if a line about the cause is due. Counts the failure if none is due.
    ///
    /// `failed_call` is the cause of the failure, and `request_span` is the span of the request.
    pub(crate) fn log_if_due(&self, failed_call: &FailedCall, request_span: &Span) {
        let operation = failed_call.operation();
        if let Some(suppressed) = self.take_suppressed(operation, failed_call.error.kind()) {
            let error = failed_call.error.chain();
            let outcome = failed_call.error.outcome();
            tracing::warn!(parent: request_span, %error, ?outcome, operation, suppressed, "request failed");
        }
    }

    /// Returns the number of failures of this cause since the last line, if a line is due now.
    ///
    /// Counts this failure as one without a line if none is due.
    fn take_suppressed(&self, operation: &'static str, kind: ErrorKind) -> Option<u64> {
        let now = Instant::now();
        let mut causes = self.causes.lock();
        let state = causes.entry((operation, kind)).or_insert(CauseState {
            due_at: now,
            suppressed: 0,
        });
        if now < state.due_at {
            state.suppressed += 1;
            return None;
        }

        state.due_at = now + INTERVAL;
        Some(std::mem::take(&mut state.suppressed))
    }
}
