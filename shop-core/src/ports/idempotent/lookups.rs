//! Looks up the id of a purchase in the store before the purchase is published.
//!
//! A look-up must not make a buy depend on the store. So its time and its concurrency are limited,
//! and after a failed look-up none is made for a second. A purchase that cannot be looked up is
//! published as if the store did not contain it: the store recognizes a repetition later by its id.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::error::catch_panic;
use crate::lock::lock;
use crate::ports::{Lookup, PurchaseQuery};
use crate::{Error, ErrorKind, Purchase, PurchaseId, RequestContext, Result, Timestamp, Uuid};

/// The maximum time that a buy waits for its look-up, including the wait for a free slot.
const TIMEOUT: Duration = Duration::from_millis(250);
/// The maximum number of concurrent look-ups of one sink.
pub(super) const MAX_CONCURRENT: usize = 64;
/// The time without look-ups after one that failed or timed out, so that an unavailable store does
/// not delay buys.
const PAUSE: Duration = Duration::from_secs(1);
/// The maximum distance between now and the timestamp of a UUIDv7 that counts as just made.
///
/// A purchase with such an id is usually sent for the first time, so the store does not contain it
/// yet.
const RECENT_ID_DISTANCE: Duration = Duration::from_secs(30);
/// The minimum time between two warnings about failed look-ups.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The limits of the look-ups of one sink: 64 concurrent ones, and a pause after a failure.
#[derive(Debug)]
pub(super) struct Lookups {
    /// One permit for each concurrent look-up.
    slots: Semaphore,
    pause: Mutex<LookupPause>,
}

/// The pause of the look-ups after a failure.
#[derive(Debug, Default)]
struct LookupPause {
    /// The end of the last pause. `None` if no look-up has failed yet.
    until: Option<Instant>,
    /// The time of the last warning about a failure.
    last_warning: Option<Instant>,
}

impl Lookups {
    /// Creates the limits of a sink that has made no look-up yet.
    pub(super) fn new() -> Self {
        Self {
            slots: Semaphore::new(MAX_CONCURRENT),
            pause: Mutex::default(),
        }
    }

    /// Looks up the id of `purchase` in the store of `query`, within the limits of this sink.
    ///
    /// Returns `None` if the store cannot be asked: during a pause after a failed look-up, if this
    /// look-up fails, or if it takes longer than 250 ms. The last two begin a new pause.
    pub(super) async fn look_up_within_limits(
        &self,
        query: &dyn PurchaseQuery,
        purchase: &Purchase,
    ) -> Option<Lookup> {
        if self.is_paused() {
            return None;
        }

        // The look-up belongs to the request of the purchase, whose context an adapter may read. A
        // purchase without a context belongs to the request that the calling task serves.
        let context = match purchase.context.as_deref() {
            Some(context) => Arc::new(context.clone()),
            None => RequestContext::current().unwrap_or_default(),
        };

        let look_up_in_slot = async {
            // The semaphore is never closed, so there is always a permit.
            let _slot = self.slots.acquire().await;
            look_up_entry(query, &purchase.id).await
        };

        let result = context.scope(timeout(TIMEOUT, look_up_in_slot)).await;
        let error = match result {
            Ok(Ok(lookup)) => return Some(lookup),
            Ok(Err(error)) => error,
            Err(_elapsed) => {
                let message = format!("no response within {TIMEOUT:?}");
                Error::new(ErrorKind::DeadlineExceeded, message)
            }
        };

        self.begin_pause(&error);
        None
    }

    /// Checks whether a look-up failed within the last second, so that none is made now.
    fn is_paused(&self) -> bool {
        let paused_until = lock(&self.pause).until;
        paused_until.is_some_and(|until| Instant::now() < until)
    }

    /// Begins a pause of look-ups after `error`, and logs the error unless one was logged within
    /// the last ten seconds.
    fn begin_pause(&self, error: &Error) {
        let now = Instant::now();
        let mut pause = lock(&self.pause);
        pause.until = Some(now + PAUSE);

        let is_warning_due = pause
            .last_warning
            .is_none_or(|warned_at| warned_at + LOG_INTERVAL <= now);
        if is_warning_due {
            pause.last_warning = Some(now);
            tracing::warn!(error = %error.chain(), pause = ?PAUSE, "id look-up failed, pausing look-ups");
        }
    }
}

/// Looks up the entry under `id` in the store of `query`, without a limit.
///
/// # Errors
/// Returns the errors of the store. A panic in `query`, which an embedder may implement, is
/// returned as an error too.
pub(super) async fn look_up_entry(query: &dyn PurchaseQuery, id: &PurchaseId) -> Result<Lookup> {
    catch_panic("", query.look_up(id)).await
}

/// Returns whether `id` is a UUIDv7 whose timestamp is at most 30 s before or after `now`.
///
/// A purchase with such an id is usually sent for the first time. The time after `now` allows for a
/// client whose clock is ahead.
pub(in crate::ports) fn is_recent(id: &PurchaseId, now: Timestamp) -> bool {
    let Some(id_time) = id
        .as_uuid()
        .filter(|uuid| uuid.get_version_num() == 7)
        .and_then(Uuid::get_timestamp)
    else {
        return false;
    };

    let (seconds, nanos) = id_time.to_unix();
    let id_millis = i128::from(seconds) * 1_000 + i128::from(nanos / 1_000_000);
    let distance_millis = (id_millis - i128::from(now.as_millis())).unsigned_abs();
    distance_millis <= RECENT_ID_DISTANCE.as_millis()
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
