//! Read-your-writes: a response waits until a purchase is stored, or reports that it is pending.

use std::future::pending;
use std::time::Duration;

use axum::http::HeaderName;
use shop_core::PurchaseId;
use shop_core::ports::{Lookup, PurchasePublisher as _, Selector};
use tokio::time::{Instant, sleep, timeout};

use crate::auth::{Action, Caller};
use crate::header_names::PENDING;
use crate::permits::RequestPermit;
use crate::request::query::DEFAULT_WAIT;
use crate::response::HttpResult;
use crate::service::ServiceKind;
use crate::service::purchases::PurchaseService;

/// The bounds of the pauses between two queries for an awaited purchase, which usually is stored soon. Where this
/// process runs the ingest, each batch also triggers a query.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// The header of a response if the purchase that it waited for is not stored yet.
pub(crate) type PendingHeader = Option<[(HeaderName, &'static str); 1]>;

pub(crate) const IS_PENDING: PendingHeader = Some([(PENDING, "true")]);

impl PurchaseService {
    /// Waits for the purchase that the request has `with_user_name`, at most for its time. Without one, waits for the last
    /// purchase that this process acknowledged for the first of `selectors` that is cached.
    ///
    /// While the request waits, it exchanges its `permit` for one to wait. A purchase that `caller` may not read counts as
    /// one that is not stored: the response does not reveal which ids are in use.
    pub(crate) async fn wait(
        &self,
        caller: &Caller,
        permit: &RequestPermit,
        named: Option<(PurchaseId, Duration)>,
        selectors: &[Selector],
    ) -> HttpResult<PendingHeader> {
        if let Some((id, time)) = named {
            return self.wait_for(caller, permit, &id, Some(time)).await;
        }
        let Some(recent) = &self.sink.inner().recent else {
            return Ok(None);
        };
        let last = selectors
            .iter()
            .find_map(|selector| Some((selector, recent.last_of(selector)?)));
        let Some((selector, id)) = last else {
            return Ok(None);
        };
        let header = self.wait_for(caller, permit, &id, None).await?;
        // Also one that is pending: it may never be stored.
        recent.forget(selector, id);
        Ok(header)
    }

    /// Waits until the purchase is stored, at most for the `asked` time. A request that has not asked does not wait where
    /// too many do.
    async fn wait_for(
        &self,
        caller: &Caller,
        permit: &RequestPermit,
        id: &PurchaseId,
        asked: Option<Duration>,
    ) -> HttpResult<PendingHeader> {
        let until = Instant::now() + asked.unwrap_or(DEFAULT_WAIT);
        let left = || until.saturating_duration_since(Instant::now());
        let mut pause = FIRST_PAUSE;
        let mut is_waiting = false;
        let header = loop {
            let progress = self.progress();
            if self.is_readable(caller, &self.look_up(id).await?) {
                break None;
            }
            if left().is_zero() {
                break IS_PENDING;
            }
            if !is_waiting {
                let exchanged = permit.exchange_for_wait();
                if exchanged.is_err() && asked.is_none() {
                    break IS_PENDING;
                }
                exchanged?;
                is_waiting = true;
            }
            drop(timeout(pause.min(left()), progress).await);
            let wait_pause = permit.wait_pause();
            if !wait_pause.is_zero() {
                sleep(wait_pause.min(left())).await;
            }
            pause = (pause * 2).min(MAX_PAUSE);
        };
        if is_waiting {
            permit.resume_read();
        }
        Ok(header)
    }

    /// Returns what is stored under `id`, for a write that needs the purchase. Waits until `until` for a purchase that may be
    /// acknowledged without being stored yet.
    pub(crate) async fn wait_until_stored(
        &self,
        id: &PurchaseId,
        until: Instant,
    ) -> HttpResult<Lookup> {
        let may_wait = match (self.kind, self.local.log) {
            // Past the log: a purchase is stored when it is acknowledged.
            (ServiceKind::Management, _) => false,
            // No other machine acknowledges a purchase.
            (ServiceKind::Facing, true) => self.sink.acknowledged_purchase(id).is_some(),
            (ServiceKind::Facing, false) => self.sink.may_be_unstored(id),
        };
        let mut pause = FIRST_PAUSE;
        loop {
            let progress = self.progress();
            let found = self.look_up_for_write(id).await?;
            let left = until.saturating_duration_since(Instant::now());
            if !matches!(found, Lookup::Missing) || !may_wait || left.is_zero() {
                return Ok(found);
            }
            drop(timeout(pause.min(left), progress).await);
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Whether something was found, and `caller` may learn of it.
    fn is_readable(&self, caller: &Caller, found: &Lookup) -> bool {
        match found {
            Lookup::Stored(purchase) => {
                let owner = Selector::User(purchase.user_id.clone());
                self.policy
                    .decide(caller, &Action::ReadPurchases(&owner))
                    .is_ok()
            }
            Lookup::Erased => self.policy.decide(caller, &Action::ReadErased).is_ok(),
            Lookup::Missing | Lookup::Waiting(_) => false,
        }
    }

    /// The next batch that this process stores; never completes where another process runs the ingest.
    fn progress(&self) -> impl Future<Output = ()> + use<> {
        let before = self
            .ingest
            .clone()
            .map(|monitor| (monitor.status().counters, monitor));
        async move {
            if let Some((before, monitor)) = before
                && monitor
                    .wait_for(|status| status.counters != before)
                    .await
                    .counters
                    != before
            {
                return;
            }
            // No ingest runs here, or it has stopped.
            pending::<()>().await;
        }
    }
}
