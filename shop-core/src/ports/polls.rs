//! [`Polls`]: the pauses of a wait for something that is stored soon.

use std::future::pending;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep, timeout};

/// The first pause, which is short because a purchase usually is stored soon. Each further pause is
/// twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// The pauses between the look-ups of a wait that has a time limit: 2 ms at first, then each twice
/// as long as the one before, up to 50 ms.
///
/// The caller looks up at least once, and a last time when the time is over:
///
/// ```
/// use shop_core::ports::{Polls, PurchaseQuery};
/// use shop_core::{PurchaseId, Result};
/// use tokio::time::Instant;
///
/// async fn is_stored(query: &dyn PurchaseQuery, id: &PurchaseId, until: Instant) -> Result<bool> {
///     let mut polls = Polls::until(until);
///     loop {
///         if query.look_up(id).await?.stored().is_some() {
///             return Ok(true);
///         }
///         if !polls.pause().await {
///             return Ok(false);
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Polls {
    deadline: Instant,
    pauses: ExponentialBackoff,
}

impl Polls {
    /// Creates the pauses of a wait that ends at `deadline`.
    #[must_use]
    pub fn until(deadline: Instant) -> Self {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(MAX_PAUSE)
            .without_max_times()
            .build();
        Self { deadline, pauses }
    }

    /// Returns the time that is left.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Pauses before the next look-up. Returns `false` at once if the time is over, so that there is
    /// no further look-up.
    pub async fn pause(&mut self) -> bool {
        self.pause_unless(Duration::ZERO, pending()).await
    }

    /// Pauses before the next look-up, as [`pause`](Self::pause) does. The pause ends early when
    /// `event` completes, but takes at least `min_pause`.
    ///
    /// Returns `false` at once if the time is over, so that there is no further look-up.
    ///
    /// Many concurrent waits would overload the store. So their caller passes a `min_pause` that
    /// grows with the number of waits.
    pub async fn pause_unless(
        &mut self,
        min_pause: Duration,
        event: impl Future<Output = ()>,
    ) -> bool {
        let time_left = self.time_left();
        if time_left.is_zero() {
            return false;
        }

        let pause = self.pauses.next().unwrap_or(MAX_PAUSE).min(time_left);
        let min_pause = min_pause.min(time_left);
        if !min_pause.is_zero() {
            sleep(min_pause).await;
        }
        // The caller looks up again in either case: after the event, and after the pause.
        let _elapsed = timeout(pause.saturating_sub(min_pause), event).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts that `actual` milliseconds are `expected`, as far as timers are exact: each of them may
    /// be one late.
    fn assert_close(actual: u128, expected: u128, what: &str) {
        assert!(
            (expected..=expected + 8).contains(&actual),
            "{what}: {actual}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end_with_the_time_or_an_event() {
        let start = Instant::now();
        let millis = |since: Instant| since.elapsed().as_millis();
        let mut polls = Polls::until(start + Duration::from_millis(200));
        for end in [2, 6, 14, 30, 62, 112, 162, 200] {
            assert!(polls.pause().await);
            assert_close(millis(start), end, "twice as long, up to 50 ms");
        }
        assert!(!polls.pause().await, "the time is over");

        let start = Instant::now();
        let mut polls = Polls::until(start + Duration::from_secs(1));
        let least = Duration::from_millis(70);
        assert!(polls.pause_unless(Duration::ZERO, async {}).await);
        assert_close(millis(start), 0, "an event ends the pause");
        assert!(polls.pause_unless(least, async {}).await);
        assert_close(
            millis(start),
            70,
            "an event does not shorten the least pause",
        );
        assert!(polls.pause_unless(least, pending()).await);
        assert_close(millis(start), 140, "the least pause contains the other one");
    }
}
