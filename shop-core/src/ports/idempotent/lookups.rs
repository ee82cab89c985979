//! Looks up a given id in the store before its purchase is published.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::error::catch_panic;
use crate::lock::lock;
use crate::ports::{Lookup, PurchaseQuery};
use crate::{Error, ErrorKind, Purchase, PurchaseId, RequestContext, Result, Timestamp, Uuid};

/// The maximum time a buy waits for its look-up, including the wait for a free slot.
const TIMEOUT: Duration = Duration::from_millis(250);
/// The maximum of concurrent look-ups.
pub(super) const MAX_CONCURRENT: usize = 64;
/// The pause of look-ups after one that failed or timed out: an unavailable store does not delay buys.
const PAUSE: Duration = Duration::from_secs(1);
/// An id whose timestamp is this close to now belongs to a first attempt: its purchase may not be in the store yet.
const RECENT: Duration = Duration::from_secs(30);
/// The minimum time between two lines of the log about failed look-ups.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The look-ups of one sink.
#[derive(Debug)]
pub(super) struct Lookups {
    slots: Semaphore,
    pause: Mutex<LookupPause>,
}

#[derive(Debug, Clone, Copy, Default)]
struct LookupPause {
    until: Option<Instant>,
    /// When the last failure was logged.
    logged: Option<Instant>,
}

impl Lookups {
    pub(super) fn new() -> Self {
        Self {
            slots: Semaphore::new(MAX_CONCURRENT),
            pause: Mutex::default(),
        }
    }

    /// Returns what `query` finds under the id of `purchase`; `None` if it cannot be asked, or does not respond in time.
    pub(super) async fn find(
        &self,
        query: &dyn PurchaseQuery,
        purchase: &Purchase,
    ) -> Option<Lookup> {
        if self.is_paused() {
            return None;
        }
        let context = match purchase.context.as_deref() {
            Some(context) => Arc::new(context.clone()),
            None => RequestContext::current().unwrap_or_default(),
        };
        let found = async {
            // The semaphore is never closed.
            let _slot = self.slots.acquire().await;
            look_up(query, &purchase.id).await
        };
        let found = context.scope(timeout(TIMEOUT, found)).await;
        let failure = match found {
            Ok(Ok(found)) => return Some(found),
            Ok(Err(error)) => error,
            Err(_elapsed) => {
                let message = format!("no response within {TIMEOUT:?}");
                Error::new(ErrorKind::DeadlineExceeded, message)
            }
        };
        self.pause(&failure);
        None
    }

    fn is_paused(&self) -> bool {
        let pause = *lock(&self.pause);
        pause.until.is_some_and(|until| Instant::now() < until)
    }

    fn pause(&self, error: &Error) {
        let now = Instant::now();
        let mut pause = lock(&self.pause);
        pause.until = Some(now + PAUSE);
        let logged = pause.logged;
        if logged.is_none_or(|logged| logged + LOG_INTERVAL <= now) {
            pause.logged = Some(now);
            tracing::warn!(error = %error.chain(), pause = ?PAUSE, "id look-up failed, pausing look-ups");
        }
    }
}

/// Returns what `query` finds under `id`, as durable as what is inserted. A port may be the embedder's own: a panic in it is an error.
pub(super) async fn look_up(query: &dyn PurchaseQuery, id: &PurchaseId) -> Result<Lookup> {
    catch_panic("", query.look_up_durable(id)).await
}

/// Returns whether `id` is a UUIDv7 that was made within the last or next 30 s, by its own timestamp. Usually its purchase
/// is sent for the first time.
pub(in crate::ports) fn is_recent(id: &PurchaseId, now: Timestamp) -> bool {
    let made = id
        .as_uuid()
        .filter(|uuid| uuid.get_version_num() == 7)
        .and_then(Uuid::get_timestamp);
    made.is_some_and(|made| {
        let (seconds, nanos) = made.to_unix();
        let made = i128::from(seconds) * 1_000 + i128::from(nanos / 1_000_000);
        (made - i128::from(now.as_millis())).unsigned_abs() <= RECENT.as_millis()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_of_now_is_recent() {
        let now = Timestamp::from_millis(1_772_355_600_250).unwrap();
        let made = |seconds: i64| {
            let millis = u64::try_from(1_772_355_600_250 + seconds * 1_000).unwrap();
            let nanos = u32::try_from(millis % 1_000).unwrap() * 1_000_000;
            let time = uuid::Timestamp::from_unix(uuid::NoContext, millis / 1_000, nanos);
            PurchaseId::from_uuid(Uuid::new_v7(time))
        };
        for (seconds, expected) in [
            (0, true),
            (-30, true),
            (30, true),
            (-31, false),
            (31, false),
        ] {
            assert_eq!(is_recent(&made(seconds), now), expected, "{seconds} s");
        }
        assert!(!is_recent(&PurchaseId::from_uuid(Uuid::from_u128(7)), now));
    }
}
