//! Repeats calls to a server: with unlimited pauses for background tasks, and a few times within a
//! deadline for callers.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder, Retryable as _};
use shop_core::{Error, Result};
use tokio::time::{Instant, sleep};

/// The timeout of a check of a server. Callers such as probes wait for 2 s, so the error of a check
/// reaches them in time.
///
/// The tests of this crate run beside each other, and a busy machine may exceed the time of a probe.
/// They test the result of a check, and give it more time.
pub(crate) const CHECK_TIMEOUT: Duration = if cfg!(test) {
    Duration::from_secs(10)
} else {
    Duration::from_millis(1_800)
};

/// Returns an unlimited sequence of pauses for a background task that retries until it succeeds.
///
/// The pauses grow exponentially from `min` to `max`, with jitter.
pub fn pauses(min: Duration, max: Duration) -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(min)
        .with_max_delay(max)
        .without_max_times()
        .build()
}

/// Makes an idempotent call, and repeats it up to three times while it fails with an error that
/// `is_retryable`.
///
/// Does not repeat the call if the pause before the repetition would end after `deadline`. The call
/// itself must observe the deadline.
///
/// # Errors
/// The error of the last call.
pub(crate) async fn retry_until<T, F>(
    deadline: Instant,
    is_retryable: fn(&Error) -> bool,
    call: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    // The pauses are 50, 100 and 200 ms, 0.35 s in total, and up to twice as long with jitter.
    let policy = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(50))
        .with_max_times(3);

    call.retry(policy)
        .sleep(sleep)
        .when(is_retryable)
        // Returning no pause ends the repetitions.
        .adjust(|_: &Error, pause: Option<Duration>| {
            pause.filter(|pause| Instant::now() + *pause < deadline)
        })
        .await
}
