//! A sink that publishes each purchase once: it recognises repetitions and conflicts.
//!
//! - `cache` remembers the recent purchases of this process by their ids.
//! - `lookups` asks the store for an id, within limits that protect the buy.
//! - `decision` combines what both know: the purchase is published, or answered without a second record.
//! - `refund` publishes a refund, and waits until the store has decided over it.

mod cache;
mod decision;
#[cfg(test)]
mod idempotent_test;
mod lookups;
mod refund;

pub use refund::REFUND_TIMEOUT;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use self::cache::{IdempotencyCache, PriorAttempt};
use self::decision::PublishDecision;
pub(super) use self::lookups::is_recent;
use self::lookups::{Lookups, MAX_CONCURRENT};
use super::{Durability, PublishedPurchase, PurchaseQuery, PurchaseSink, Receipt};
use crate::log::LogFaults;
use crate::{
    Clock, Error, ErrorKind, NewPurchase, Purchase, PurchaseId, RequestContext, Result,
    SystemClock, Timestamp, with_failpoints,
};

/// Publishes each purchase that has a key once, whatever the sink is.
///
/// A purchase whose id is in use is not published again. The same content is a repetition: the result is the first
/// purchase with its time, and a receipt without a position unless this process knows it. Other content is a
/// [`Conflict`](ErrorKind::Conflict), and the id of an erased purchase is [`Erased`](ErrorKind::Erased).
///
/// An id is in use if `query` finds it, or if this sink has published it just now, among its last 10,000 purchases with and
/// its last 10,000 without a key. It is looked up for at most 250 ms, 64 at a time. After a look-up that failed or timed
/// out there is none for a second: an unavailable store delays no purchase. Purchases without a key and with a UUIDv7 of
/// the last 30 s are not looked up at their first attempt. Within the lag between log and store, two contents under one key
/// at two processes are decided by the order of the log.
///
/// A purchase that retention has deleted is forgotten: its key is a new one. A refund is decided by the store: its result
/// comes when the store has applied it, or after [`REFUND_TIMEOUT`] as [`pending`](PublishedPurchase::pending).
///
/// A [`Shop`](crate::Shop) has one by default.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_core::ports::{IdempotentSink, PurchaseSink};
/// use shop_core::{ErrorKind, NewPurchase};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// let sink = IdempotentSink::new(InMemoryLog::default().sink(), Arc::new(InMemoryStore::new()));
/// let order = |price| NewPurchase::for_user("u1").with_user_name("ada").with_price(price);
/// let first = sink.publish_new(order("29.99")?.with_key("order-7")?, None).await?;
/// let again = sink.publish_new(order("29.99")?.with_key("order-7")?, None).await?;
/// assert!(again.replayed && again.purchase == first.purchase);
/// let other = sink.publish_new(order("1")?.with_key("order-7")?, None).await;
/// assert_eq!(other.unwrap_err().kind(), ErrorKind::Conflict);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct IdempotentSink<S> {
    sink: S,
    query: Arc<dyn PurchaseQuery>,
    clock: Arc<dyn Clock>,
    cache: IdempotencyCache,
    lookups: Lookups,
    /// Each refund that waits for the decision of the store holds a reference, so that they can be counted.
    undecided_refunds: Arc<()>,
}

/// The source of the id of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdSource {
    /// It was given, by a key or as it is: it may be in use.
    Given,
    /// It was generated for this purchase: it is not in use.
    Generated,
}

impl<S: PurchaseSink> IdempotentSink<S> {
    /// Returns a sink that publishes to `sink` the purchases that `query` does not find.
    #[must_use]
    pub fn new(sink: S, query: Arc<dyn PurchaseQuery>) -> Self {
        Self {
            sink,
            query,
            clock: Arc::new(SystemClock),
            cache: IdempotencyCache::new(),
            lookups: Lookups::new(),
            undecided_refunds: Arc::default(),
        }
    }

    /// The same sink, with times and ids of `clock` (default: those of the system).
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The sink that it publishes to.
    pub const fn inner(&self) -> &S {
        &self.sink
    }

