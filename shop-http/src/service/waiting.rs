//! Read-your-writes: a response waits until a purchase is stored, or reports that it is pending.
//!
//! A purchase is acknowledged by the log before ingest stores it. A read that follows it looks the
//! purchase up again and again, with growing pauses. Where this process runs the ingest, each
//! stored batch ends a pause early.

use std::time::Duration;

use axum::http::HeaderName;
use shop_core::PurchaseId;
use shop_core::ports::{Lookup, Polls, Selector};
use tokio::time::Instant;

use crate::auth::{Action, Caller};
use crate::header_names::PENDING;
use crate::permits::RequestPermit;
use crate::request::query::{DEFAULT_WAIT, RequestedWait, Wait};
use crate::response::HttpResult;
use crate::service::purchases::PurchaseService;

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
    /// A read that waits exchanges its `permit` for a permit to wait. A purchase that
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

        let Some(recent) = &self.recent else {
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
        let limit = requested_limit.unwrap_or(DEFAULT_WAIT);
        let mut polls = Polls::until(Instant::now() + limit);
        let mut is_waiting = false;
        loop {
            // The status of ingest is read before the look-up, so a batch in between is noticed.
            let next_batch = self.shop.next_batch();
            if self.is_readable(caller, &self.look_up(id).await?) {
                return Ok(None);
            }
            if polls.time_left().is_zero() {
                return Ok(IS_PENDING);
            }

            if !is_waiting {
                let exchanged = permit.exchange_for_wait();
                if exchanged.is_err() && requested_limit.is_none() {
                    return Ok(IS_PENDING);
                }
                exchanged?;
                is_waiting = true;
            }

            // The more requests wait, the longer is the least pause of each request.
            polls.pause_unless(permit.wait_pause(), next_batch).await;
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
}
