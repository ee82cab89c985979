//! The role purchases: publishes, refunds, finds and lists purchases.
//!
//! Handlers call [`PurchaseService`]. It calls the ports of the role within their timeouts, and
//! turns their errors into responses:
//!
//! | call | port |
//! |---|---|
//! | a buy, a refund, a batch | `sink`, which publishes each given id once, through [`MeasuredSink`] |
//! | a look-up, a page, totals, names | `query`, within its timeout, mostly by [`run_query`](PurchaseService::run_query) |

use std::sync::Arc;
use std::time::Duration;

use shop_core::domain::Currency;
use shop_core::feed::PurchaseFeed;
use shop_core::ingest::IngestMonitor;
use shop_core::ports::{
    Bucket, IdSource, IdempotentSink, Lookup, Page, PageRequest, PurchaseQuery, REFUND_TIMEOUT,
    Selector, TotalsRequest,
};
use shop_core::shop::LocalPorts;
use shop_core::{
    Clock, Error, ErrorKind, IdempotencyKey, NewPurchase, Outcome, PublishedPurchase, Purchase,
    PurchaseId, RequestContext, Result, UserName,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::auth::{Action, Caller, Policy};
use crate::options::HttpOptions;
use crate::permits::RequestPermit;
use crate::response::validation_error::invalid_parameter;
use crate::response::{HttpError, HttpResult, Subject};
use crate::service::names::{self, Names};
use crate::service::publisher::MeasuredSink;
use crate::service::{ServiceKind, within};

/// The number of batches that publish concurrently.
///
/// A batch publishes few purchases at a time, so this number of batches leaves room in the queue of
/// the log for single purchases.
pub(super) const MAX_PUBLISHING_BATCHES: usize = 4;

/// The result of one purchase or refund of a batch.
pub(crate) type BatchResult = HttpResult<PublishedPurchase>;

/// A refund of a batch, as the client sent it.
pub(crate) struct BatchRefund {
    pub(crate) new: NewPurchase,
    pub(crate) permitted: PermittedPurchases,
}

/// The purchases that the sender of a batch may refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PermittedPurchases {
    /// Any purchase, also one that is not known yet: an export may contain a refund before its
    /// purchase.
    Any,
    /// Purchases that are known here, and are of the user of the refund. The sender must not learn
    /// which other purchases exist, so these get the same answer as a purchase that does not exist.
    KnownOfUser,
}

/// A purchase or a refund of a batch, as the client sent it.
pub(crate) struct BatchPurchase {
    pub(crate) new: NewPurchase,
    /// The id that the client gave, whose text is also the key of `new`. Without a given id, the id
    /// follows from the key, or is generated. The id of a refund follows from its purchase alone.
    pub(crate) given_id: Option<PurchaseId>,
}

/// The facts that the error of a purchase needs, after the sink took the purchase.
struct AttemptedWrite {
    key: Option<IdempotencyKey>,
    id: PurchaseId,
}

/// The role purchases of a service.
pub(crate) struct PurchaseService {
    pub(crate) kind: ServiceKind,
    pub(crate) sink: IdempotentSink<MeasuredSink>,
    pub(crate) query: Arc<dyn PurchaseQuery>,
    pub(crate) ingest: Option<IngestMonitor>,
    pub(crate) local: LocalPorts,
    pub(crate) feed: Option<PurchaseFeed>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Arc<HttpOptions>,
    /// The turns of the batches that publish.
    pub(super) batches: Semaphore,
    pub(crate) policy: Policy,
}

