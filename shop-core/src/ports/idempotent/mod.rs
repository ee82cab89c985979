//! A sink that publishes each purchase once, because it recognizes repetitions and conflicts.
//!
//! ```text
//! purchase ─▶ decision ─┬─ id not in use ─▶ publish to the inner sink ─▶ result
//!               ▲   ▲   └─ id in use ─────▶ the first purchase, or an error
//!           cache   lookups
//!
//! refund ───▶ publish to the inner sink ─▶ wait for the decision of the store ─▶ result
//! ```
//!
//! | Part | Responsibility |
//! |---|---|
//! | `cache` | Remembers the recent purchases of this process by their ids |
//! | `lookups` | Looks up an id in the store, within limits that protect the buy |
//! | `decision` | Decides by both whether a purchase is published, or answered without a second record |
//! | `batch` | Publishes many purchases and refunds together |
//! | `refund` | Publishes a refund, and waits until the store decides about it |
//! | `refund_state` | Reads what the store has decided about a refund |

mod batch;
mod cache;
mod decision;
#[cfg(test)]
mod idempotent_test;
mod lookups;
mod refund;
mod refund_state;

pub use refund::REFUND_TIMEOUT;
pub use refund_state::RefundState;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::cache::IdempotencyCache;
use self::decision::PublishDecision;
use self::lookups::Lookups;
pub(super) use self::lookups::is_recent;
use super::{
    PublishedPurchase, PurchasePublisher, PurchaseQuery, PurchaseSink, Receipt, ShopCurrency,
    SinkInfo,
};
use crate::{
    Clock, Error, ErrorKind, IdempotencyKey, NewPurchase, Purchase, PurchaseId, RequestContext,
    Result, SystemClock, Timestamp, with_failpoints,
};

/// A sink that publishes each purchase with a key once to another sink, which need not recognize
/// repetitions.
///
/// A purchase whose id is in use is not published again:
/// - The same content is a repetition. The result is the first purchase with its time. Its receipt
///   contains the position in the log only if this process knows the position.
/// - Other content is a [`Conflict`](ErrorKind::Conflict).
/// - The id of an erased purchase is refused as [`Erased`](ErrorKind::Erased).
///
/// An id is in use if the store contains it, or if this sink published it just now. The sink
/// remembers its last 10,000 purchases with a key, and its last 10,000 purchases without one.
///
/// A look-up in the store takes at most 250 ms, and 64 are made at a time. After a look-up that
/// failed or timed out, none is made for a second, so that an unavailable store delays no purchase.
/// The first attempt of a purchase is not looked up if the purchase has no key, or if its id is a
/// UUIDv7 of the last 30 s. If two processes publish different purchases under one key before the
/// store contains one of them, the order of the log decides.
///
/// Every purchase and refund first passes the [`ShopCurrency`] of this sink, which refuses what the
/// store could only reject.
///
/// A purchase that retention deleted is forgotten, and its key can be used again. The store decides
/// about a refund: the result comes when the store applies the refund, or after [`REFUND_TIMEOUT`]
/// as [`pending`](PublishedPurchase::pending).
///
/// A [`Shop`](crate::Shop) uses this sink by default.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_core::ports::{IdempotentSink, PurchasePublisher};
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
    /// The store, in which ids are looked up.
    query: Arc<dyn PurchaseQuery>,
    /// The source of the times and the ids of new purchases.
    clock: Arc<dyn Clock>,
    /// The currency of the shop, which decides first about every purchase.
    currency: ShopCurrency,
    cache: IdempotencyCache,
    lookups: Lookups,
    /// Counts the refunds that wait for the decision of the store: each such refund holds a
    /// reference.
    undecided_refunds: Arc<()>,
}

/// The source of the id of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdSource {
    /// The id comes from the caller: it is stated, or follows from a key or from the refunded
    /// purchase. So it may be in use.
    Caller,
    /// The id was generated for this purchase, so it is not in use.
    Generated,
}

/// A new purchase with the id that was assigned to it.
struct IdentifiedPurchase {
    purchase: Purchase,
    /// The key that the purchase came with.
    key: Option<IdempotencyKey>,
    source: IdSource,
}

impl<S: PurchaseSink> IdempotentSink<S> {
    /// Creates a sink that publishes to `sink` the purchases that the store of `query` does not
    /// contain.
    #[must_use]
    pub fn new(sink: S, query: Arc<dyn PurchaseQuery>) -> Self {
        Self {
            sink,
            query,
            clock: Arc::new(SystemClock),
            currency: ShopCurrency::default(),
            cache: IdempotencyCache::new(),
            lookups: Lookups::new(),
            undecided_refunds: Arc::default(),
        }
    }

    /// Returns this sink with times and ids of `clock` (default: the clock of the system).
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Returns this sink for a shop in `currency` (default: a shop without a currency).
    #[must_use]
    pub fn with_currency(self, currency: ShopCurrency) -> Self {
        Self { currency, ..self }
    }

