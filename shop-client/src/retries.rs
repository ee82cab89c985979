//! Retries of failed calls, with backoff, a total time-out and a budget.
//!
//! [`RetryPolicy::run`] repeats the attempts of one call. Four things end the retries: a permanent
//! error, the maximum number of attempts, the time-out of the call, and a spent budget. The
//! budget belongs to a client and all its clones, everything else to the policy of the call.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};
use tower::retry::budget::{Budget, TpsBudget};

use crate::{Error, Outcome, Result};

/// The policy by which failed calls are retried.
///
/// Only safe calls are retried: queries, and writes, which send the same key on every attempt. And
/// only errors that may pass are retried: the service was unavailable, slow or overloaded. A pause
/// is never shorter than the service's `Retry-After`.
///
/// All clones of a client share the budget. The budget prevents retries from multiplying the load
/// of a failing service: once the budget is spent, failed calls return at once.
///
/// ```
/// use std::time::Duration;
///
/// use shop_client::{RetryPolicy, ShopClient};
///
/// # fn example() -> Result<(), shop_client::Error> {
/// let patient = RetryPolicy::default()
///     .total_timeout(Duration::from_secs(60))
///     .backoff(Duration::from_millis(50), Duration::from_secs(10))
///     .budget(50, 0.5);
/// let client = ShopClient::builder("http://localhost:3000").retries(patient).build()?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// The maximum duration of a call, or `None` to disable retries.
    total_timeout: Option<Duration>,
    /// The maximum duration of a call of one client, in place of the total time-out. Setting it does
    /// not enable retries.
    pub(crate) timeout: Option<Duration>,
    first_pause: Duration,
    longest_pause: Duration,
    max_attempts: u32,
    /// The retries that the budget allows per second, whatever the number of calls.
    per_second: u32,
    /// The retries that each call adds to the budget.
    retries_per_call: f32,
}

/// The time over which the budget is averaged.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

impl Default for RetryPolicy {
    /// Returns a policy with a total of 20 s, pauses from 100 ms to 5 s, and a budget of 10 retries
    /// per second plus one for every five calls, which are the figures of `tower` and `reqwest`.
    fn default() -> Self {
        Self {
            total_timeout: Some(Duration::from_secs(20)),
            timeout: None,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            max_attempts: u32::MAX,
            per_second: 10,
            retries_per_call: 0.2,
        }
    }
}

/// Converts a maximum number of retries, as most clients define it, to the default policy with this
/// maximum.
impl From<u32> for RetryPolicy {
    fn from(retries: u32) -> Self {
        Self::default().max_attempts(retries.saturating_add(1))
    }
}

impl RetryPolicy {
    /// Returns a policy that disables retries, for a program behind another client that retries.
    ///
    /// ```
    /// use shop_client::{RetryPolicy, ShopClient};
    ///
    /// let client = ShopClient::builder("http://localhost:3000").retries(RetryPolicy::none()).build();
    /// assert!(client.is_ok());
    /// ```
    #[must_use]
    pub fn none() -> Self {
        Self::default().without_retries()
    }

    /// Sets the maximum duration of a call with all retries and pauses (default 20 s). The last
    /// attempt is cut off by this time-out.
    #[must_use]
    pub const fn total_timeout(mut self, time: Duration) -> Self {
        self.total_timeout = Some(time);
        self
    }

    /// Sets the pause after the first attempt, and the maximum pause before the random part is
    /// added (default 100 ms and 5 s).
    ///
    /// Each pause is twice as long as the previous one, plus up to as much again at random, so that
    /// many clients do not retry at the same moment.
    #[must_use]
    pub const fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// Sets the maximum number of attempts, including the first one (default: as many as there is
    /// time and budget for). With 1, nothing is retried.
    ///
    /// ```
    /// use shop_client::{RetryPolicy, ShopClient};
    ///
    /// let policy = RetryPolicy::default().max_attempts(3);
    /// assert!(ShopClient::builder("http://localhost:3000").retries(policy).build().is_ok());
    /// ```
    #[must_use]
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the budget: `per_second` retries per second, averaged over 10 s, plus `share` of a
    /// retry for each call, from 0 to 1,000 (default 10 and 0.2).
    #[must_use]
    pub const fn budget(mut self, per_second: u32, share: f32) -> Self {
        self.per_second = per_second;
        self.retries_per_call = share;
        self
    }