impl PurchaseService {
    /// Assigns an id to a purchase, and publishes it.
    ///
    /// The id and the time are assigned at once. The returned future publishes the purchase.
    ///
    /// # Errors
    /// The errors of [`HttpError::failed_write`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the purchase published or not. With a key, a repetition with the
    /// same key is safe. A client that disconnects does not drop the future: the router completes
    /// every write that it began.
    pub(crate) fn buy(
        &self,
        new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> impl Future<Output = HttpResult<PublishedPurchase>> + Send {
        let key = new.key.clone();
        let fresh_id = self.clock.fresh_id();
        let mut purchase = new.into_purchase(self.clock.now(), || fresh_id);
        purchase.context = context;

        // A block follows the preparation, because an `async fn` stores its arguments twice, and
        // many of these futures are in flight.
        async move {
            if let Some(key) = key {
                return Box::pin(self.sink.publish_once(purchase))
                    .await
                    .map_err(|error| self.map_write_error(error, key));
            }

            // The id was generated for this purchase, so it is published without a look-up. If that
            // fails, the client can repeat the purchase with the id as its key.
            let receipt = self
                .sink
                .publish_generated(&mut purchase)
                .await
                .map_err(|error| self.map_write_error(error, fresh_id.into()))?;
            Ok(PublishedPurchase::new(purchase, receipt))
        }
    }

    /// Publishes a refund, and waits for at most `limit` until the store applied or rejected it.
    ///
    /// The result is pending if the store does not decide within `limit`. The call is boxed,
    /// because it is large and rare beside a buy.
    ///
    /// # Errors
    /// The errors of [`HttpError::failed_write`], with texts about refunds.
    pub(crate) async fn refund(
        &self,
        refund: Purchase,
        limit: Duration,
    ) -> HttpResult<PublishedPurchase> {
        let id = refund.id;
        Box::pin(self.sink.publish_refund(refund, limit))
            .await
            .map_err(|error| self.map_refund_error(error, &id))
    }

    /// Assigns ids to the purchases of `batch`, and publishes them together.
    ///
    /// Returns one result per purchase, in the order of `batch`. If the turn of the batch does not
    /// come before `deadline`, nothing is published, and each result is an error.
    pub(crate) async fn buy_many(
        &self,
        batch: Vec<BatchPurchase>,
        context: Option<&RequestContext>,
        deadline: Instant,
    ) -> Vec<BatchResult> {
        let _turn = match self.wait_for_batch_turn(deadline).await {
            Ok(turn) => turn,
            Err(error) => return self.reject_batch(batch, &error),
        };

        let now = self.clock.now();
        let mut attempts = Vec::with_capacity(batch.len());
        let mut purchases = Vec::with_capacity(batch.len());
        for BatchPurchase { new, given_id } in batch {
            let key = new.key.clone();
            let mut purchase = new.into_purchase(now, || self.clock.fresh_id());
            purchase.context = context.cloned().map(Box::new);
            if let Some(given_id) = given_id {
                purchase.id = given_id;
            }
            let id_source = if key.is_some() {
                IdSource::Given
            } else {
                IdSource::Generated
            };

            attempts.push(AttemptedWrite {
                key,
                id: purchase.id,
            });
            purchases.push((purchase, id_source));
        }

        let results = self.sink.publish_once_many(purchases).await.into_iter();
        results
            .zip(attempts)
            .map(|(result, attempt)| result.map_err(|error| self.map_attempt_error(error, attempt)))
            .collect()
    }

    /// Publishes the refunds of a batch together, and waits once, for at most [`REFUND_TIMEOUT`],
    /// until the store decided about all of them.
    ///
    /// The purchases of the batch must be published before, because the refunds may be of them.
    /// Returns one result per refund, in the order of `refunds`. A refund without a decision is
    /// pending. If the turn of the batch does not come before `deadline`, nothing is published, and
    /// each result is an error.
    pub(crate) async fn refund_many(
        &self,
        refunds: Vec<BatchRefund>,
        context: Option<&RequestContext>,
        deadline: Instant,
    ) -> Vec<BatchResult> {
        if refunds.is_empty() {
            return Vec::new();
        }

        let until = Instant::now() + REFUND_TIMEOUT;
        let now = self.clock.now();
        let mut results = Vec::with_capacity(refunds.len());
        let mut permitted_refunds = Vec::with_capacity(refunds.len());
        for BatchRefund { new, permitted } in refunds {
            let mut refund = new.into_purchase(now, || self.clock.fresh_id());
            refund.context = context.cloned().map(Box::new);
            match self.check_permitted(&refund, permitted).await {
                Ok(()) => {
                    permitted_refunds.push(refund);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }

        let ids: Vec<PurchaseId> = permitted_refunds.iter().map(|refund| refund.id).collect();
        let decided = match self.wait_for_batch_turn(deadline).await {
            Ok(turn) => {
                let begun = self.sink.begin_refunds(permitted_refunds, until).await;
                // Other batches publish while this one waits for the store.
                drop(turn);
                self.sink.finish_refunds(begun, until).await
            }
            Err(error) => vec![Err(error); ids.len()],
        };
        let mut decided = decided
            .into_iter()
            .zip(ids)
            .map(|(result, id)| result.map_err(|error| self.map_refund_error(error, &id)));
        results
            .into_iter()
            .filter_map(|refused| refused.or_else(|| decided.next()))
            .collect()
    }

    /// Checks that the sender of a batch may refund the purchase of `refund`.
    ///
    /// # Errors
    /// - 404 if only known purchases of the user are permitted, and this is none
    /// - The errors of [`look_up_for_write`](Self::look_up_for_write)
    async fn check_permitted(
        &self,
        refund: &Purchase,
        permitted: PermittedPurchases,
    ) -> HttpResult<()> {
        let (PermittedPurchases::KnownOfUser, Some(purchase_id)) = (permitted, refund.details.of)
        else {
            return Ok(());
        };
        let bought = match self.sink.acknowledged_purchase(&purchase_id) {
            Some(acknowledged) => Some(acknowledged),
            None => self.look_up_for_write(&purchase_id).await?.stored(),
        };
        if bought.is_some_and(|bought| bought.user_id == refund.user_id) {
            return Ok(());
        }
        Err(HttpError::UNKNOWN_PURCHASE)
    }

    /// Returns the currency of the shop, if it has one, for a write that is checked before its
    /// purchases are published.
    ///
    /// # Errors
    /// 503 if the currency is not known yet, or the store has another one: nothing was written.
    pub(crate) fn known_currency(&self) -> HttpResult<Option<Currency>> {
        self.sink
            .currency()
            .known()
            .map_err(|error| self.map_write_error(error, self.clock.fresh_id().into()))
    }

    /// Waits until fewer than [`MAX_PUBLISHING_BATCHES`] batches publish. The turn ends when the
    /// permit is dropped.
    ///
    /// # Errors
    /// [`Overloaded`](ErrorKind::Overloaded) if the turn does not come before `deadline`.
    async fn wait_for_batch_turn(&self, deadline: Instant) -> Result<SemaphorePermit<'_>> {
        // `timeout_at` would give a free turn also after the deadline. The semaphore is never
        // closed, so the only other failure is the timeout.
        if Instant::now() < deadline
            && let Ok(Ok(turn)) = timeout_at(deadline, self.batches.acquire()).await
        {
            return Ok(turn);
        }

        let message = "other batches were published for too long";
        Err(Error::new(ErrorKind::Overloaded, message).with_outcome(Outcome::NotApplied))
    }

    /// Returns the results of a batch that is not published because of `error`.
    ///
    /// The error of a purchase without a key contains a new key for the next attempt.
    fn reject_batch(&self, batch: Vec<BatchPurchase>, error: &Error) -> Vec<BatchResult> {
        batch
            .into_iter()
            .map(|purchase| {
                let retry_key = purchase
                    .new
                    .key
                    .unwrap_or_else(|| self.clock.fresh_id().into());
                Err(self.map_write_error(error.clone(), retry_key))
            })
            .collect()
    }

    /// Returns whether `caller` gets positions in receipts: offsets tell how much all users buy.
    pub(crate) fn shows_positions(&self, caller: &Caller) -> bool {
        self.policy.allows(caller, &Action::ReadPositions)
    }

    /// Converts the error of a purchase in a batch.
    fn map_attempt_error(&self, error: Error, attempt: AttemptedWrite) -> HttpError {
        let key = attempt.key.unwrap_or_else(|| key_from_id(&attempt.id));
        self.map_write_error(error, key)
    }

    /// Converts the error of the refund with the id `id`, with a text about the refund.
    fn map_refund_error(&self, error: Error, id: &PurchaseId) -> HttpError {
        let key = key_from_id(id);
        let refund_text = match error.kind() {
            ErrorKind::Conflict => HttpError::OTHER_REFUND.text,
            ErrorKind::Erased => "The purchase was erased".into(),
            ErrorKind::Invalid => error.message().to_owned().into(),
            _ => return self.map_write_error(error, key),
        };

        let mut http_error = self.map_write_error(error, key);
        http_error.text = refund_text;
        http_error
    }

    /// Converts the error of a write, which the client can repeat with `key`.
    fn map_write_error(&self, error: Error, key: IdempotencyKey) -> HttpError {
        HttpError::failed_write(error, self.subject(), key)
    }

    /// Returns the subject of the errors of this role.
    pub(crate) const fn subject(&self) -> Subject {
        Subject::Purchase(self.kind)
    }

    /// Returns what is stored under `id`.
    ///
    /// # Errors
    /// The errors of [`run_query`](Self::run_query).
    pub(crate) async fn look_up(&self, id: &PurchaseId) -> HttpResult<Lookup> {
        self.run_query(self.query.look_up(id)).await
    }

    /// Returns what is stored under `id`, as durable as an insert, for a service that acknowledges a
    /// repeated purchase by it.
    ///
    /// # Errors
    /// The errors of [`run_query`](Self::run_query).
    pub(crate) async fn look_up_durable(&self, id: &PurchaseId) -> HttpResult<Lookup> {
        self.run_query(self.query.look_up_durable(id)).await
    }

    /// Returns what is stored under `id`, for a write that needs the purchase.
    ///
    /// # Errors
    /// The errors of [`HttpError::failed_write`], which say that nothing was written.
    pub(crate) async fn look_up_for_write(&self, id: &PurchaseId) -> HttpResult<Lookup> {
        within(self.options.query_timeout, self.query.look_up(id))
            .await
            .map_err(|error| {
                self.map_write_error(error.with_outcome(Outcome::NotApplied), key_from_id(id))
            })
    }

    /// Returns the stored refund of `purchase`, whose id is derived from the id of the purchase.
    ///
    /// # Errors
    /// The errors of [`run_query`](Self::run_query).
    pub(crate) async fn find_refund(&self, purchase: &Purchase) -> HttpResult<Option<Purchase>> {
        // Neither a refund nor a purchase with a price of zero can be refunded.
        let Ok(refund) = purchase.refund(None, purchase.timestamp) else {
            return Ok(None);
        };

        // An operator may have imported another purchase with this id.
        let stored = self.look_up(&refund.id).await?.stored();
        Ok(stored.filter(|stored| {
            stored.details.of == refund.details.of && stored.user_id == refund.user_id
        }))
    }

    /// Returns the counts and the sums of the selected purchases per period.
    ///
    /// # Errors
    /// The errors of [`run_query`](Self::run_query).
    pub(crate) async fn totals(
        &self,
        permit: &RequestPermit,
        selector: &Selector,
        request: &TotalsRequest,
    ) -> HttpResult<Vec<Bucket>> {
        // The default request is for one sum of all times, which stores keep: it needs no turn.
        let _turn = if *request == TotalsRequest::default() {
            None
        } else {
            permit.wait_for_totals_turn().await
        };

        self.run_query(self.query.totals(selector, request)).await
    }

    /// Returns the names of users that begin with `prefix`, in any case.
    ///
    /// # Errors
    /// - 501 if the store cannot find names
    /// - The errors of [`HttpError::failed_query`]
    pub(crate) async fn names(&self, prefix: &UserName) -> HttpResult<Names> {
        within(
            self.options.query_timeout,
            names::find(&*self.query, prefix),
        )
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::Unsupported => HttpError::NO_NAMES,
            _ => HttpError::failed_query(error, self.subject()),
        })
    }