    /// Returns the currency of the shop, as far as this process knows it.
    pub const fn currency(&self) -> &ShopCurrency {
        &self.currency
    }

    /// Returns the port of the store in which ids are looked up.
    pub(crate) const fn query(&self) -> &Arc<dyn PurchaseQuery> {
        &self.query
    }

    /// Returns the source of the times and the ids of new purchases.
    pub(crate) const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Returns the inner sink, to which this sink publishes.
    pub const fn inner(&self) -> &S {
        &self.sink
    }

    /// Publishes `purchase` without a look-up. Its id was generated, so it cannot be a repetition.
    ///
    /// The purchase gets the currency of the shop. The cache remembers the purchase, so that a later
    /// repetition under the generated id is recognized.
    ///
    /// # Errors
    /// - The errors of [`ShopCurrency::check`]
    /// - The errors of [`publish`](PurchaseSink::publish)
    async fn publish_generated(&self, purchase: &mut Purchase) -> Result<Receipt> {
        self.currency.admit(&mut purchase.details)?;
        let receipt = self.sink.publish_unboxed(purchase).await?;
        self.cache.remember_generated(purchase, &receipt);
        Ok(receipt)
    }

    /// Publishes `purchase`, whose id comes from the caller, unless the id is in use.
    ///
    /// For a repetition, the result is the first purchase. A refund is published by
    /// [`publish_refund`](Self::publish_refund) instead.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) if the id belongs to a purchase with other content
    /// - [`Erased`](ErrorKind::Erased) if the id belongs to an erased purchase
    /// - The errors of [`ShopCurrency::check`]
    /// - The errors of [`publish`](PurchaseSink::publish)
    ///
    /// # Cancel safety
    /// Dropping the future leaves the purchase published or not. The cache remembers the attempt,
    /// so the id is looked up before the purchase is published again.
    async fn publish_once(&self, mut purchase: Purchase) -> Result<PublishedPurchase> {
        self.currency.admit(&mut purchase.details)?;
        let decision = self.decide(purchase, self.clock.now()).await?;
        let (purchase, prior_attempt) = match decision {
            PublishDecision::Answer(published) => return Ok(published),
            PublishDecision::Publish(purchase, prior_attempt) => (purchase, prior_attempt),
        };

        let receipt = with_failpoints("publish", self.sink.publish(&purchase)).await;
        self.cache.record_result(&purchase, prior_attempt, &receipt);
        self.result_of_publish(purchase, receipt?).await
    }

    /// Publishes `purchases` by one call of the inner sink, and returns one result per purchase.
    ///
    /// An embedder may implement the sink. If it returns another number of results, the results
    /// cannot be assigned to the purchases, and each purchase gets an
    /// [`Internal`](ErrorKind::Internal) error.
    async fn publish_all(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        if purchases.is_empty() {
            return Vec::new();
        }
        let results = with_failpoints("publish", self.sink.publish_many(purchases)).await;
        if results.len() == purchases.len() {
            return results;
        }
        vec![Err(miscounted_error()); purchases.len()]
    }

    /// Returns the result of a repetition of the purchase `stored`, which the store contains.
    ///
    /// The receipt contains no position, because the store does not know the position in the log.
    fn replayed_result(&self, stored: Purchase) -> PublishedPurchase {
        let receipt = Receipt::new(stored.id, self.sink.info().durability);
        PublishedPurchase::new(stored, receipt).into_replayed()
    }

    /// Returns the result of `purchase`, which was published with `receipt`.
    ///
    /// If the inner sink had the purchase already, the result contains that first purchase. It comes
    /// from the receipt or, if the receipt does not contain it, from the store.
    ///
    /// # Errors
    /// Returns the errors of [`find_stored`](Self::find_stored) for a duplicate.
    async fn result_of_publish(
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

    /// Assigns an id, a timestamp and `context` to a new purchase or refund.
    ///
    /// A purchase without an id and a key gets a generated id. The id of a refund is derived from the
    /// id of its purchase. A purchase without a timestamp gets the time `now`.
    fn assign_id(
        &self,
        new: NewPurchase,
        now: Timestamp,
        context: Option<Box<RequestContext>>,
    ) -> IdentifiedPurchase {
        let is_generated = new.id.is_none() && new.key.is_none() && new.details.of.is_none();
        let source = if is_generated {
            IdSource::Generated
        } else {
            IdSource::Caller
        };
        let key = new.key.clone();
        let mut purchase = new.into_purchase(now, || self.clock.fresh_id());
        purchase.context = context;
        IdentifiedPurchase {
            purchase,
            key,
            source,
        }
    }
}

/// Adds the key to the error of a publish under which the publish can be repeated: the key of the
/// purchase or, without a key, its id.
///
/// The error of a refund gets no key, because the id of a refund is not a valid key. A refund needs
/// no key to be repeated: its id follows from its purchase.
fn add_key_to_error(
    error: Error,
    key: Option<IdempotencyKey>,
    id: &PurchaseId,
    source: IdSource,
) -> Error {
    match (key.or_else(|| id.as_key()), source) {
        (Some(key), IdSource::Caller) => error.with_idempotency_key(key),
        (Some(key), IdSource::Generated) => error.with_generated_key(key),
        (None, _) => error,
    }
}

/// Returns the error for a sink whose number of results differs from the number of purchases.
pub(crate) fn miscounted_error() -> Error {
    Error::new(ErrorKind::Internal, "a sink has miscounted its results")
}

/// Returns the error for a purchase whose id belongs to an erased purchase.
pub(super) fn erased_error() -> Error {
    let message = "the id belongs to a purchase that was erased: use a new key";
    Error::new(ErrorKind::Erased, message)
}

/// Returns the error for a purchase whose id belongs to a purchase with other content.
fn other_content_error() -> Error {
    let message = "the key was used for a purchase with other content";
    Error::new(ErrorKind::Conflict, message)
}

#[async_trait]
impl<S: PurchaseSink> PurchaseSink for IdempotentSink<S> {
    /// Publishes `purchase` to the inner sink without a look-up, even if its id is in use.
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.currency.check(&purchase.details)?;
        self.sink.publish(purchase).await
    }

