//! Looks up the id of a buy with a key in the store before the buy is acknowledged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shop_core::ports::PurchaseQuery;
use shop_core::{Error, Purchase, PurchaseId, Timestamp, Uuid};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::response::failure_log::INTERVAL;
use crate::service::bounded::within;

/// The maximum time a buy waits for its look-up, including the wait for a free slot.
const TIMEOUT: Duration = Duration::from_millis(250);
/// The maximum of concurrent look-ups.
pub(super) const MAX_CONCURRENT: usize = 64;
/// The pause of look-ups after one that failed or timed out: an unavailable store does not delay buys.
const PAUSE: Duration = Duration::from_secs(1);
/// An id whose timestamp is this close to now belongs to a first attempt: it cannot be in the store yet.
const FIRST_ATTEMPT: Duration = Duration::from_secs(30);

/// The look-ups of one service.
#[derive(Debug)]
pub(crate) struct StoreLookup {
    slots: Semaphore,
    pause: Mutex<Pause>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Option<Instant>,
    /// When the last failure was logged.
    logged: Option<Instant>,
}

impl StoreLookup {
    pub(crate) const fn new() -> Self {
        let pause = Mutex::new(Pause { until: None, logged: None });
        Self { slots: Semaphore::const_new(MAX_CONCURRENT), pause }
    }

    /// The purchase that is stored under the id of `purchase`, if `query` returns it in time.
    pub(crate) async fn stored(&self, query: &dyn PurchaseQuery, purchase: &Purchase) -> Option<Purchase> {
        if self.is_paused() {
            return None;
        }
        let found = within(TIMEOUT, async {
            // The semaphore is never closed.
            let _slot = self.slots.acquire().await;
            query.get(&purchase.id).await
        });
        let context = purchase.context.as_deref().cloned().unwrap_or_default();
        Arc::new(context).scope(found).await.unwrap_or_else(|error| {
            self.pause(&error);
            None
        })
    }

    fn is_paused(&self) -> bool {
        let pause = *self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        pause.until.is_some_and(|until| Instant::now() < until)
    }

    fn pause(&self, error: &Error) {
        let now = Instant::now();
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        pause.until = Some(now + PAUSE);
        if pause.logged.is_none_or(|logged| logged + INTERVAL <= now) {
            pause.logged = Some(now);
            tracing::warn!(error = %error.chain(), pause = ?PAUSE, "id look-up failed, pausing look-ups");
        }
    }
}

/// Whether `id` was made within the last or next 30 s, by its own timestamp: a UUIDv7 that is sent for the first time.
pub(crate) fn is_first_attempt(id: &PurchaseId, now: Timestamp) -> bool {
    let made = id.as_uuid().filter(|uuid| uuid.get_version_num() == 7).and_then(Uuid::get_timestamp);
    made.is_some_and(|made| {
        let (seconds, nanos) = made.to_unix();
        let made = i128::from(seconds) * 1_000 + i128::from(nanos / 1_000_000);
        (made - i128::from(now.as_millis())).unsigned_abs() <= FIRST_ATTEMPT.as_millis()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_of_now_is_a_first_attempt() {
        let now = Timestamp::from_millis(1_772_355_600_250).unwrap();
        let made = |seconds: i64| {
            let millis = u64::try_from(1_772_355_600_250 + seconds * 1_000).unwrap();
            let nanos = u32::try_from(millis % 1_000).unwrap() * 1_000_000;
            let time = uuid::Timestamp::from_unix(uuid::NoContext, millis / 1_000, nanos);
            PurchaseId::from_uuid(Uuid::new_v7(time))
        };
        for (seconds, expected) in [(0, true), (-30, true), (30, true), (-31, false), (31, false)] {
            assert_eq!(is_first_attempt(&made(seconds), now), expected, "{seconds} s");
        }
        assert!(!is_first_attempt(&PurchaseId::from_uuid(Uuid::from_u128(7)), now));
    }
}