    /// Returns one page of a listing.
    ///
    /// # Errors
    /// The errors of [`run_query`](Self::run_query).
    pub(crate) async fn page(
        &self,
        selector: &Selector,
        request: &PageRequest,
    ) -> HttpResult<Page> {
        self.run_query(self.query.page(selector, request)).await
    }

    /// Returns the result of `call`, a call of the port `query`, if it completes in time.
    ///
    /// # Errors
    /// - 422 for a parameter of the request that the store rejects
    /// - The errors of [`HttpError::failed_query`]
    pub(crate) async fn run_query<T>(
        &self,
        call: impl Future<Output = Result<T>> + Send,
    ) -> HttpResult<T> {
        let result = within(self.options.query_timeout, call).await;
        result.map_err(|error| match (error.kind(), error.context("field")) {
            (ErrorKind::Invalid, Some("per")) => invalid_parameter(
                "per",
                "must be longer, or the range shorter: more than 1,000 periods have purchases",
            )
            .into(),
            (ErrorKind::Invalid, Some("cursor")) => invalid_parameter(
                "cursor",
                "does not belong to this listing; omit it to start over",
            )
            .into(),
            _ => HttpError::failed_query(error, self.subject()),
        })
    }
}

/// Returns the key with which a client can repeat a purchase that had no key: the text of its id.
fn key_from_id(id: &PurchaseId) -> IdempotencyKey {
    id.as_uuid().copied().unwrap_or_default().into()
}
