//! Read-your-writes: a response waits until a purchase is stored, or reports that it is pending.
//!
//! A purchase is acknowledged by the log before ingest stores it. A read that follows it looks the
//! purchase up again and again, with growing pauses. Where this process runs the ingest, each
//! stored batch ends a pause early.

use std::future::pending;
use std::time::Duration;

use axum::http::HeaderName;
use shop_core::PurchaseId;
use shop_core::ports::{Lookup, PurchasePublisher as _, Selector};
use tokio::time::{Instant, sleep, timeout};

use crate::auth::{Action, Caller};
use crate::header_names::PENDING;
use crate::permits::RequestPermit;
use crate::request::query::{DEFAULT_WAIT, RequestedWait, Wait};
use crate::response::HttpResult;
use crate::service::ServiceKind;
use crate::service::purchases::PurchaseService;

/// The first pause between two look-ups of an awaited purchase, which usually is stored soon. Each
/// further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The maximum pause between two look-ups.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// The header of a response if the purchase that it waited for is not stored yet.
pub(crate) type PendingHeader = Option<[(HeaderName, &'static str); 1]>;

/// The header of a response whose purchase is not stored yet.
pub(crate) const IS_PENDING: PendingHeader = Some([(PENDING, "true")]);

impl PurchaseService {
    /// Waits until the purchase that a read needs is stored, and returns the header of the
    /// response.
    ///
    /// The purchase and the time limit are `requested` by the client. Without a requested purchase,
    /// this waits for the last purchase that this process acknowledged for the first of `selectors`
    /// that is cached.
    ///
    /// While the read waits, it exchanges its `permit` for a permit to wait. A purchase that
    /// `caller` may not read counts as not stored, so the response does not reveal which ids are in
    /// use.
    ///
    /// # Errors
    /// - 503 if the client requested the wait, and too many requests wait
    /// - The errors of [`look_up`](Self::look_up)
    pub(crate) async fn wait(
        &self,
        caller: &Caller,
        permit: &RequestPermit,
        requested: Wait,
        selectors: &[Selector],
    ) -> HttpResult<PendingHeader> {
        if let Some(RequestedWait { id, limit }) = requested {
            return self.wait_for(caller, permit, &id, Some(limit)).await;
        }

        let Some(recent) = &self.sink.inner().recent else {
            return Ok(None);
        };
        for selector in selectors {
            if let Some(id) = recent.last_of(selector) {
                let header = self.wait_for(caller, permit, &id, None).await?;
                // A pending purchase is forgotten too, because it may never be stored.
                recent.forget(selector, id);
                return Ok(header);
            }
        }
        Ok(None)
    }

    /// Waits until the purchase `id` is stored, for at most the `requested_limit`.
    ///
    /// If the client requested no wait, and too many requests wait, this does not wait.
    async fn wait_for(
        &self,
        caller: &Caller,
        permit: &RequestPermit,
        id: &PurchaseId,
        requested_limit: Option<Duration>,
    ) -> HttpResult<PendingHeader> {
        let deadline = Instant::now() + requested_limit.unwrap_or(DEFAULT_WAIT);
        let mut pause = FIRST_PAUSE;
        let mut is_waiting = false;
        let header = loop {
            // The status of ingest is read before the look-up, so a batch in between is noticed.
            let next_batch = self.wait_for_batch();
            if self.is_readable(caller, &self.look_up(id).await?) {
                break None;
            }
            if time_until(deadline).is_zero() {
                break IS_PENDING;
            }

            if !is_waiting {
                let exchanged = permit.exchange_for_wait();
                if exchanged.is_err() && requested_limit.is_none() {
                    break IS_PENDING;
                }
                exchanged?;
                is_waiting = true;
            }

            drop(timeout(pause.min(time_until(deadline)), next_batch).await);
            pause = next_pause(pause);
            // The more requests wait, the longer is the additional pause of each request.
            let wait_pause = permit.wait_pause();
            if !wait_pause.is_zero() {
                sleep(wait_pause.min(time_until(deadline))).await;
            }
        };

        if is_waiting {
            permit.resume_read();
        }
        Ok(header)
    }

    /// Returns what is stored under `id`, for a write that needs the purchase.
    ///
    /// If the purchase may be acknowledged without being stored yet, this waits for it until
    /// `deadline`.
    ///
    /// # Errors
    /// The errors of [`look_up_for_write`](Self::look_up_for_write).
    pub(crate) async fn wait_until_stored(
        &self,
        id: &PurchaseId,
        deadline: Instant,
    ) -> HttpResult<Lookup> {
        let may_be_unstored = match (self.kind, self.local.log) {
            // Management writes past the log: a purchase is stored when it is acknowledged.
            (ServiceKind::Management, _) => false,
            // The log is a file of this process, so no other process acknowledges a purchase.
            (ServiceKind::Facing, true) => self.sink.acknowledged_purchase(id).is_some(),
            (ServiceKind::Facing, false) => self.sink.may_be_unstored(id),
        };

        let mut pause = FIRST_PAUSE;
        loop {
            let next_batch = self.wait_for_batch();
            let lookup = self.look_up_for_write(id).await?;
            if !may_be_unstored
                || !matches!(lookup, Lookup::Missing)
                || time_until(deadline).is_zero()
            {
                return Ok(lookup);
            }
            drop(timeout(pause.min(time_until(deadline)), next_batch).await);
            pause = next_pause(pause);
        }
    }

    /// Returns whether `lookup` found a result that `caller` may learn about.
    fn is_readable(&self, caller: &Caller, lookup: &Lookup) -> bool {
        match lookup {
            Lookup::Stored(purchase) => {
                let owner = Selector::User(purchase.user_id.clone());
                self.policy.allows(caller, &Action::ReadPurchases(&owner))
            }
            Lookup::Erased => self.policy.allows(caller, &Action::ReadErased),
            Lookup::Missing | Lookup::Waiting(_) => false,
        }
    }

    /// Returns a future that completes when the ingest of this process handles a batch after this
    /// call, which changes the counters of the ingest.
    ///
    /// The future never completes where another process runs the ingest, or after the ingest ended.
    fn wait_for_batch(&self) -> impl Future<Output = ()> + use<> {
        let ingest = self
            .ingest
            .clone()
            .map(|monitor| (monitor.status().counters, monitor));
        async move {
            if let Some((counters, monitor)) = ingest {
                let status = monitor.wait_for(|status| status.counters != counters).await;
                if status.counters != counters {
                    return;
                }
            }
            // No ingest runs in this process, or the ingest ended.
            pending::<()>().await;
        }
    }
}

/// Returns the pause after `pause`, which is twice as long, up to the maximum.
fn next_pause(pause: Duration) -> Duration {
    (pause * 2).min(MAX_PAUSE)
}

/// Returns the time from now until `deadline`, or zero if `deadline` is past.
fn time_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
