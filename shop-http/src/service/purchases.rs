//! The role purchases: buys, refunds, finds and lists purchases.
//!
//! Handlers call [`PurchaseService`]. It calls the [`Shop`], and adds what a service needs around the
//! call: the timeout of a query, mostly by [`run_query`](PurchaseService::run_query), and the response
//! to an error. The shop publishes through a [`MeasuredSink`](super::publisher::MeasuredSink).

use std::sync::Arc;

use futures_util::TryFutureExt;
use shop_core::domain::{Currency, RefundReason};
use shop_core::feed::PurchaseFeed;
use shop_core::ingest::IngestMonitor;
use shop_core::ports::{
    Bucket, Lookup, Page, PageRequest, REFUND_TIMEOUT, RecentOutcomes, RefundState, Selector,
    Summary, TotalsRequest,
};
use shop_core::shop::Names;
use shop_core::{
    Clock, Error, ErrorKind, NewPurchase, Outcome, Price, PublishedPurchase, Purchase, PurchaseId,
    RequestContext, Result, Shop, UserName,
};
use tokio::time::Instant;

use crate::auth::{Action, Caller, Policy};
use crate::options::HttpOptions;
use crate::permits::RequestPermit;
use crate::response::validation_error::invalid_parameter;
use crate::response::{HttpError, HttpResult, Location, Subject};
use crate::service::publisher::LastPurchases;
use crate::service::{ServiceKind, within};

/// The result of one purchase or refund of a batch.
pub(crate) type BatchResult = HttpResult<PublishedPurchase>;

/// A refund of a batch, and the purchases that its sender may refund.
pub(crate) struct BatchRefund {
    /// The refund as the client sent it.
    pub(crate) refund: NewPurchase,
    pub(crate) permitted: PermittedPurchases,
}

/// The purchases that the sender of a batch may refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PermittedPurchases {
    /// Any purchase, also one that is not known yet: an export may contain a refund before its
    /// purchase.
    Any,
    /// Only purchases that are known here and belong to the user of the refund. Any other purchase
    /// gets the same answer as one that does not exist, because the sender must not learn which
    /// purchases of others exist.
    KnownAndOwn,
}

/// The role purchases of a service.
pub(crate) struct PurchaseService {
    pub(crate) kind: ServiceKind,
    pub(crate) shop: Shop,
    /// The outcomes of the publishes of all routers of the process.
    pub(crate) outcomes: Arc<RecentOutcomes>,
    /// The last purchases that this process acknowledged, if listings wait for them.
    pub(crate) recent: Option<Arc<LastPurchases>>,
    pub(crate) ingest: Option<IngestMonitor>,
    /// Whether purchases are published to a file of this process.
    pub(crate) has_local_log: bool,
    /// Whether purchases are listed from a file of this process.
    pub(crate) has_local_store: bool,
    pub(crate) feed: Option<PurchaseFeed>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Arc<HttpOptions>,
    pub(crate) policy: Policy,
}

