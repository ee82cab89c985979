//! Publishes a refund, and waits until the store has decided over it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::lookups::{MAX_CONCURRENT, look_up};
use super::{IdempotentSink, erased, miscounted};
use crate::ports::{Lookup, PublishedPurchase, PurchaseSink, Receipt};
use crate::{Error, ErrorKind, Outcome, Purchase, Result, with_failpoints};

/// The maximum time that a refund waits for the store's decision.
pub const REFUND_TIMEOUT: Duration = Duration::from_secs(5);

/// The pauses between two look-ups: a refund usually is stored soon.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// So many refunds ask the store as often as they like. Each further one slows down all of them, so that many together
/// make about 1,000 look-ups per second.
const UNHURRIED: usize = 32;

impl<S: PurchaseSink> IdempotentSink<S> {
    /// Publishes `refund`, unless it is stored already, and waits for at most `limit` until the store has decided over it.
    ///
    /// The store allows one refund of a purchase, and decides which one that is. So the result is that of the store: of two
    /// processes that refund a purchase at the same time, one gets a conflict. If the store does not decide in time, the
    /// refund is in the log, and the result is [`pending`](PublishedPurchase::pending).
    ///
    /// The look-ups of refunds are neither paused nor cut short by those of other purchases.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if another refund of the purchase is stored, [`Erased`](ErrorKind::Erased) if it
    /// was erased, [`Invalid`](ErrorKind::Invalid) if the refund contradicts its purchase. When the store cannot be asked,
    /// its error with the outcome [`NotApplied`](Outcome::NotApplied): nothing was published. Otherwise as
    /// [`publish`](PurchaseSink::publish).
    ///
    /// # Cancel safety
    /// As [`publish`](PurchaseSink::publish). The same refund can be published again.
    pub async fn publish_refund(
        &self,
        refund: Purchase,
        timeout: Duration,
    ) -> Result<PublishedPurchase> {
        let until = Instant::now() + timeout;
        if let Some(applied) = self.find_applied(&refund, until).await? {
            return Ok(applied);
        }
        let receipt = with_failpoints("publish", self.sink.publish(&refund)).await?;
        self.wait_until_applied(refund, receipt, until).await
    }

    /// Publishes refunds together, and waits for at most [`REFUND_TIMEOUT`] until the store has decided over all of them.
    /// Returns one result per refund, in their order: each is that of a [`publish_refund`](Self::publish_refund).
    pub(super) async fn publish_refunds(
        &self,
        refunds: Vec<Purchase>,
    ) -> Vec<Result<PublishedPurchase>> {
        let until = Instant::now() + REFUND_TIMEOUT;
        // `None` is for a refund that is published.
        let applied: Vec<Option<Result<PublishedPurchase>>> = stream::iter(0..refunds.len())
            .map(|index| self.find_applied(&refunds[index], until))
            .buffered(MAX_CONCURRENT)
            .map(Result::transpose)
            .collect()
            .await;

        let is_to_publish = applied.iter().map(Option::is_none);
        let to_publish: Vec<Purchase> = refunds
            .into_iter()
            .zip(is_to_publish)
            .filter_map(|(refund, is_to_publish)| is_to_publish.then_some(refund))
            .collect();
        let receipts = self.publish_all(&to_publish).await;
        let mut published = stream::iter(to_publish.into_iter().zip(receipts))
            .map(|(refund, receipt)| async move {
                self.wait_until_applied(refund, receipt?, until).await
            })
            .buffered(MAX_CONCURRENT);

        let mut results = Vec::with_capacity(applied.len());
        for found in applied {
            results.push(match found {
                Some(result) => result,
                None => published.next().await.unwrap_or_else(|| Err(miscounted())),
            });
        }
        results
    }

