//! Retries of calls to a server.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use shop_core::{Error, Result};
use tokio::time::{Instant, sleep};

/// Returns an unlimited exponential backoff with jitter.
pub(crate) fn pauses(min: Duration, max: Duration) -> ExponentialBackoff {
    let builder = ExponentialBuilder::new().with_jitter().with_min_delay(min).with_max_delay(max);
    builder.without_max_times().build()
}

/// Repeats an idempotent call a few times, until `deadline`, while its error is one that `is_retryable`.
pub(crate) async fn retried<T, F>(
    deadline: Instant,
    is_retryable: fn(&Error) -> bool,
    mut call: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    // 0.35 s in total, and up to twice that with jitter.
    let mut pauses = pauses(Duration::from_millis(50), Duration::from_secs(1)).take(3);
    loop {
        let result = call().await;
        let pause = match &result {
            Err(error) if is_retryable(error) => pauses.next(),
            _ => None,
        };
        match pause.filter(|pause| Instant::now() + *pause < deadline) {
            Some(pause) => sleep(pause).await,
            None => return result,
        }
    }
}