    /// Remembers a purchase whose id was generated, and that was published past this sink.
    pub fn remember_receipt(&self, purchase: &Purchase, receipt: &Receipt) {
        self.cache.remember_generated(purchase, receipt);
    }

    /// Returns the purchase with this id, if this process has acknowledged it recently. The store may not have it yet.
    pub fn acknowledged_purchase(&self, id: &PurchaseId) -> Option<Purchase> {
        self.cache.acknowledged(id)
    }

    /// Publishes a purchase whose id was given, unless the id is in use. A refund is published by
    /// [`publish_refund`](Self::publish_refund).
    ///
    /// # Errors
    /// As [`publish_new`](PurchaseSink::publish_new).
    ///
    /// # Cancel safety
    /// As [`publish`](PurchaseSink::publish). After the call was dropped, its id is looked up before it is published
    /// again.
    pub async fn publish_once(&self, purchase: Purchase) -> Result<PublishedPurchase> {
        let decision = self.decide(purchase, self.clock.now()).await?;
        let (purchase, prior) = match decision {
            PublishDecision::Answer(published) => return Ok(published),
            PublishDecision::Publish(purchase, prior) => (purchase, prior),
        };

        let receipt = with_failpoints("publish", self.sink.publish(&purchase)).await;
        self.cache.record(&purchase, prior, &receipt);
        self.first_purchase(purchase, receipt?).await
    }

    /// Publishes many purchases as [`publish_once`](Self::publish_once) and
    /// [`publish_refund`](Self::publish_refund) do. Purchases with a generated id are published without a look-up. Returns
    /// one result per purchase, in their order.
    ///
    /// Refunds are published last: the purchase that a refund names may be in the same batch.
    ///
    /// # Cancel safety
    /// As [`publish_many`](PurchaseSink::publish_many).
    pub async fn publish_once_many(
        &self,
        purchases: Vec<(Purchase, IdSource)>,
    ) -> Vec<Result<PublishedPurchase>> {
        let now = self.clock.now();
        let mut results: Vec<_> = purchases.iter().map(|_| None).collect();
        // The places of the purchases in the batch, and the purchases.
        let mut to_publish = Vec::new();
        let mut undecided = Vec::new();
        let mut refunds = Vec::new();
        let mut places_of_refunds = Vec::new();

        for (index, (purchase, source)) in purchases.into_iter().enumerate() {
            if purchase.is_refund() {
                refunds.push(purchase);
                places_of_refunds.push(index);
            } else if source == IdSource::Generated {
                to_publish.push(((index, PriorAttempt::IdIsGenerated), purchase));
            } else {
                match self.look_up_cache(&purchase, now) {
                    Some(cached) => undecided.push((index, purchase, cached)),
                    None => to_publish.push(((index, PriorAttempt::None), purchase)),
                }
            }
        }

        let mut decisions = stream::iter(undecided)
            .map(|(index, purchase, cached)| async move {
                (index, self.decide_by_store(purchase, cached).await)
            })
            .buffered(MAX_CONCURRENT);
        while let Some((index, decision)) = decisions.next().await {
            match decision {
                Ok(PublishDecision::Publish(purchase, prior)) => {
                    to_publish.push(((index, prior), purchase));
                }
                Ok(PublishDecision::Answer(published)) => results[index] = Some(Ok(published)),
                Err(error) => results[index] = Some(Err(error)),
            }
        }

        // The order of the batch is that of the log for the purchases of a user.
        to_publish.sort_unstable_by_key(|((index, _), _)| *index);
        let (places, purchases): (Vec<_>, Vec<Purchase>) = to_publish.into_iter().unzip();
        let receipts = self.publish_all(&purchases).await;
        for ((purchase, (index, prior)), receipt) in purchases.into_iter().zip(places).zip(receipts)
        {
            self.cache.record(&purchase, prior, &receipt);
            results[index] = Some(match receipt {
                Ok(receipt) => self.first_purchase(purchase, receipt).await,
                Err(error) => Err(error),
            });
        }

        let refunded = self.publish_refunds(refunds).await;
        for (index, result) in places_of_refunds.into_iter().zip(refunded) {
            results[index] = Some(result);
        }
        results.into_iter().flatten().collect()
    }

