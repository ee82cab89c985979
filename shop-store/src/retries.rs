//! Retries of calls to a server.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder, Retryable as _};
use shop_core::{Error, Result};
use tokio::time::{Instant, sleep};

/// Returns an unlimited exponential backoff with jitter.
pub(crate) fn pauses(min: Duration, max: Duration) -> ExponentialBackoff {
    let builder = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(min)
        .with_max_delay(max);
    builder.without_max_times().build()
}

/// Repeats an idempotent call a few times, until `deadline`, while its error is one that `is_retryable`.
pub(crate) async fn retried<T, F>(
    deadline: Instant,
    is_retryable: fn(&Error) -> bool,
    call: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    // 0.35 s in total, and up to twice that with jitter.
    let policy = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(50));
    let in_time = |_: &Error, pause: Option<Duration>| {
        pause.filter(|pause| Instant::now() + *pause < deadline)
    };
    call.retry(policy.with_max_times(3))
        .sleep(sleep)
        .when(is_retryable)
        .adjust(in_time)
        .await
}