    /// Disables retries. The total time-out no longer applies.
    pub(crate) const fn without_retries(mut self) -> Self {
        self.total_timeout = None;
        self
    }

    /// Returns the maximum duration of a call with all attempts and pauses.
    ///
    /// Without retries and without a time-out, it is `attempt_timeout`, because the call makes only
    /// one attempt.
    pub(crate) fn max_call_duration(&self, attempt_timeout: Duration) -> Duration {
        self.timeout
            .or(self.total_timeout)
            .unwrap_or(attempt_timeout)
    }

    /// Returns whether calls are retried.
    pub(crate) const fn is_enabled(&self) -> bool {
        self.total_timeout.is_some()
    }

    /// Returns the pauses of a call, one for each retry.
    pub(crate) fn delays(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause.max(self.first_pause))
            .with_max_times(self.max_attempts.saturating_sub(1) as usize)
            .build()
    }

    /// Creates the budget that a client shares with its clones.
    pub(crate) fn new_budget(&self) -> TpsBudget {
        // Values outside of these ranges would make the budget panic. The maximum of NaN and 0 is
        // 0.
        let retries_per_call = self.retries_per_call.max(0.0);
        TpsBudget::new(
            BUDGET_WINDOW,
            self.per_second.min(1_000_000),
            retries_per_call.min(1_000.0),
        )
    }

    /// Runs `attempt` until an attempt succeeds or must not be retried. Returns the result of the
    /// last attempt, and the number of attempts.
    ///
    /// The argument of `attempt` is the time left for the call. `before_pause` is called before each
    /// retry, with the error, the number of attempts so far, and the pause.
    ///
    /// The outcome of an error is unknown if the outcome of any attempt is unknown.
    pub(crate) async fn run<T, F: Future<Output = Result<T>>>(
        &self,
        budget: &TpsBudget,
        mut attempt: impl FnMut(Duration) -> F,
        before_pause: impl Fn(&Error, u32, Duration),
    ) -> (Result<T>, u32) {
        let start = Instant::now();
        let time_limit = self.max_call_duration(Duration::MAX);
        if !self.is_enabled() {
            return (attempt(time_limit).await, 1);
        }

        budget.deposit();
        let time_left = || time_limit.saturating_sub(start.elapsed());
        let mut delays = self.delays();
        let mut attempts = 0;
        let mut may_be_applied = false;
        loop {
            attempts += 1;
            let mut error = match attempt(time_left()).await {
                Ok(value) => return (Ok(value), attempts),
                Err(error) => error,
            };
            may_be_applied |= error.outcome() == Outcome::Unknown;

            let Some(pause) = next_pause(&error, &mut delays, time_left(), budget) else {
                // A failed last attempt does not undo an earlier one that may have taken effect.
                if may_be_applied {
                    error = error.with_outcome(Outcome::Unknown);
                }
                return (Err(error), attempts);
            };
            tracing::debug!(%error, ?pause, "retrying");
            before_pause(&error, attempts, pause);
            sleep(pause).await;
        }
    }
}

