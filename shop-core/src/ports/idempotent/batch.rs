//! Publishes a batch of purchases and refunds, each unless its id is in use.
//!
//! ```text
//! sort by what the cache knows ─┬───────────────────────────┬─▶ publish by one call ─▶ publish refunds
//!                               └─▶ look up in the store ───┘
//! ```

use futures_util::{StreamExt, stream};

use super::cache::{CachedId, PriorAttempt};
use super::decision::PublishDecision;
use super::lookups::MAX_CONCURRENT;
use super::{IdSource, IdempotentSink};
use crate::ports::{PublishedPurchase, PurchaseSink};
use crate::{Purchase, Result};

/// The place of a purchase in a batch, and what is known about an earlier attempt to publish it.
struct BatchEntry {
    /// The index of the purchase in the batch.
    index: usize,
    prior: PriorAttempt,
}

/// A batch of purchases that is being published, sorted by what is left to do.
struct PublishBatch {
    /// The results that are known, by the index of the purchase in the batch.
    results: Vec<Option<Result<PublishedPurchase>>>,
    /// The purchases to publish.
    to_publish: Vec<(BatchEntry, Purchase)>,
    /// The purchases to look up in the store, each with its index and what the cache knows.
    to_look_up: Vec<(usize, Purchase, CachedId)>,
    /// The refunds, each with its index.
    refunds: Vec<(usize, Purchase)>,
}

impl<S: PurchaseSink> IdempotentSink<S> {
    /// Publishes many purchases and refunds, each unless its id is in use.
    ///
    /// Returns one result per purchase, in the order of `purchases`. Each result is the one that
    /// [`publish_once`](Self::publish_once) would return or, for a refund,
    /// [`publish_refund`](Self::publish_refund). Purchases with a generated id are published
    /// without a look-up.
    ///
    /// Refunds are published last, because the purchase that a refund names may be in the same
    /// batch. The call waits once for the decisions about all of them.
    ///
    /// # Cancel safety
    /// Dropping the future loses the results. Each purchase may be published or not.
    pub(in crate::ports) async fn publish_once_many(
        &self,
        purchases: Vec<(Purchase, IdSource)>,
    ) -> Vec<Result<PublishedPurchase>> {
        let mut batch = self.sort_batch(purchases);
        self.look_up_batch(&mut batch).await;
        self.publish_batch(&mut batch).await;

        let (indices, refunds): (Vec<usize>, Vec<Purchase>) = batch.refunds.into_iter().unzip();
        let refund_results = self.publish_refunds(refunds).await;
        for (index, result) in indices.into_iter().zip(refund_results) {
            batch.results[index] = Some(result);
        }
        // Each index has a result now, so `flatten` drops none.
        batch.results.into_iter().flatten().collect()
    }

    /// Sorts `purchases` by what the cache knows: publish without a look-up, look up, or refund.
    fn sort_batch(&self, purchases: Vec<(Purchase, IdSource)>) -> PublishBatch {
        let now = self.clock.now();
        let mut batch = PublishBatch {
            results: vec![None; purchases.len()],
            to_publish: Vec::new(),
            to_look_up: Vec::new(),
            refunds: Vec::new(),
        };
        for (index, (mut purchase, source)) in purchases.into_iter().enumerate() {
            if let Err(error) = self.currency.admit(&mut purchase.details) {
                batch.results[index] = Some(Err(error));
            } else if purchase.is_refund() {
                batch.refunds.push((index, purchase));
            } else if source == IdSource::Generated {
                let prior = PriorAttempt::Impossible;
                batch
                    .to_publish
                    .push((BatchEntry { index, prior }, purchase));
            } else if let Some(cached) = self.look_up_cache(&purchase, now) {
                batch.to_look_up.push((index, purchase, cached));
            } else {
                let prior = PriorAttempt::NoneKnown;
                batch
                    .to_publish
                    .push((BatchEntry { index, prior }, purchase));
            }
        }
        batch
    }

    /// Asks the store for the purchases of `batch` about which the cache cannot decide. Each of them
    /// gets a result, or is to be published.
    async fn look_up_batch(&self, batch: &mut PublishBatch) {
        let to_look_up = std::mem::take(&mut batch.to_look_up);
        let mut decisions = stream::iter(to_look_up)
            .map(|(index, purchase, cached)| async move {
                (index, self.decide_by_store(purchase, cached).await)
            })
            .buffered(MAX_CONCURRENT);
        while let Some((index, decision)) = decisions.next().await {
            match decision {
                Ok(PublishDecision::Publish(purchase, prior)) => {
                    batch
                        .to_publish
                        .push((BatchEntry { index, prior }, purchase));
                }
                Ok(PublishDecision::Answer(published)) => {
                    batch.results[index] = Some(Ok(published));
                }
                Err(error) => batch.results[index] = Some(Err(error)),
            }
        }
    }

    /// Publishes the purchases of `batch` that are to be published, and sets their results.
    async fn publish_batch(&self, batch: &mut PublishBatch) {
        let mut to_publish = std::mem::take(&mut batch.to_publish);
        // The log must contain the purchases of a user in the order of the batch. The purchases that
        // were looked up are behind the others, so the order is restored.
        to_publish.sort_unstable_by_key(|(entry, _)| entry.index);
        let (entries, purchases): (Vec<BatchEntry>, Vec<Purchase>) = to_publish.into_iter().unzip();
        let receipts = self.publish_all(&purchases).await;
        for ((entry, purchase), receipt) in entries.into_iter().zip(purchases).zip(receipts) {
            self.cache.record_result(&purchase, entry.prior, &receipt);
            batch.results[entry.index] = Some(match receipt {
                Ok(receipt) => self.result_of_publish(purchase, receipt).await,
                Err(error) => Err(error),
            });
        }
    }
}