    /// Publishes `purchases` by one call of the sink. Returns one result per purchase.
    async fn publish_all(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        if purchases.is_empty() {
            return Vec::new();
        }
        let published = with_failpoints("publish", self.sink.publish_many(purchases)).await;
        if published.len() == purchases.len() {
            return published;
        }
        purchases.iter().map(|_| Err(miscounted())).collect()
    }

    /// Returns the result of a repetition of a purchase, which is stored.
    fn replay(&self, stored: Purchase) -> PublishedPurchase {
        let receipt = Receipt::new(stored.id, self.sink.durability());
        PublishedPurchase::new(stored, receipt).into_replayed()
    }

    /// Returns the result of a purchase that was published with `receipt`. Where the sink had it already, that is the first
    /// purchase.
    async fn first_purchase(
        &self,
        purchase: Purchase,
        mut receipt: Receipt,
    ) -> Result<PublishedPurchase> {
        if let Some(first) = receipt.first_purchase.take() {
            return Ok(PublishedPurchase::new(*first, receipt));
        }
        if receipt.is_duplicate
            && let Some(first) = self.find_stored(&purchase).await?
        {
            return Ok(first);
        }
        Ok(PublishedPurchase::new(purchase.without_context(), receipt))
    }
}

/// Returns the error for a sink that has not returned one result per purchase.
pub(crate) fn miscounted() -> Error {
    Error::new(ErrorKind::Internal, "a sink has miscounted its results")
}

/// Returns the error for the id of an erased purchase.
pub(super) fn erased() -> Error {
    let message = "the id belongs to a purchase that was erased: use a new key";
    Error::new(ErrorKind::Erased, message)
}

/// Returns the error for an id that belongs to another purchase.
fn other_content() -> Error {
    let message = "the key was used for a purchase with other content";
    Error::new(ErrorKind::Conflict, message)
}

#[async_trait]
impl<S: PurchaseSink> PurchaseSink for IdempotentSink<S> {
    /// Publishes without a look-up.
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.sink.publish(purchase).await
    }

    /// As [`publish`](Self::publish), for many purchases.
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        self.sink.publish_many(purchases).await
    }

    async fn publish_new(
        &self,
        new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> Result<PublishedPurchase> {
        let (purchase, source) = self.with_id(new, self.clock.now(), context);
        if purchase.is_refund() {
            return self.publish_refund(purchase, REFUND_TIMEOUT).await;
        }
        if source == IdSource::Given {
            return self.publish_once(purchase).await;
        }
        let receipt = self.sink.publish(&purchase).await?;
        self.remember_receipt(&purchase, &receipt);
        Ok(PublishedPurchase::new(purchase.without_context(), receipt))
    }

    async fn publish_new_many(
        &self,
        new: Vec<NewPurchase>,
        context: Option<Box<RequestContext>>,
    ) -> Vec<Result<PublishedPurchase>> {
        let now = self.clock.now();
        let purchases = new
            .into_iter()
            .map(|new| self.with_id(new, now, context.clone()))
            .collect();
        self.publish_once_many(purchases).await
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn is_storing(&self) -> bool {
        self.sink.is_storing()
    }

    fn may_be_unstored(&self, id: &PurchaseId) -> bool {
        self.cache.acknowledged(id).is_some() || is_recent(id, self.clock.now())
    }

    fn durability(&self) -> Durability {
        self.sink.durability()
    }

    fn faults(&self) -> LogFaults {
        self.sink.faults()
    }

    async fn check(&self) -> Result<()> {
        self.sink.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.sink.close(deadline).await
    }
}

impl<S> IdempotentSink<S> {
    /// Assigns an id to a new purchase.
    fn with_id(
        &self,
        new: NewPurchase,
        now: Timestamp,
        context: Option<Box<RequestContext>>,
    ) -> (Purchase, IdSource) {
        let source = match (&new.key, &new.details.of) {
            (None, None) => IdSource::Generated,
            _ => IdSource::Given,
        };
        let mut purchase = new.into_purchase(now, || self.clock.fresh_id());
        purchase.context = context;
        (purchase, source)
    }
}