    /// Returns the result of `refund` if the store has it already; otherwise it can be published.
    ///
    /// # Errors
    /// As [`publish_refund`](Self::publish_refund), with the outcome [`NotApplied`](Outcome::NotApplied).
    async fn find_applied(
        &self,
        refund: &Purchase,
        until: Instant,
    ) -> Result<Option<PublishedPurchase>> {
        let found = timeout_at(until, self.check_refund(refund)).await;
        let found = found.unwrap_or_else(|_elapsed| {
            let message = "the store did not respond in time";
            Err(Error::new(ErrorKind::DeadlineExceeded, message))
        });
        let stored = found.map_err(|error| error.with_outcome(Outcome::NotApplied))?;
        Ok(stored.map(|stored| self.replay(stored)))
    }

    /// Returns `refund` as the store has it, if it does. Otherwise checks that it does not contradict its purchase, which
    /// may not be stored yet.
    async fn check_refund(&self, refund: &Purchase) -> Result<Option<Purchase>> {
        if let Lookup::Stored(stored) = self.verdict_of(refund).await? {
            return Ok(Some(stored));
        }
        let Some(of) = &refund.details.of else {
            return Ok(None);
        };
        match look_up(&*self.query, of).await? {
            Lookup::Stored(bought) => {
                refund.as_refund_of(&bought)?;
                Ok(None)
            }
            Lookup::Erased => Err(erased()),
            Lookup::Missing | Lookup::Waiting(_) => Ok(None),
        }
    }

    /// Returns the result of `refund`, which was published with `receipt`, when the store has decided over it.
    async fn wait_until_applied(
        &self,
        refund: Purchase,
        receipt: Receipt,
        until: Instant,
    ) -> Result<PublishedPurchase> {
        let Some(stored) = self.wait_for_verdict(&refund, until).await? else {
            let refund = refund.without_context();
            return Ok(PublishedPurchase::new(refund, receipt).into_pending());
        };
        let is_of_this_call = stored.timestamp == refund.timestamp && !receipt.is_duplicate;
        let published = PublishedPurchase::new(stored, receipt);
        Ok(if is_of_this_call {
            published
        } else {
            published.into_replayed()
        })
    }

    /// Returns the stored refund, or `None` if the store has not decided before `until`, or keeps the refund for a purchase
    /// that is not known to be on its way. An error of the store is not a decision: it is asked again.
    async fn wait_for_verdict(
        &self,
        refund: &Purchase,
        until: Instant,
    ) -> Result<Option<Purchase>> {
        let undecided = Arc::clone(&self.undecided_refunds);
        let purchase = refund.details.of;
        let is_expected = purchase.is_some_and(|id| self.may_be_unstored(&id));
        let mut pause = FIRST_PAUSE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // At least one look-up is made: a sink that writes into the store has decided already.
            let limit = left.max(FIRST_PAUSE);
            match timeout(limit, self.verdict_of(refund)).await {
                Ok(Ok(Lookup::Stored(stored))) => return Ok(Some(stored)),
                // The store has decided to keep it until its purchase comes, which may be never.
                Ok(Ok(Lookup::Waiting(_))) if !is_expected => return Ok(None),
                Ok(Ok(_)) => {}
                // The store has decided against it.
                Ok(Err(error))
                    if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Erased) =>
                {
                    return Err(error);
                }
                Ok(Err(error)) => tracing::debug!(%error, "the store cannot be asked for a refund"),
                Err(_elapsed) => tracing::debug!("the store takes long to find a refund"),
            }
            if left.is_zero() {
                return Ok(None);
            }
            // It is longer the more refunds wait. The sink itself holds one of the references.
            let hurried = Arc::strong_count(&undecided).saturating_sub(1 + UNHURRIED);
            let least_pause = Duration::from_millis(hurried as u64);
            sleep(pause.max(least_pause).min(left)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Asks the store for `refund`, which it has stored, keeps for its purchase, or does not have.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) and [`Erased`](ErrorKind::Erased) if the store has decided against it; otherwise
    /// the error of the look-up.
    async fn verdict_of(&self, refund: &Purchase) -> Result<Lookup> {
        match look_up(&*self.query, &refund.id).await? {
            Lookup::Stored(stored) if !stored.same_content(refund) => {
                let message = "the purchase was refunded with another amount or reason";
                Err(Error::new(ErrorKind::Conflict, message))
            }
            Lookup::Erased => Err(erased()),
            found => Ok(found),
        }
    }
}
