//! Many purchases at once.

use futures_util::{StreamExt, stream};

use super::cache::Prior;
use super::lookups::MAX_CONCURRENT;
use super::{IdSource, IdempotentSink, Need, Prepared};
use crate::ports::{PublishedPurchase, PurchaseSink, Receipt};
use crate::{Error, ErrorKind, Purchase, Result, failpoints};

impl<S: PurchaseSink> IdempotentSink<S> {
    /// As [`publish_once`](Self::publish_once), for many purchases, of which those with a generated id are published as
    /// they are. Returns one result per purchase, in their order.
    ///
    /// # Cancel safety
    /// As [`publish_many`](PurchaseSink::publish_many).
    pub async fn publish_once_many(
        &self,
        purchases: Vec<(Purchase, IdSource)>,
    ) -> Vec<Result<PublishedPurchase>> {
        let mut results: Vec<Option<Result<PublishedPurchase>>> = Vec::new();
        results.resize_with(purchases.len(), || None);
        let unsettled = self.unsettled(purchases, &mut results).await;
        // The sink takes a slice.
        let (mut purchases, mut rest) = (
            Vec::with_capacity(unsettled.len()),
            Vec::with_capacity(unsettled.len()),
        );
        for (
            index,
            Prepared {
                purchase, prior, ..
            },
        ) in unsettled
        {
            purchases.push(purchase);
            rest.push((index, prior));
        }
        let published = self.publish_all(&purchases).await;
        let all = purchases.iter().zip(&rest).zip(&published);
        self.cache
            .record(all.map(|((purchase, (_, prior)), result)| (purchase, *prior, result)));
        for ((purchase, (index, _)), receipt) in purchases.into_iter().zip(rest).zip(published) {
            results[index] = Some(match receipt {
                Ok(receipt) => self.completed(purchase, receipt).await,
                Err(error) => Err(error),
            });
        }
        results.into_iter().flatten().collect()
    }

    async fn publish_all(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        if purchases.is_empty() {
            return Vec::new();
        }
        let published = failpoints("publish", self.sink.publish_many(purchases)).await;
        if published.len() == purchases.len() {
            return published;
        }
        let error = Error::new(ErrorKind::Internal, "a sink has miscounted its results");
        purchases.iter().map(|_| Err(error.clone())).collect()
    }

    /// Those that are to be published, with their index. The results of the others are set.
    async fn unsettled(
        &self,
        purchases: Vec<(Purchase, IdSource)>,
        results: &mut [Option<Result<PublishedPurchase>>],
    ) -> Vec<(usize, Prepared)> {
        let (now, mut all) = (self.clock.now(), Vec::with_capacity(purchases.len()));
        for (index, (purchase, source)) in purchases.into_iter().enumerate() {
            let prepared = match source {
                IdSource::Given => self.prepare(purchase, now),
                IdSource::Generated => Ok(Prepared {
                    purchase,
                    prior: Prior::Generated,
                    need: Need::None,
                }),
            };
            match prepared {
                Ok(prepared) => all.push((index, prepared)),
                Err(error) => results[index] = Some(Err(error)),
            }
        }
        if all
            .iter()
            .all(|(_, prepared)| matches!(prepared.need, Need::None))
        {
            return all;
        }
        let settled = stream::iter(all).map(|(index, prepared)| async move {
            let settled = self.settle(&prepared).await;
            (index, prepared, settled)
        });
        let settled: Vec<_> = settled.buffered(MAX_CONCURRENT).collect().await;
        let mut left = Vec::with_capacity(settled.len());
        for (index, prepared, settled) in settled {
            match settled {
                None => left.push((index, prepared)),
                answer => results[index] = answer,
            }
        }
        left
    }
}