impl PurchaseService {
    /// Buys a purchase.
    ///
    /// # Errors
    /// The errors of [`HttpError::failed_write`].
    ///
    /// # Cancel safety
    /// Dropping the future has the effect that [`Shop::buy`] describes. The router never drops it:
    /// the router completes every write that it began, even if the client disconnects.
    pub(crate) fn buy(
        &self,
        new_purchase: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> impl Future<Output = HttpResult<PublishedPurchase>> + Send {
        self.shop
            .buy_for_request(new_purchase, context)
            .map_err(|error| self.map_write_error(error))
    }

    /// Refunds `amount` of the purchase `bought`, or its whole price without an amount.
    ///
    /// # Errors
    /// - 422 if this amount cannot be refunded
    /// - The errors of [`HttpError::failed_write`], with texts about refunds
    pub(crate) async fn refund(
        &self,
        bought: &Purchase,
        amount: Option<Price>,
        reason: Option<RefundReason>,
        context: Option<Box<RequestContext>>,
    ) -> HttpResult<PublishedPurchase> {
        let shop = self.shop.with_request(context);
        let result = shop.refund_purchase(bought, amount, reason).await;
        result.map_err(|error| match (error.kind(), error.context("field")) {
            (ErrorKind::Invalid, Some("amount")) => {
                let location = Location::Member("amount".into());
                location.error(error.message().to_owned()).into()
            }
            _ => self.map_refund_error(error, &bought.id.refund_id()),
        })
    }

    /// Buys the purchases of `batch` together.
    ///
    /// Returns one result per purchase, in the order of `batch`. After `deadline`, nothing is
    /// published, and each result is an error.
    pub(crate) async fn buy_many(
        &self,
        batch: Vec<NewPurchase>,
        context: Option<Box<RequestContext>>,
        deadline: Instant,
    ) -> Vec<BatchResult> {
        if Instant::now() >= deadline {
            return batch
                .iter()
                .map(|new_purchase| Err(self.late_error(new_purchase)))
                .collect();
        }
        let results = self.shop.with_request(context).buy_many(batch).await;
        results
            .into_iter()
            .map(|result| result.map_err(|error| self.map_write_error(error)))
            .collect()
    }

    /// Publishes the refunds of a batch together, and waits once, for at most
    /// [`REFUND_TIMEOUT`], until the store decided about all of them.
    ///
    /// The purchases of the batch must be published before, because the refunds may be of them.
    /// Returns one result per refund, in the order of `refunds`. A refund without a decision is
    /// pending. After `deadline`, nothing is published, and each result is an error.
    pub(crate) async fn refund_many(
        &self,
        refunds: Vec<BatchRefund>,
        context: Option<Box<RequestContext>>,
        deadline: Instant,
    ) -> Vec<BatchResult> {
        let mut checks = Vec::with_capacity(refunds.len());
        let mut permitted_refunds = Vec::with_capacity(refunds.len());
        for BatchRefund { refund, permitted } in refunds {
            let check = if Instant::now() < deadline {
                self.check_permitted(&refund, permitted).await
            } else {
                Err(self.late_error(&refund))
            };
            if check.is_ok() {
                permitted_refunds.push(refund);
            }
            checks.push(check);
        }

        let published_results = self.publish_refunds(permitted_refunds, context).await;
        let mut published_results = published_results.into_iter();
        // There is one published result for each successful check, so none is left out.
        checks
            .into_iter()
            .filter_map(|check| match check {
                Ok(()) => published_results.next(),
                Err(error) => Some(Err(error)),
            })
            .collect()
    }

    /// Publishes `refunds` together. Returns one result per refund, in the order of `refunds`.
    async fn publish_refunds(
        &self,
        refunds: Vec<NewPurchase>,
        context: Option<Box<RequestContext>>,
    ) -> Vec<BatchResult> {
        if refunds.is_empty() {
            return Vec::new();
        }
        // Every refund names its purchase in `of`, so there is an id for each.
        let refund_ids: Vec<PurchaseId> = refunds
            .iter()
            .filter_map(|refund| Some(refund.details.of?.refund_id()))
            .collect();
        let results = self.shop.with_request(context).buy_many(refunds).await;
        results
            .into_iter()
            .zip(refund_ids)
            .map(|(result, id)| result.map_err(|error| self.map_refund_error(error, &id)))
            .collect()
    }

    /// Checks that the sender of a batch may refund the purchase of `refund`.
    ///
    /// # Errors
    /// - 404 if only known purchases of the user are permitted, and this is not such a purchase
    /// - The errors of [`look_up_for_write`](Self::look_up_for_write)
    async fn check_permitted(
        &self,
        refund: &NewPurchase,
        permitted: PermittedPurchases,
    ) -> HttpResult<()> {
        let (PermittedPurchases::KnownAndOwn, Some(purchase_id)) = (permitted, refund.details.of)
        else {
            return Ok(());
        };
        // A purchase that was just acknowledged may not be stored yet.
        let known_purchase = match self.shop.acknowledged(&purchase_id) {
            Some(acknowledged) => Some(acknowledged),
            None => self.look_up_for_write(&purchase_id).await?.stored(),
        };
        if known_purchase.is_some_and(|purchase| purchase.user_id == refund.user_id) {
            return Ok(());
        }
        Err(HttpError::UNKNOWN_PURCHASE)
    }

    /// Returns the currency of the shop, or `None` if the shop has none, for a write that is checked
    /// before its purchases are published.
    ///
    /// # Errors
    /// 503 if the currency is not known yet, or the store has another one: nothing was written.
    pub(crate) fn known_currency(&self) -> HttpResult<Option<Currency>> {
        let currency = self.shop.shop_currency().known();
        currency.map_err(|error| self.map_write_error(error))
    }

    /// Returns the error of a purchase or refund that is not published, because the deadline of its
    /// batch has passed.
    fn late_error(&self, new_purchase: &NewPurchase) -> HttpError {
        let message = "other batches were published for too long";
        let error = Error::new(ErrorKind::Overloaded, message).with_outcome(Outcome::NotApplied);
        self.map_write_error(match &new_purchase.key {
            Some(key) => error.with_idempotency_key(key.clone()),
            None => error,
        })
    }

    /// Returns whether `caller` gets positions in receipts. The policy decides, because the offsets of
    /// the log tell how much all users buy.
    pub(crate) fn shows_positions(&self, caller: &Caller) -> bool {
        self.policy.allows(caller, &Action::ReadPositions)
    }

    /// Converts the error of the refund with the id `id`, with a text about the refund.
    fn map_refund_error(&self, error: Error, id: &PurchaseId) -> HttpError {
        let error = with_id_as_key(error, id);
        let refund_text = match error.kind() {
            ErrorKind::Conflict => HttpError::OTHER_REFUND.text,
            ErrorKind::Erased => "The purchase was erased".into(),
            ErrorKind::Invalid => error.message().to_owned().into(),
            _ => return self.map_write_error(error),
        };

        let mut http_error = self.map_write_error(error);
        http_error.text = refund_text;
        http_error
    }

    /// Converts the error of a write. The client can repeat the write with the key of the error, or
    /// with a new key if the error has none.
    fn map_write_error(&self, error: Error) -> HttpError {
        let key = error
            .idempotency_key()
            .cloned()
            .unwrap_or_else(|| self.clock.fresh_id().into());
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
        self.run_query(self.shop.look_up(id)).await
    }

    /// Returns what is stored under `id`, for a write that needs the purchase.
    ///
    /// # Errors
    /// The errors of [`HttpError::failed_write`], which say that nothing was written.
    async fn look_up_for_write(&self, id: &PurchaseId) -> HttpResult<Lookup> {
        let lookup = within(self.options.query_timeout, self.shop.look_up(id)).await;
        lookup.map_err(|error| self.map_look_up_error(error, id))
    }

    /// Returns what is stored under `id`, for a refund. Waits for a purchase that may not be stored
    /// yet, as [`Shop::look_up_acknowledged`] does.
    ///
    /// # Errors
    /// The errors of [`HttpError::failed_write`], which say that nothing was written.
    pub(crate) async fn look_up_acknowledged(&self, id: &PurchaseId) -> HttpResult<Lookup> {
        // The shop ends the wait by itself after `REFUND_TIMEOUT`. The longer time-out is for a store
        // that hangs.
        let timeout = REFUND_TIMEOUT.saturating_mul(2);
        let lookup = within(timeout, self.shop.look_up_acknowledged(id)).await;
        lookup.map_err(|error| self.map_look_up_error(error, id))
    }

    /// Converts the error of a look-up of the purchase `id`, after which nothing was written.
    fn map_look_up_error(&self, error: Error, id: &PurchaseId) -> HttpError {
        let error = error.with_outcome(Outcome::NotApplied);
        self.map_write_error(with_id_as_key(error, id))
    }

    /// Returns the stored refund of `purchase`, if it was refunded.
    ///
    /// # Errors
    /// The errors of [`run_query`](Self::run_query).
    pub(crate) async fn find_refund(&self, purchase: &Purchase) -> HttpResult<Option<Purchase>> {
        self.run_query(self.shop.find_refund(purchase)).await
    }

    /// Returns what the store has decided about `refund`.
    ///
    /// # Errors
    /// The errors of [`run_query`](Self::run_query).
    pub(crate) async fn refund_state(&self, refund: &Purchase) -> HttpResult<RefundState> {
        self.run_query(self.shop.refund_state(refund)).await
    }

    /// Returns the count and the sum of the selected purchases of all times.
    ///
    /// # Errors
    /// The errors of [`run_query`](Self::run_query).
    pub(crate) async fn summary(&self, selector: &Selector) -> HttpResult<Summary> {
        self.run_query(self.shop.summary(selector)).await
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
        // The default request is for one sum of all times. Stores maintain this sum, so reading it
        // needs no turn.
        let _turn = if *request == TotalsRequest::default() {
            None
        } else {
            permit.wait_for_totals_turn().await
        };

        self.run_query(self.shop.totals(selector, request)).await
    }

    /// Returns the names of users that begin with `prefix`, in any case.
    ///
    /// # Errors
    /// - 501 if the store cannot find names
    /// - The errors of [`HttpError::failed_query`]
    pub(crate) async fn names(&self, prefix: &UserName) -> HttpResult<Names> {
        let names = within(self.options.query_timeout, self.shop.names(prefix)).await;
        names.map_err(|error| match error.kind() {
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
        self.run_query(self.shop.page(selector, request)).await
    }

    /// Returns the result of `call`, which reads from the store, if it completes in time.
    ///
    /// # Errors
    /// - 422 for a parameter of the request that the store rejects
    /// - The errors of [`HttpError::failed_query`]
    async fn run_query<T>(&self, call: impl Future<Output = Result<T>> + Send) -> HttpResult<T> {
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

/// Adds `id` to `error` as the key of the write, if the id is a UUID. Other ids cannot be keys.
fn with_id_as_key(error: Error, id: &PurchaseId) -> Error {
    match id.as_uuid() {
        Some(uuid) => error.with_idempotency_key((*uuid).into()),
        None => error,
    }
}
