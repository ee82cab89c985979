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
    /// Waits until the purchase that a read needs is stored. Returns the header that says that the
    /// purchase is still pending, or `None` if it is stored or there is nothing to wait for.
    ///
    /// Waits for the purchase and for at most the time in `requested_wait`. If the client requested no
    /// wait, waits for the last purchase that this process acknowledged for one of `selectors`: for
    /// the first selector with such a purchase.
    ///
    /// A read that waits exchanges its `permit` for a permit to wait. A purchase that `caller` may not
    /// read counts as not stored, so the response does not reveal which ids are in use.
    ///
    /// # Errors
    /// - 503 if the client requested the wait, and too many requests wait
    /// - The errors of [`look_up`](Self::look_up)
    pub(crate) async fn wait(
        &self,
        caller: &Caller,
        permit: &RequestPermit,
        requested_wait: Wait,
        selectors: &[Selector],
    ) -> HttpResult<PendingHeader> {
        if let Some(RequestedWait { id, max_wait }) = requested_wait {
            return self.wait_for(caller, permit, &id, Some(max_wait)).await;
        }

        let Some(recent) = &self.recent else {
            return Ok(None);
        };
        for selector in selectors {
            if let Some(id) = recent.last_of(selector) {
                let no_requested_wait = None;
                let header = self
                    .wait_for(caller, permit, &id, no_requested_wait)
                    .await?;
                // A pending purchase is forgotten too, because it may never be stored.
                recent.forget(selector, id);
                return Ok(header);
            }
        }
        Ok(None)
    }

    /// Waits until the purchase `id` is stored. Returns the header of a pending purchase if it is not
    /// stored in time.
    ///
    /// `requested_max_wait` is the maximum time that the client requested. If the client requested no
    /// wait, the maximum is [`DEFAULT_WAIT`], and this does not wait while too many requests wait.
    async fn wait_for(
        &self,
        caller: &Caller,
        permit: &RequestPermit,
        id: &PurchaseId,
        requested_max_wait: Option<Duration>,
    ) -> HttpResult<PendingHeader> {
        let max_wait = requested_max_wait.unwrap_or(DEFAULT_WAIT);
        let mut polls = Polls::until(Instant::now() + max_wait);
        let mut is_waiting = false;
        loop {
            // The status of ingest is read before the look-up, so that a batch between the look-up and
            // the pause ends the pause.
            let next_batch = self.shop.next_batch();
            if self.is_readable(caller, &self.look_up(id).await?) {
                return Ok(None);
            }
            if polls.time_left().is_zero() {
                return Ok(IS_PENDING);
            }

            if !is_waiting {
                let exchange_result = permit.exchange_for_wait();
                if exchange_result.is_err() && requested_max_wait.is_none() {
                    return Ok(IS_PENDING);
                }
                exchange_result?;
                is_waiting = true;
            }

            // The more requests wait, the longer the minimum pause of each request is.
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
