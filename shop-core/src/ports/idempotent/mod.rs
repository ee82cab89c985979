//! A sink that publishes each purchase once: it recognises repetitions and conflicts.

mod cache;
#[cfg(feature = "conformance")]
#[cfg(test)]
mod idempotent_test;
mod lookups;
mod many;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::cache::{IdempotencyCache, Prior};
use self::lookups::{Lookups, is_first_attempt};
use super::{Durability, Lookup, PublishedPurchase, PurchaseQuery, PurchaseSink, Receipt};
use crate::{
    Clock, Error, ErrorKind, NewPurchase, Outcome, Purchase, RequestContext, Result, SystemClock,
    Timestamp, failpoints,
};

/// Publishes each purchase that has a key once, whatever the sink is.
///
/// A purchase whose id is in use is not published again. The same content is a repetition: the result is the first
/// purchase with its time, and a receipt without a position unless this process knows it. Other content is a
/// [`Conflict`](ErrorKind::Conflict), and the id of an erased purchase is [`Erased`](ErrorKind::Erased).
///
/// An id is in use if this sink has published it, among its last 10,000 purchases with and its last 10,000 without a
/// key, or if `query` finds it. It is looked up for at most 250 ms, 64 at a time. After a look-up that failed or timed
/// out there is none for a second: an unavailable store delays no purchase. Purchases without a key and with a UUIDv7 of
/// the last 30 s are not looked up. Within the lag between log and store, two contents under one key at two processes
/// are decided by the order of the log.
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
/// let order = |price| NewPurchase::of("u1").named("ada").priced(price);
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
}

/// Where the id of a purchase comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdSource {
    /// It was given, by a key or as it is: it may be in use.
    Given,
    /// It was generated for this purchase: it is not in use.
    Generated,
}

/// A purchase that is about to be published.
#[derive(Debug)]
struct Prepared {
    purchase: Purchase,
    prior: Prior,
    need: Need,
}

/// Why a purchase is looked up in the store.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    /// It is not: it cannot be stored yet.
    None,
    /// It may be stored. If not, it is published.
    MayBeStored,
    /// Another purchase has the id: only the store can decide.
    Contested,
    /// It was published with this receipt. It may have been erased since.
    Acknowledged(Receipt),
}

