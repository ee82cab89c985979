//! How failed calls are repeated: with pauses, within a deadline, on a budget.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder, Retryable};
use tokio::time::{Instant, sleep};
use tower::retry::budget::{Budget, TpsBudget};

use crate::{Error, Outcome, Result};

/// How failed calls are repeated.
///
/// Only what is safe is repeated: a question, or what has the same key on every attempt, as a buy has; and only what may
/// succeed: the service was away or slow, or asked to be left alone for a while. Then the pause is no shorter than its
/// `Retry-After`.
///
/// The budget is shared by all clones of a client. It stops repetitions from multiplying the load of a service that is
/// down: once it is spent, a failed call is told at once.
///
/// ```
/// use std::time::Duration;
///
/// use shop_client::{RetryPolicy, ShopClient};
///
/// # fn example() -> Result<(), shop_client::Error> {
/// let patient = RetryPolicy::default()
///     .within(Duration::from_secs(60))
///     .pauses(Duration::from_millis(50), Duration::from_secs(10))
///     .budget(50, 0.5);
/// let client = ShopClient::builder("http://localhost:3000").retries(patient).build()?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// `None`: nothing is repeated.
    deadline: Option<Duration>,
    first_pause: Duration,
    longest_pause: Duration,
    per_second: u32,
    share: f32,
    jitter_seed: Option<u64>,
}

/// The time over which the budget is reckoned.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

impl Default for RetryPolicy {
    /// Within 20 s, with pauses from 100 ms to 5 s, and a budget of 10 repetitions a second and one for every
    /// five calls (the figures of `tower` and of `reqwest`).
    fn default() -> Self {
        Self {
            deadline: Some(Duration::from_secs(20)),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            per_second: 10,
            share: 0.2,
            jitter_seed: None,
        }
    }
}

impl RetryPolicy {
    /// Every call is made once: for a program between another client, which repeats, and the service.
    ///
    /// ```
    /// use shop_client::{RetryPolicy, ShopClient};
    ///
    /// let client = ShopClient::builder("http://localhost:3000").retries(RetryPolicy::none()).build();
    /// assert!(client.is_ok());
    /// ```
    #[must_use]
    pub fn none() -> Self {
        Self { deadline: None, ..Self::default() }
    }

    /// How long one call may take with all its repetitions and pauses. The last attempt is cut off by it.
    #[must_use]
    pub const fn total_timeout(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The pause after the first attempt, and the longest: each is twice the one before. Up to as much again is
    /// added at random, so that many clients do not come back at the same moment.
    #[must_use]
    pub const fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.first_pause, self.longest_pause) = (first, longest);
        self
    }

    /// So many repetitions a second on average of 10 s, and besides them for each call `share` of one (0 to 1,000).
    #[must_use]
    pub const fn budget(mut self, per_second: u32, share: f32) -> Self {
        (self.per_second, self.share) = (per_second, share);
        self
    }

    /// What the random part of the pauses starts from, for tests; chosen at random unless given.
    #[must_use]
    pub const fn jitter_seed(mut self, seed: u64) -> Self {
        self.jitter_seed = Some(seed);
        self
    }

    fn delays(&self) -> ExponentialBackoff {
        let builder = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause.max(self.first_pause))
            .without_max_times();
        match self.jitter_seed {
            Some(seed) => builder.with_jitter_seed(seed).build(),
            None => builder.build(),
        }
    }
}

/// Repeats calls.
#[derive(Debug)]
pub(crate) struct Retrier {
    options: RetryPolicy,
    budget: TpsBudget,
}

impl Retrier {
    pub(crate) fn new(options: RetryPolicy) -> Self {
        // What the budget would panic at.
        let share = if options.share.is_nan() { 0.0 } else { options.share.clamp(0.0, 1_000.0) };
        let per_second = options.per_second.min(1_000_000);
        Self { budget: TpsBudget::new(BUDGET_WINDOW, per_second, share), options }
    }