/// Returns the pause before the next attempt, and withdraws one retry from the budget.
///
/// Returns `None` if there is no further attempt: the error is permanent, the maximum number of
/// attempts is reached, the pause would not end within `time_left`, or the budget is spent.
fn next_pause(
    error: &Error,
    delays: &mut ExponentialBackoff,
    time_left: Duration,
    budget: &TpsBudget,
) -> Option<Duration> {
    if !error.is_retryable() {
        return None;
    }
    // The service may ask for a longer pause. Without a `Retry-After`, it asks for none.
    let requested_pause = error.retry_after().unwrap_or_default();
    let pause = delays.next()?.max(requested_pause);
    if pause >= time_left {
        return None;
    }
    if !budget.withdraw() {
        tracing::debug!("retry budget spent");
        return None;
    }
    Some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, Retry};

    /// The calls of a client, which share its budget.
    struct Calls {
        policy: RetryPolicy,
        budget: TpsBudget,
    }

    impl Calls {
        fn of(policy: RetryPolicy) -> Self {
            let budget = policy.new_budget();
            Self { policy, budget }
        }

        /// The result of a call whose attempts fail with `errors`, and the number of attempts.
        async fn call(&self, errors: &[Error]) -> (Result<()>, u32) {
            let mut begun = 0;
            let attempt = |_left| {
                begun += 1;
                std::future::ready(errors.get(begun - 1).cloned().map_or(Ok(()), Err))
            };
            let (result, attempts) = self.policy.run(&self.budget, attempt, |_, _, _| {}).await;
            assert_eq!(attempts as usize, begun);
            (result, attempts)
        }
    }

    fn unavailable() -> Error {
        Error::new(ErrorKind::Unavailable, "unavailable").with_outcome(Outcome::NotApplied)
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end_by_their_number_or_by_the_time() {
        let seconds = Duration::from_secs;
        let total = |time| RetryPolicy::default().total_timeout(seconds(time));
        let with_timeout = |time, policy| RetryPolicy {
            timeout: Some(seconds(time)),
            ..policy
        };
        // The pauses are 0.1 to 0.2 s, 0.2 to 0.4 s, and so on.
        for (policy, attempts, limit) in [
            (RetryPolicy::default().max_attempts(0), 1..=1, 0),
            (RetryPolicy::default().max_attempts(1), 1..=1, 0),
            (RetryPolicy::default().max_attempts(4), 4..=4, 2),
            (total(10), 5..=8, 10),
            // A time-out replaces the total time-out, and enables nothing.
            (with_timeout(1, total(3)), 3..=4, 1),
            (with_timeout(10, total(3)), 5..=8, 10),
            (with_timeout(60, RetryPolicy::none()), 1..=1, 0),
        ] {
            let start = Instant::now();
            let calls = Calls::of(policy);
            let (result, count) = calls.call(&vec![unavailable(); 100]).await;
            assert!(
                result.is_err() && attempts.contains(&count),
                "{:?}: {count}",
                calls.policy
            );
            assert!(start.elapsed() <= seconds(limit), "{:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_lengthens_the_pause() {
        let calls = Calls::of(RetryPolicy::default());
        let busy = |seconds| unavailable().with_retry(Retry::After(Duration::from_secs(seconds)));
        let start = Instant::now();
        assert!(calls.call(&[busy(7)]).await.0.is_ok());
        assert_eq!(start.elapsed().as_secs(), 7);
        // Longer than the total time-out.
        let (result, attempts) = calls.call(&[busy(30)]).await;
        let pause = result.unwrap_err().retry_after();
        assert_eq!((pause, attempts), (Some(Duration::from_secs(30)), 1));
        assert_eq!(start.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_spent_budget_stops_retries_until_calls_refill_it() {
        let calls = Calls::of(RetryPolicy::default().budget(0, 0.5));
        // Two calls earn one retry.
        for (errors, attempts) in [(2, 1), (2, 2), (0, 1), (1, 2)] {
            assert_eq!(calls.call(&vec![unavailable(); errors]).await.1, attempts);
        }
        // Out-of-range values do not panic.
        for share in [f32::NAN, -1.0, f32::INFINITY] {
            Calls::of(RetryPolicy::default().budget(u32::MAX, share));
        }
        let longest = RetryPolicy::default()
            .total_timeout(Duration::MAX)
            .backoff(Duration::MAX, Duration::MAX);
        assert_eq!(Calls::of(longest).call(&[unavailable()]).await.1, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_outcome_is_kept() {
        let lost = Error::new(ErrorKind::DeadlineExceeded, "late");
        let refused = Error::new(ErrorKind::Conflict, "taken");
        let calls = Calls::of(RetryPolicy::default());
        let error = calls.call(&[lost, refused]).await.0.unwrap_err();
        let found = (error.kind(), error.outcome());
        assert_eq!(found, (ErrorKind::Conflict, Outcome::Unknown));
    }
}