impl<S: PurchaseSink> IdempotentSink<S> {
    /// A sink that publishes to `sink` what `query` does not find.
    #[must_use]
    pub fn new(sink: S, query: Arc<dyn PurchaseQuery>) -> Self {
        let (cache, lookups) = (IdempotencyCache::new(), Lookups::new());
        Self {
            sink,
            query,
            clock: Arc::new(SystemClock),
            cache,
            lookups,
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
    pub fn remember(&self, purchase: &Purchase, receipt: &Receipt) {
        self.cache.remember_generated(purchase, receipt);
    }

    /// Publishes a purchase whose id was given, unless the id is in use.
    ///
    /// # Errors
    /// As [`publish_new`](PurchaseSink::publish_new).
    ///
    /// # Cancel safety
    /// As [`publish`](PurchaseSink::publish). After the call was dropped, its id is looked up before it is published
    /// again.
    pub async fn publish_once(&self, purchase: Purchase) -> Result<PublishedPurchase> {
        let prepared = self.prepare(purchase, self.clock.now())?;
        if let Some(answer) = self.settle(&prepared).await {
            return answer;
        }
        let Prepared {
            purchase, prior, ..
        } = prepared;
        let published = failpoints("publish", self.sink.publish(&purchase)).await;
        self.cache
            .record(std::iter::once((&purchase, prior, &published)));
        self.completed(purchase, published?).await
    }

    /// What is known of `purchase` without the store.
    fn prepare(&self, purchase: Purchase, now: Timestamp) -> Result<Prepared> {
        let need = if is_first_attempt(&purchase.id, now) {
            Need::None
        } else {
            Need::MayBeStored
        };
        self.cache.check_or_insert(purchase, need)
    }

    /// The result of a purchase that must not be published, by what the store has.
    async fn settle(&self, prepared: &Prepared) -> Option<Result<PublishedPurchase>> {
        let Prepared {
            purchase,
            prior,
            need,
        } = prepared;
        let is_known = match need {
            Need::None => return None,
            Need::Acknowledged(_) => is_first_attempt(&purchase.id, self.clock.now()),
            Need::MayBeStored | Need::Contested => false,
        };
        let found = if is_known {
            Ok(None)
        } else {
            self.look_up(purchase).await
        };
        let settled = found.and_then(|found| match need {
            Need::Acknowledged(receipt) => {
                // The receipt of this process has the position.
                self.cache.record(std::iter::once((
                    purchase,
                    Prior::Repeated,
                    &Ok(receipt.clone()),
                )));
                Ok(Some(
                    PublishedPurchase::new(purchase.clone(), receipt.clone()).as_replayed(),
                ))
            }
            Need::Contested => found.ok_or_else(other_content).map(Some),
            Need::None | Need::MayBeStored => Ok(found),
        });
        if let Err(error) = &settled {
            self.cache
                .record(std::iter::once((purchase, *prior, &Err(error.clone()))));
        }
        settled.transpose()
    }

    /// The result for a purchase with the id of `purchase`, if the store has or had one.
    async fn look_up(&self, purchase: &Purchase) -> Result<Option<PublishedPurchase>> {
        match self.lookups.find(&*self.query, purchase).await {
            Lookup::Missing => Ok(None),
            Lookup::Erased => Err(erased()),
            Lookup::Stored(stored) => {
                let receipt = Ok(Receipt::new(stored.id, self.sink.durability()));
                self.cache
                    .record(std::iter::once((&stored, Prior::Repeated, &receipt)));
                if !stored.same_content(purchase) {
                    return Err(other_content());
                }
                Ok(Some(PublishedPurchase::new(stored, receipt?).as_replayed()))
            }
        }
    }

    /// The result of a purchase that was published. Where the sink had it already, that is the first one.
    async fn completed(
        &self,
        purchase: Purchase,
        mut receipt: Receipt,
    ) -> Result<PublishedPurchase> {
        let first = match receipt.first.take() {
            Some(first) => return Ok(PublishedPurchase::new(*first, receipt)),
            None if receipt.is_duplicate => self.look_up(&purchase).await?,
            None => None,
        };
        Ok(first.unwrap_or_else(|| PublishedPurchase::new(purchase.without_context(), receipt)))
    }
}

/// The error for the id of an erased purchase.
pub(super) fn erased() -> Error {
    let message = "the id belongs to a purchase that was erased: use a new key";
    Error::new(ErrorKind::Erased, message).with_outcome(Outcome::NotApplied)
}

/// The error for an id that belongs to another purchase.
fn other_content() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the key was used for a purchase with other content",
    )
    .with_outcome(Outcome::NotApplied)
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
        match self.with_id(new, self.clock.now(), context) {
            (purchase, IdSource::Given) => self.publish_once(purchase).await,
            (purchase, IdSource::Generated) => {
                let receipt = self.sink.publish(&purchase).await?;
                self.remember(&purchase, &receipt);
                Ok(PublishedPurchase::new(purchase.without_context(), receipt))
            }
        }
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

    fn durability(&self) -> Durability {
        self.sink.durability()
    }

    async fn check(&self) -> Result<()> {
        self.sink.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.sink.close(deadline).await
    }
}

impl<S> IdempotentSink<S> {
    fn with_id(
        &self,
        new: NewPurchase,
        now: Timestamp,
        context: Option<Box<RequestContext>>,
    ) -> (Purchase, IdSource) {
        let is_given = new.key.is_some() || new.details.of.is_some();
        let source = if is_given {
            IdSource::Given
        } else {
            IdSource::Generated
        };
        let mut purchase = new.into_purchase(now, || self.clock.fresh_id());
        purchase.context = context;
        (purchase, source)
    }
}
