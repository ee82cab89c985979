//! How many requests per second one client may send.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use governor::clock::{Clock, MonotonicClock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::options::HttpOptions;
use crate::response::{HttpError, HttpResult};

/// The maximum of clients that are remembered, about 6 MB. Beyond it, the others share the rates of [`SHARED`] clients.
const MAX_CLIENTS: usize = 1 << 16;
const SHARED: u64 = 1 << 10;

/// What a client may still send, and may send per second.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The rates of a service. Clients are counted in this process alone.
pub(crate) struct Rates {
    writes: Option<Limiter<MonotonicClock>>,
    reads: Option<Limiter<MonotonicClock>>,
}

impl Rates {
    /// The rates of `options`; `None` if there are none.
    pub(crate) fn new(options: &HttpOptions) -> Option<Self> {
        let limiter =
            |rate: Option<NonZeroU32>| rate.map(|rate| Limiter::new(rate, MonotonicClock));
        let rates = Self {
            writes: limiter(options.rate_writes),
            reads: limiter(options.rate_reads),
        };
        (rates.writes.is_some() || rates.reads.is_some()).then_some(rates)
    }

    /// Counts a request of `client`. Returns how many more it may send now, if there is a rate.
    pub(crate) fn check(&self, client: u64, writes: bool) -> HttpResult<Option<u32>> {
        self.check_many(client, writes, NonZeroU32::MIN)
    }

    fn check_many(&self, client: u64, writes: bool, count: NonZeroU32) -> HttpResult<Option<u32>> {
        let Some(limiter) = self.limiter(writes) else {
            return Ok(None);
        };
        let exceeded =
            |retry_after| HttpError::rate_exceeded(limiter.rate.get(), retry_after, writes);
        limiter.check(client, count).map(Some).map_err(exceeded)
    }

    /// The maximum number of purchases in a batch: those of a second.
    pub(crate) fn max_purchases(&self) -> usize {
        let rate = self
            .writes
            .as_ref()
            .map_or(u32::MAX, |limiter| limiter.rate.get());
        usize::try_from(rate).unwrap_or(usize::MAX)
    }

    /// Counts the purchases of a batch of `client`, which itself was counted as one write.
    ///
    /// # Errors
    /// When they are more than the client may send now.
    pub(crate) fn check_purchases(&self, client: u64, count: usize) -> HttpResult<()> {
        let more = u32::try_from(count.saturating_sub(1))
            .ok()
            .and_then(NonZeroU32::new);
        more.map_or(Ok(()), |more| self.check_many(client, true, more).map(drop))
    }

    const fn limiter(&self, writes: bool) -> Option<&Limiter<MonotonicClock>> {
        if writes {
            self.writes.as_ref()
        } else {
            self.reads.as_ref()
        }
    }

    /// Adds the rate to a response: <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>.
    pub(crate) fn describe(&self, response: &mut Response, writes: bool, left: Option<u32>) {
        let Some(limiter) = self.limiter(writes) else {
            return;
        };
        let name = if writes { "writes" } else { "reads" };
        let is_exceeded = response.status() == StatusCode::TOO_MANY_REQUESTS;
        let texts = [
            (
                RATE_LIMIT_POLICY,
                Some(format!("\"{name}\";q={};w=1", limiter.rate)),
            ),
            (
                RATE_LIMIT,
                left.filter(|_| !is_exceeded)
                    .map(|left| format!("\"{name}\";r={left}")),
            ),
        ];
        for (header, text) in texts {
            let value = text.and_then(|text| HeaderValue::try_from(text).ok());
            value.and_then(|value| response.headers_mut().insert(header, value));
        }
    }
}

/// The requests of each client. A client that has not sent any for a while may send those of a second at once.
struct Limiter<C: Clock> {
    rate: NonZeroU32,
    clients: RateLimiter<u64, HashMapStateStore<u64>, C, StateInformationMiddleware>,
    begun: C::Instant,
    /// The second of the last time that clients were forgotten.
    swept: AtomicU64,
}

impl<C: Clock> Limiter<C> {
    fn new(rate: NonZeroU32, clock: C) -> Self {
        let begun = clock.now();
        let clients = RateLimiter::new(
            Quota::per_second(rate),
            HashMapStateStore::<u64>::default(),
            clock,
        );
        Self {
            rate,
            clients,
            begun,
            swept: AtomicU64::new(0),
        }
    }

    /// Counts this many requests together. Returns how many more are allowed now.
    ///
    /// # Errors
    /// The time until they are allowed, if they are too many now.
    fn check(&self, client: u64, count: NonZeroU32) -> Result<u32, Duration> {
        let client = if self.has_room() {
            client
        } else {
            client % SHARED
        };
        let allowed = self
            .clients
            .check_key_n(&client, count)
            // More than those of a second are never allowed together.
            .map_err(|_never| Duration::from_secs(1))?
            .map_err(|until| until.wait_time_from(self.now()))?;
        Ok(allowed.remaining_burst_capacity())
    }

    fn now(&self) -> C::Instant {
        self.clients.clock().now()
    }

    /// Whether one more client can be remembered. Forgets those who have not sent anything for a while, at most once a
    /// second.
    fn has_room(&self) -> bool {
        if self.clients.len() < MAX_CLIENTS {
            return true;
        }
        let elapsed: Duration = self.now().duration_since(self.begun).into();
        if self.swept.swap(elapsed.as_secs(), Ordering::Relaxed) != elapsed.as_secs() {
            self.clients.retain_recent();
        }
        self.clients.len() < MAX_CLIENTS
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn each_client_has_its_rate() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::new(NonZeroU32::new(2).unwrap(), clock.clone());
        for client in [1, 2] {
            assert_eq!(
                [
                    limiter.check(client, NonZeroU32::MIN),
                    limiter.check(client, NonZeroU32::MIN)
                ],
                [Ok(1), Ok(0)]
            );
            assert_eq!(
                limiter.check(client, NonZeroU32::MIN),
                Err(Duration::from_millis(500))
            );
        }
        clock.advance(Duration::from_millis(500));
        assert_eq!(
            (
                limiter.check(1, NonZeroU32::MIN).is_ok(),
                limiter.check(1, NonZeroU32::MIN).is_ok()
            ),
            (true, false)
        );
    }

    #[test]
    fn the_number_of_tracked_clients_is_bounded() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::new(NonZeroU32::MIN, clock.clone());
        let most = u64::try_from(MAX_CLIENTS).unwrap() + 10_000;
        let passed = (SHARED..most)
            .filter(|client| limiter.check(*client, NonZeroU32::MIN).is_ok())
            .count();
        assert!(passed <= MAX_CLIENTS + 1_024, "{passed}");
        assert!(limiter.clients.len() <= MAX_CLIENTS + 1_024);
        assert!(
            limiter.check(most, NonZeroU32::MIN).is_err(),
            "it shares a rate"
        );
        clock.advance(Duration::from_secs(10));
        assert!(limiter.check(most, NonZeroU32::MIN).is_ok());
        assert!(
            limiter.clients.len() < 10,
            "those who sent nothing are forgotten"
        );
    }
}
