//! Publishes many purchases at once, each of them once.

use futures_util::{StreamExt, stream};

use super::cache::PriorAttempt;
use super::decision::Decision;
use super::lookups::MAX_CONCURRENT;
use super::{IdSource, IdempotentSink};
use crate::ports::{PublishedPurchase, PurchaseSink, Receipt};
use crate::{Error, ErrorKind, Purchase, Result, failpoints};

/// The purchases of a batch that are published together, with their places in it.
#[derive(Default)]
struct ToPublish {
    purchases: Vec<Purchase>,
    places: Vec<(usize, PriorAttempt)>,
}

impl ToPublish {
    fn push(&mut self, index: usize, purchase: Purchase, prior: PriorAttempt) {
        self.purchases.push(purchase);
        self.places.push((index, prior));
    }

    /// Restores the order of the batch, which is that of the log for the purchases of a user.
    fn sort(self) -> Self {
        if self.places.is_sorted_by_key(|(index, _)| *index) {
            return self;
        }
        let mut all: Vec<_> = self.places.into_iter().zip(self.purchases).collect();
        all.sort_unstable_by_key(|((index, _), _)| *index);
        let (places, purchases) = all.into_iter().unzip();
        Self { purchases, places }
    }
}

impl<S: PurchaseSink> IdempotentSink<S> {
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
        let mut results: Vec<Option<Result<PublishedPurchase>>> = Vec::new();
        results.resize_with(purchases.len(), || None);
        let mut to_publish = ToPublish::default();
        let mut undecided = Vec::new();
        let mut refunds = Vec::new();
        let mut places_of_refunds = Vec::new();

        for (index, (purchase, source)) in purchases.into_iter().enumerate() {
            if purchase.is_refund() {
                refunds.push(purchase);
                places_of_refunds.push(index);
            } else if source == IdSource::Generated {
                to_publish.push(index, purchase, PriorAttempt::IdIsGenerated);
            } else {
                match self.look_up_cache(&purchase, now) {
                    Some(cached) => undecided.push((index, purchase, cached)),
                    None => to_publish.push(index, purchase, PriorAttempt::None),
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
                Ok(Decision::Publish(purchase, prior)) => to_publish.push(index, purchase, prior),
                Ok(Decision::Answer(published)) => results[index] = Some(Ok(*published)),
                Err(error) => results[index] = Some(Err(error)),
            }
        }

        self.publish_together(to_publish.sort(), &mut results).await;
        if !refunds.is_empty() {
            let refunded = self.publish_refunds(refunds).await;
            for (index, result) in places_of_refunds.into_iter().zip(refunded) {
                results[index] = Some(result);
            }
        }
        results.into_iter().flatten().collect()
    }

    /// Publishes purchases by one call of the sink, and sets their results.
    async fn publish_together(
        &self,
        to_publish: ToPublish,
        results: &mut [Option<Result<PublishedPurchase>>],
    ) {
        let ToPublish { purchases, places } = to_publish;
        let receipts = self.publish_all(&purchases).await;
        for ((purchase, (index, prior)), receipt) in purchases.into_iter().zip(places).zip(receipts)
        {
            self.cache.record(&purchase, prior, &receipt);
            results[index] = Some(match receipt {
                Ok(receipt) => self.first_purchase(purchase, receipt).await,
                Err(error) => Err(error),
            });
        }
    }

    /// Publishes `purchases` by one call of the sink. Returns one result per purchase.
    pub(super) async fn publish_all(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        if purchases.is_empty() {
            return Vec::new();
        }
        let published = failpoints("publish", self.sink.publish_many(purchases)).await;
        if published.len() == purchases.len() {
            return published;
        }
        purchases.iter().map(|_| Err(miscounted())).collect()
    }
}

/// Returns the error for a sink that has not returned one result per purchase.
pub(super) fn miscounted() -> Error {
    Error::new(ErrorKind::Internal, "a sink has miscounted its results")
}
