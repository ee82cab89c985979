//! Publishes many purchases at once, each of them once.

use futures_util::{StreamExt, stream};

use super::cache::PriorAttempt;
use super::decision::Decision;
use super::lookups::MAX_CONCURRENT;
use super::{IdSource, IdempotentSink};
use crate::ports::{PublishedPurchase, PurchaseSink, Receipt};
use crate::{Error, ErrorKind, Purchase, Result, failpoints};

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
                Ok(Decision::Publish(purchase, prior)) => {
                    to_publish.push(((index, prior), purchase));
                }
                Ok(Decision::Answer(published)) => results[index] = Some(Ok(*published)),
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