    /// Publishes `purchases` to the inner sink without look-ups, even if their ids are in use.
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let checks = purchases
            .iter()
            .map(|purchase| self.currency.check(&purchase.details));
        // The errors of the purchases that are not published, by the index of the purchase.
        let mut currency_errors = BTreeMap::new();
        for (index, check) in checks.enumerate() {
            if let Err(error) = check {
                currency_errors.insert(index, error);
            }
        }
        if currency_errors.is_empty() {
            return self.sink.publish_many(purchases).await;
        }

        // Some purchases name another currency, or the currency of the shop has just changed.
        let accepted_purchases: Vec<Purchase> = purchases
            .iter()
            .enumerate()
            .filter(|(index, _)| !currency_errors.contains_key(index))
            .map(|(_, purchase)| purchase.clone())
            .collect();
        let mut receipts = self.publish_all(&accepted_purchases).await.into_iter();
        (0..purchases.len())
            .map(|index| match currency_errors.remove(&index) {
                Some(error) => Err(error),
                None => receipts.next().unwrap_or_else(|| Err(miscounted_error())),
            })
            .collect()
    }

    fn info(&self) -> SinkInfo {
        self.sink.info()
    }

    async fn check(&self) -> Result<()> {
        self.sink.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.sink.close(deadline).await
    }
}

#[async_trait]
impl<S: PurchaseSink> PurchasePublisher for IdempotentSink<S> {
    /// Publishes a new purchase or refund once, by the source of its id.
    ///
    /// A purchase with a generated id cannot be a repetition. It is published without a look-up,
    /// and remembered.
    async fn publish_new(
        &self,
        new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> Result<PublishedPurchase> {
        let IdentifiedPurchase {
            mut purchase,
            key,
            source,
        } = self.assign_id(new, self.clock.now(), context);
        let id = purchase.id;
        // Many of these futures are in flight, so they should be small. The futures of the rare calls
        // are large, so they are boxed. The frequent call borrows the purchase, because a future that
        // owns a purchase contains it.
        let result = if purchase.is_refund() {
            Box::pin(self.publish_refund(purchase)).await
        } else if source == IdSource::Caller {
            Box::pin(self.publish_once(purchase)).await
        } else {
            let receipt = self.publish_generated(&mut purchase).await;
            receipt.map(|receipt| PublishedPurchase::new(purchase.without_context(), receipt))
        };
        result.map_err(|error| add_key_to_error(error, key, &id, source))
    }

    /// Publishes new purchases and refunds once, by two calls of the inner sink.
    ///
    /// The first call publishes the purchases, and the second one the refunds, because a refund may
    /// be of a purchase in the same batch.
    async fn publish_new_many(
        &self,
        new: Vec<NewPurchase>,
        context: Option<Box<RequestContext>>,
    ) -> Vec<Result<PublishedPurchase>> {
        let now = self.clock.now();
        let mut keys = Vec::with_capacity(new.len());
        let mut purchases = Vec::with_capacity(new.len());
        for new_purchase in new {
            let IdentifiedPurchase {
                purchase,
                key,
                source,
            } = self.assign_id(new_purchase, now, context.clone());
            keys.push((key, purchase.id, source));
            purchases.push((purchase, source));
        }

        let results = self.publish_once_many(purchases).await.into_iter();
        results
            .zip(keys)
            .map(|(result, (key, id, source))| {
                result.map_err(|error| add_key_to_error(error, key, &id, source))
            })
            .collect()
    }

    fn acknowledged(&self, id: &PurchaseId) -> Option<Purchase> {
        self.cache.acknowledged(id)
    }
}
