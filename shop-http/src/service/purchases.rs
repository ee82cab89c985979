//! The role purchases: publishing, finding and listing, with time-outs and failures.

use std::sync::Arc;
use std::time::Duration;

use shop_core::feed::PurchaseFeed;
use shop_core::ingest::IngestMonitor;
use shop_core::ports::{
    Bucket, IdSource, IdempotentSink, Lookup, Page, PageRequest, PurchaseQuery, PurchaseSink,
    Selector, TotalsRequest,
};
use shop_core::shop::LocalPorts;
use shop_core::{
    Clock, Error, ErrorKind, IdempotencyKey, NewPurchase, Outcome, PublishedPurchase, Purchase,
    PurchaseId, RequestContext, Result, UserName,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::auth::{Action, Caller, Policy};
use crate::options::HttpOptions;
use crate::permits::RequestPermit;
use crate::response::validation_error::invalid_parameter;
use crate::response::{HttpError, HttpResult, Subject};
use crate::service::names::{self, Names};
use crate::service::publisher::MeasuredSink;
use crate::service::{ServiceKind, within};

/// The number of batches that publish concurrently. With few purchases each, they leave room in the log's queue to
/// single purchases.
pub(super) const PUBLISHING: usize = 4;
/// The result of one purchase of a batch.
pub(crate) type BatchResult = HttpResult<PublishedPurchase>;

/// A purchase of a batch, with its id if that is not made of its key, which then is the text of the id.
pub(crate) type InBatch = (NewPurchase, Option<PurchaseId>);

/// The purchases of a service.
pub(crate) struct PurchaseService {
    pub(crate) kind: ServiceKind,
    pub(crate) sink: IdempotentSink<MeasuredSink>,
    pub(crate) query: Arc<dyn PurchaseQuery>,
    pub(crate) ingest: Option<IngestMonitor>,
    pub(crate) local: LocalPorts,
    pub(crate) feed: Option<PurchaseFeed>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Arc<HttpOptions>,
    /// The turns of batches that publish.
    pub(super) batches: Semaphore,
    pub(crate) policy: Policy,
}

impl PurchaseService {
    /// Gives a purchase its id and publishes it.
    ///
    /// A client that disconnects does not cancel it.
    pub(crate) fn buy(
        &self,
        new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> impl Future<Output = HttpResult<PublishedPurchase>> + Send {
        let key = new.key.clone();
        let fresh = self.clock.fresh_id();
        let mut purchase = new.into_purchase(self.clock.now(), || fresh);
        purchase.context = context;
        // A block after the preparation: an `async fn` stores its arguments twice, and many of these are in flight.
        async move {
            let Some(key) = key else {
                // A failed purchase can be repeated: this key is the id.
                let receipt = self
                    .sink
                    .inner()
                    .publish(&purchase)
                    .await
                    .map_err(|error| self.not_written(error, fresh.into()))?;
                self.sink.remember_receipt(&purchase, &receipt);
                return Ok(PublishedPurchase::new(purchase, receipt));
            };
            Box::pin(self.sink.publish_once(purchase))
                .await
                .map_err(|error| self.not_written(error, key))
        }
    }

    /// Publishes a refund, and waits for at most `limit` until the store has decided over it.
    ///
    /// A client that disconnects does not cancel it.
    pub(crate) async fn refund(
        &self,
        refund: Purchase,
        limit: Duration,
    ) -> HttpResult<PublishedPurchase> {
        let id = refund.id;
        Box::pin(self.sink.publish_refund(refund, limit))
            .await
            .map_err(|error| self.not_refunded(error, &id))
    }

    /// The failure of the refund with this id.
    fn not_refunded(&self, error: Error, id: &PurchaseId) -> HttpError {
        let text = match error.kind() {
            ErrorKind::Conflict => {
                Some("The purchase was refunded with another amount or reason".into())
            }
            ErrorKind::Erased => Some("The purchase was erased".into()),
            ErrorKind::Invalid => Some(error.message().to_owned().into()),
            _ => None,
        };
        let mut failure = self.not_written(error, key_of(id));
        if let Some(text) = text {
            failure.text = text;
        }
        failure
    }

    /// Gives each purchase its id and publishes them together, if they can begin before `deadline`. Returns one result
    /// per purchase.
    pub(crate) async fn buy_many(
        &self,
        new: Vec<InBatch>,
        context: Option<&RequestContext>,
        deadline: Instant,
    ) -> Vec<BatchResult> {
        let _turn = match self.turn(deadline).await {
            Ok(turn) => turn,
            Err(error) => {
                return new
                    .into_iter()
                    .map(|new| Err(self.not_begun(new, &error)))
                    .collect();
            }
        };
        let now = self.clock.now();
        let mut keys = Vec::with_capacity(new.len());
        let with_id = |(new, id): InBatch| {
            let key = new.key.clone();
            let mut purchase = new.into_purchase(now, || self.clock.fresh_id());
            let is_refund = purchase.details.of.is_some();
            // That of a refund is derived from its purchase alone.
            purchase.id = id.filter(|_| !is_refund).unwrap_or(purchase.id);
            purchase.context = context.map(|context| Box::new(context.clone()));
            let source = if key.is_some() || is_refund {
                IdSource::Given
            } else {
                IdSource::Generated
            };
            keys.push((key, purchase.id, is_refund));
            (purchase, source)
        };
        let purchases = new.into_iter().map(with_id).collect();
        self.sink
            .publish_once_many(purchases)
            .await
            .into_iter()
            .zip(keys)
            .map(|(published, (key, id, is_refund))| {
                published.map_err(|error| match (key, is_refund) {
                    (_, true) => self.not_refunded(error, &id),
                    (Some(key), false) => self.not_written(error, key),
                    (None, false) => self.not_written(error, key_of(&id)),
                })
            })
            .collect()
    }

    async fn turn(&self, deadline: Instant) -> Result<SemaphorePermit<'_>> {
        let late = || {
            Error::new(
                ErrorKind::Overloaded,
                "other batches were published for too long",
            )
            .with_outcome(Outcome::NotApplied)
        };
        if Instant::now() >= deadline {
            return Err(late());
        }
        tokio::time::timeout_at(deadline, self.batches.acquire())
            .await
            .ok()
            // The semaphore is never closed.
            .and_then(Result::ok)
            .ok_or_else(late)
    }

    /// The failure of a purchase that was not published. Its key is that of the next attempt.
    fn not_begun(&self, (new, _): InBatch, error: &Error) -> HttpError {
        let key = new.key.unwrap_or_else(|| self.clock.fresh_id().into());
        self.not_written(error.clone(), key)
    }

    /// Whether `caller` gets positions in receipts: their offsets tell how much all buy.
    pub(crate) fn shows_positions(&self, caller: &Caller) -> bool {
        self.policy.allows(caller, &Action::ReadPositions)
    }

    fn not_written(&self, error: Error, key: IdempotencyKey) -> HttpError {
        HttpError::write(error, self.subject(), key)
    }

    /// The subject of failures.
    pub(crate) const fn subject(&self) -> Subject {
        Subject::Purchase(self.kind)
    }

    /// What is stored under `id`.
    pub(crate) async fn look_up(&self, id: &PurchaseId) -> HttpResult<Lookup> {
        self.query(self.query.look_up(id)).await
    }

    /// What is stored under `id`, for a write that needs the purchase. An error says that nothing was written.
    pub(crate) async fn look_up_for_write(&self, id: &PurchaseId) -> HttpResult<Lookup> {
        within(self.options.query_timeout, self.query.look_up(id))
            .await
            .map_err(|error| self.not_written(error.with_outcome(Outcome::NotApplied), key_of(id)))
    }

    /// The stored refund of `purchase`, whose id is derived from that of the purchase.
    pub(crate) async fn refund_of(&self, purchase: &Purchase) -> HttpResult<Option<Purchase>> {
        // Neither a refund nor a price of zero can be refunded.
        let Ok(refund) = purchase.refund(None, purchase.timestamp) else {
            return Ok(None);
        };
        let found = self.look_up(&refund.id).await?.stored();
        // What an operator has imported may have this id.
        Ok(found.filter(|stored| {
            stored.details.of == refund.details.of && stored.user_id == refund.user_id
        }))
    }

    /// The counts and the sums of the selected purchases per period.
    pub(crate) async fn totals(
        &self,
        permit: &RequestPermit,
        selector: &Selector,
        request: &TotalsRequest,
    ) -> HttpResult<Vec<Bucket>> {
        // Those of everything are kept, and read at once.
        let _turn = if *request == TotalsRequest::default() {
            None
        } else {
            permit.wait_for_totals_turn().await
        };
        self.query(self.query.totals(selector, request)).await
    }

    /// The names of users that begin with `prefix`, in any case.
    pub(crate) async fn names(&self, prefix: &UserName) -> HttpResult<Names> {
        within(
            self.options.query_timeout,
            names::find(&*self.query, prefix),
        )
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::Unsupported => HttpError::NO_NAMES,
            _ => HttpError::query(error, self.subject()),
        })
    }

    /// One page of a listing.
    pub(crate) async fn page(
        &self,
        selector: &Selector,
        request: &PageRequest,
    ) -> HttpResult<Page> {
        self.query(self.query.page(selector, request)).await
    }

    /// One page of a listing, or the error of the port.
    pub(crate) async fn read_page(
        &self,
        selector: &Selector,
        request: &PageRequest,
    ) -> Result<Page> {
        within(
            self.options.query_timeout,
            self.query.page(selector, request),
        )
        .await
    }

    /// The result of a call of the port `query`, if it completes in time.
    pub(crate) async fn query<T>(
        &self,
        call: impl Future<Output = Result<T>> + Send,
    ) -> HttpResult<T> {
        let result = within(self.options.query_timeout, call).await;
        result.map_err(|error| match (error.kind(), error.context("field")) {
            (ErrorKind::Invalid, Some("per")) => {
                let text =
                    "must be longer, or the range shorter: more than 1,000 periods have purchases";
                invalid_parameter("per", text).into()
            }
            (ErrorKind::Invalid, Some("cursor")) => {
                let text = "does not belong to this listing; omit it to start over";
                invalid_parameter("cursor", text).into()
            }
            _ => HttpError::query(error, self.subject()),
        })
    }
}

/// The key to repeat a purchase with that had none.
fn key_of(id: &PurchaseId) -> IdempotencyKey {
    id.as_uuid().copied().unwrap_or_default().into()
}