    /// What comes of `attempt`, which is told how long it may take at most.
    pub(crate) async fn run<T, A, F>(&self, mut attempt: A) -> Result<T>
    where
        A: FnMut(Duration) -> F,
        F: Future<Output = Result<T>>,
    {
        let Some(deadline) = self.options.deadline else {
            return attempt(Duration::MAX).await.map_err(|error| error.with_attempts(1));
        };
        self.budget.deposit();
        let start = Instant::now();
        let left = || deadline.saturating_sub(start.elapsed());
        let (mut attempts, mut unknown) = (0, false);
        let result = (|| attempt(left()))
            .retry(self.options.delays())
            .sleep(sleep)
            .when(|error: &Error| {
                attempts += 1;
                unknown |= error.outcome() == Outcome::Unknown;
                error.is_retryable()
            })
            .adjust(|error, pause| {
                let pause = pause?.max(error.retry_after().unwrap_or_default());
                if pause >= left() {
                    return None;
                }
                if !self.budget.withdraw() {
                    tracing::debug!("the budget of repetitions is spent");
                    return None;
                }
                Some(pause)
            })
            .notify(|error, pause| tracing::debug!(%error, ?pause, "tries again"))
            .await;
        result.map_err(|error| {
            // What an earlier attempt may have done, a refusal of the last one does not undo.
            let error = if unknown { error.with_outcome(Outcome::Unknown) } else { error };
            error.with_attempts(attempts)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, Retry};

    /// What became of a call whose attempts fail with `errors`, one after the other, and the attempts.
    async fn call(retrier: &Retrier, errors: &[Error]) -> (Result<()>, usize) {
        let mut attempts = 0;
        let result = retrier
            .run(|_left| {
                attempts += 1;
                std::future::ready(errors.get(attempts - 1).cloned().map_or(Ok(()), Err))
            })
            .await;
        (result, attempts)
    }

    fn away() -> Error {
        Error::new(ErrorKind::Unavailable, "away").with_outcome(Outcome::NotApplied)
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_succeed_is_repeated_and_nothing_else() {
        let retrier = Retrier::new(RetryPolicy::default());
        let (result, attempts) = call(&retrier, &[away(), away()]).await;
        assert!(result.is_ok());
        assert_eq!(attempts, 3);
        let (result, attempts) = call(&retrier, &[Error::new(ErrorKind::Conflict, "taken")]).await;
        assert_eq!((result.unwrap_err().kind(), attempts), (ErrorKind::Conflict, 1));
        let (result, attempts) = call(&Retrier::new(RetryPolicy::none()), &[away()]).await;
        assert_eq!((result.unwrap_err().attempts(), attempts), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end_with_the_deadline() {
        let retrier = Retrier::new(RetryPolicy::default().total_timeout(Duration::from_secs(10)));
        let start = Instant::now();
        let (result, attempts) = call(&retrier, &vec![away(); 100]).await;
        assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
        // 0.1 to 0.2 s, 0.2 to 0.4 s, and so on.
        assert!((5..=8).contains(&attempts), "{attempts}");
        assert_eq!(result.unwrap_err().attempts() as usize, attempts);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_to_be_left_alone_is() {
        let retrier = Retrier::new(RetryPolicy::default());
        let busy = |seconds| away().with_retry(Retry::After(Duration::from_secs(seconds)));
        let start = Instant::now();
        assert!(call(&retrier, &[busy(7)]).await.0.is_ok());
        assert_eq!(start.elapsed().as_secs(), 7);
        // For longer than there is: nobody waits in vain.
        let start = Instant::now();
        let (result, attempts) = call(&retrier, &[busy(30)]).await;
        assert_eq!((result.unwrap_err().retry_after(), attempts), (Some(Duration::from_secs(30)), 1));
        assert!(start.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn a_spent_budget_stops_repetitions_until_calls_have_earned_it_anew() {
        let retrier = Retrier::new(RetryPolicy::default().budget(0, 0.5));
        // Two calls earn one repetition.
        assert_eq!(call(&retrier, &[away(), away()]).await.1, 1);
        assert_eq!(call(&retrier, &[away(), away()]).await.1, 2);
        assert_eq!(call(&retrier, &[]).await.1, 1);
        assert_eq!(call(&retrier, &[away()]).await.1, 2);
        // Odd figures are no reason to panic.
        for share in [f32::NAN, -1.0, f32::INFINITY] {
            Retrier::new(RetryPolicy::default().budget(u32::MAX, share));
        }
        let longest =
            RetryPolicy::default().total_timeout(Duration::MAX).backoff(Duration::MAX, Duration::MAX);
        assert_eq!(call(&Retrier::new(longest), &[away(), away()]).await.1, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_attempt_may_have_done_no_other_undoes() {
        let lost = Error::new(ErrorKind::DeadlineExceeded, "late");
        let refused = Error::new(ErrorKind::Conflict, "taken");
        let error = call(&Retrier::new(RetryPolicy::default()), &[lost, refused]).await.0.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Conflict, Outcome::Unknown));
    }
}
