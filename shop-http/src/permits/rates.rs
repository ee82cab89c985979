//! Rates: how many requests per second one client may send. Each process counts its own requests.

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
use crate::response::{HttpError, HttpResult, RequestKind};

/// The maximum number of tracked clients, about 6 MB. Further clients share [`SHARED_RATES`] rates.
const MAX_CLIENTS: usize = 1 << 16;
/// The number of rates that the clients beyond [`MAX_CLIENTS`] share.
const SHARED_RATES: u64 = 1 << 10;

/// The header with the number of requests that a client may still send now.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The header with the number of requests that a client may send per second.
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The rates of reads and of writes that each client of a service may send, if they are limited.
pub(crate) struct Rates {
    writes: Option<Limiter>,
    reads: Option<Limiter>,
}

impl Rates {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        let limiter = |rate| Limiter::new(rate, MonotonicClock);
        Self {
            writes: options.rate_writes.map(limiter),
            reads: options.rate_reads.map(limiter),
        }
    }

    /// Returns whether the rate of reads or of writes is limited.
    pub(crate) const fn are_limited(&self) -> bool {
        self.writes.is_some() || self.reads.is_some()
    }

    /// Counts `count` requests of a client at once, and returns how many more the client may send now.
    /// `client_hash` is the [hash](super::ClientId::hash) of the client.
    ///
    /// Returns `None` if the rate of requests of this kind is not limited, or if `count` is 0.
    ///
    /// # Errors
    /// 429 if these requests are more than the client may send now.
    pub(crate) fn count_requests(
        &self,
        client_hash: u64,
        kind: RequestKind,
        count: u32,
    ) -> HttpResult<Option<u32>> {
        let (Some(limiter), Some(count)) = (self.limiter(kind), NonZeroU32::new(count)) else {
            return Ok(None);
        };

        let remaining = limiter.count(client_hash, count).map_err(|retry_after| {
            HttpError::rate_exceeded(limiter.rate.get(), retry_after, kind)
        })?;
        Ok(Some(remaining))
    }

    /// Returns the maximum number of purchases in a batch: the writes of one second.
    pub(crate) fn max_batch_purchases(&self) -> usize {
        let Some(limiter) = &self.writes else {
            return usize::MAX;
        };
        usize::try_from(limiter.rate.get()).unwrap_or(usize::MAX)
    }

    /// Returns the limiter of requests of this kind, if their rate is limited.
    const fn limiter(&self, kind: RequestKind) -> Option<&Limiter> {
        match kind {
            RequestKind::Read => self.reads.as_ref(),
            RequestKind::Write => self.writes.as_ref(),
        }
    }

    /// Adds the header of the rate to `response`, and the header with the number of requests that the
    /// client may still send (`remaining`), if the number is known.
    ///
    /// See <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>.
    pub(crate) fn add_headers(
        &self,
        response: &mut Response,
        kind: RequestKind,
        remaining: Option<u32>,
    ) {
        let Some(limiter) = self.limiter(kind) else {
            return;
        };
        let name = kind.plural();
        let policy = format!("\"{name}\";q={};w=1", limiter.rate);
        insert_header(response, RATE_LIMIT_POLICY, policy);

        if let Some(remaining) = remaining
            && response.status() != StatusCode::TOO_MANY_REQUESTS
        {
            let limit = format!("\"{name}\";r={remaining}");
            insert_header(response, RATE_LIMIT, limit);
        }
    }
}

/// Inserts the header `name` into `response`, in place of an earlier one.
fn insert_header(response: &mut Response, name: HeaderName, text: String) {
    // The texts consist of digits and ASCII names, so they are always valid values.
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().insert(name, value);
    }
}

/// Counts the requests of each client against one rate.
///
/// After a while without requests, a client may send the requests of one second at once.
struct Limiter<C: Clock = MonotonicClock> {
    rate: NonZeroU32,
    clients: RateLimiter<u64, HashMapStateStore<u64>, C, StateInformationMiddleware>,
    started_at: C::Instant,
    /// The second after `started_at` in which idle clients were last forgotten.
    swept_at: AtomicU64,
}

impl<C: Clock> Limiter<C> {
    fn new(rate: NonZeroU32, clock: C) -> Self {
        let started_at = clock.now();
        let clients = RateLimiter::new(
            Quota::per_second(rate),
            HashMapStateStore::<u64>::default(),
            clock,
        );
        Self {
            rate,
            clients,
            started_at,
            swept_at: AtomicU64::new(0),
        }
    }

    /// Counts `count` requests of a client at once, and returns how many more are allowed now.
    ///
    /// # Errors
    /// The time until the requests are allowed, if they are too many now.
    fn count(&self, client_hash: u64, count: NonZeroU32) -> Result<u32, Duration> {
        // Without room for another client, several clients share one key, and so one rate.
        let key = if self.make_room() {
            client_hash
        } else {
            client_hash % SHARED_RATES
        };
        let snapshot = self
            .clients
            .check_key_n(&key, count)
            // More requests than the rate allows in one second are never allowed together.
            .map_err(|_never| Duration::from_secs(1))?
            .map_err(|until| until.wait_time_from(self.now()))?;
        Ok(snapshot.remaining_burst_capacity())
    }

    fn now(&self) -> C::Instant {
        self.clients.clock().now()
    }

    /// Returns whether there is room for one more client. If too many clients are tracked, first
    /// forgets those that are idle, at most once a second.
    fn make_room(&self) -> bool {
        if self.clients.len() < MAX_CLIENTS {
            return true;
        }
        let elapsed: Duration = self.now().duration_since(self.started_at).into();
        let current_second = elapsed.as_secs();
        let last_sweep = self.swept_at.swap(current_second, Ordering::Relaxed);
        if last_sweep != current_second {
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
    fn the_number_of_tracked_clients_is_bounded() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::new(NonZeroU32::MIN, clock.clone());
        let most = u64::try_from(MAX_CLIENTS).unwrap() + 10_000;
        let passed = (SHARED_RATES..most)
            .filter(|client| limiter.count(*client, NonZeroU32::MIN).is_ok())
            .count();
        assert!(passed <= MAX_CLIENTS + 1_024, "{passed}");
        assert!(limiter.clients.len() <= MAX_CLIENTS + 1_024);
        assert!(
            limiter.count(most, NonZeroU32::MIN).is_err(),
            "it shares a rate"
        );
        clock.advance(Duration::from_secs(10));
        assert!(limiter.count(most, NonZeroU32::MIN).is_ok());
        assert!(
            limiter.clients.len() < 10,
            "those who sent nothing are forgotten"
        );
    }
}
