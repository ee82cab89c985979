//! Publishes a refund, and waits until the store decides about it.
//!
//! The log accepts any number of refunds of one purchase, but the store applies only one. So the
//! result of a refund is the decision of the store, which is read as a [`RefundState`].
//!
//! ```text
//! find_applied ──applied already──▶ result of the first refund
//!      │ not stored
//!      ▼
//!   publish ──▶ wait_until_applied ──stored──────▶ result
//!                      │           ──refused─────▶ error
//!                      └── no decision in time ──▶ pending result
//! ```
//!
//! The refunds of a batch are published together, and then wait together. So a batch of any size
//! waits once.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout, timeout_at};

use super::IdempotentSink;
use super::lookups::MAX_CONCURRENT;
use super::refund_state::RefundState;
use crate::ports::{Polls, PublishedPurchase, PurchaseSink, Receipt, may_be_unstored};
use crate::{Error, ErrorKind, Outcome, Purchase, Result, with_failpoints};

/// The maximum time that a refund waits for the decision of the store, by default.
pub const REFUND_TIMEOUT: Duration = Duration::from_secs(5);

/// The minimum time for each look-up, even if the wait ends earlier. A sink that writes into the
/// store decides before the publish returns, so one look-up after the publish finds its decision.
const MIN_LOOK_UP_TIME: Duration = Duration::from_millis(2);

/// The number of waiting refunds up to which the pauses between their look-ups are not stretched.
///
/// Each further refund adds 1 ms to the shortest pause of all waiting refunds, so that many refunds
/// together make about 2,000 look-ups per second: one of each refund, and one of its purchase.
const UNTHROTTLED_REFUNDS: usize = 32;

/// A refund of a batch after its publish.
#[derive(Debug)]
enum BegunRefund {
    /// The store had applied the refund before, so it was not published again.
    Applied(PublishedPurchase),
    /// The refund was published with this receipt. The store may not have decided about it yet.
    Published {
        /// The published refund.
        refund: Purchase,
        /// The receipt of the publish.
        receipt: Receipt,
    },
}

impl<S: PurchaseSink> IdempotentSink<S> {
    /// Publishes `refund`, unless it is stored already, and waits until the store decides about
    /// it.
    ///
    /// The store applies one refund of a purchase, and decides which one. So the store determines
    /// the result: if two processes refund a purchase differently at the same time, one process
    /// gets a conflict. If the store does not decide within [`REFUND_TIMEOUT`], the refund is in the
    /// log, and the result is [`pending`](PublishedPurchase::pending).
    ///
    /// The limits for the look-ups of other purchases, such as the pause after a failed look-up, do
    /// not apply to refunds.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) if another refund of the purchase is stored
    /// - [`Erased`](ErrorKind::Erased) if the purchase or its refund was erased
    /// - [`Invalid`](ErrorKind::Invalid) if the refund contradicts its purchase, for example by an
    ///   amount above the price
    /// - The error of the store if it cannot be asked before the publish, with the outcome
    ///   [`NotApplied`](Outcome::NotApplied): nothing was published
    /// - The errors of [`ShopCurrency::check`](crate::ports::ShopCurrency::check)
    /// - The errors of [`publish`](PurchaseSink::publish)
    ///
    /// # Cancel safety
    /// Dropping the future leaves the refund published or not. The same refund can be published
    /// again.
    pub(in crate::ports) async fn publish_refund(
        &self,
        mut refund: Purchase,
    ) -> Result<PublishedPurchase> {
        self.currency.admit(&mut refund.details)?;
        let deadline = Instant::now() + REFUND_TIMEOUT;
        if let Some(applied) = self.find_applied(&refund, deadline).await? {
            return Ok(applied);
        }

        let receipt = with_failpoints("publish", self.sink.publish(&refund)).await?;
        self.wait_until_applied(refund, receipt, deadline).await
    }

    /// Publishes `refunds` together, and waits once until the store decides about all of them.
    ///
    /// Returns one result per refund, in the order of `refunds`. Each result is the one that
    /// [`publish_refund`](Self::publish_refund) would return for this refund.
    pub(super) async fn publish_refunds(
        &self,
        refunds: Vec<Purchase>,
    ) -> Vec<Result<PublishedPurchase>> {
        let deadline = Instant::now() + REFUND_TIMEOUT;
        let begun_refunds = self.begin_refunds(refunds, deadline).await;
        stream::iter(begun_refunds)
            .map(|begun_refund| async move {
                match begun_refund? {
                    BegunRefund::Applied(applied) => Ok(applied),
                    BegunRefund::Published { refund, receipt } => {
                        self.wait_until_applied(refund, receipt, deadline).await
                    }
                }
            })
            .buffered(MAX_CONCURRENT)
            .collect()
            .await
    }

    /// Publishes those of `refunds` that are not stored yet, by one call of the sink, and does not
    /// wait for the decisions about them.
    ///
    /// Returns one result per refund, in the order of `refunds`. The look-ups before the publish end
    /// at `deadline`.
    async fn begin_refunds(
        &self,
        mut refunds: Vec<Purchase>,
        deadline: Instant,
    ) -> Vec<Result<BegunRefund>> {
        let admissions: Vec<Result<()>> = refunds
            .iter_mut()
            .map(|refund| self.currency.admit(&mut refund.details))
            .collect();

        let has_store_answered = AtomicBool::new(false);
        let look_up = async |(index, admission): (usize, Result<()>)| {
            admission?;
            self.find_applied_of_batch(&refunds[index], deadline, &has_store_answered)
                .await
        };
        // `None` stands for a refund that is not stored yet and must be published.
        let applied_results: Vec<Option<Result<PublishedPurchase>>> =
            stream::iter(admissions.into_iter().enumerate())
                .map(look_up)
                .buffered(MAX_CONCURRENT)
                .map(Result::transpose)
                .collect()
                .await;

        let to_publish: Vec<Purchase> = refunds
            .into_iter()
            .zip(&applied_results)
            .filter(|(_, applied_result)| applied_result.is_none())
            .map(|(refund, _)| refund)
            .collect();
        let receipts = self.publish_all(&to_publish).await;

        // There is one of these results for each `None`, in the order of `refunds`.
        let mut published_refunds =
            to_publish
                .into_iter()
                .zip(receipts)
                .map(|(refund, receipt)| {
                    let receipt = receipt?;
                    Ok(BegunRefund::Published { refund, receipt })
                });
        applied_results
            .into_iter()
            .filter_map(|applied_result| match applied_result {
                Some(result) => Some(result.map(BegunRefund::Applied)),
                None => published_refunds.next(),
            })
            .collect()
    }

    /// Returns the result of `refund` if the store contains it already, and `None` if the refund is
    /// to be published.
    ///
    /// `has_store_answered` says whether the store has answered about any refund of the batch. This
    /// function sets it when the store answers about `refund`.
    ///
    /// A store that has answered is slow, and not down. So a refund whose look-up does not end before
    /// `deadline` is published then, and the store decides about it afterwards.
    ///
    /// # Errors
    /// The errors of [`find_applied`](Self::find_applied)
    async fn find_applied_of_batch(
        &self,
        refund: &Purchase,
        deadline: Instant,
        has_store_answered: &AtomicBool,
    ) -> Result<Option<PublishedPurchase>> {
        match self.find_applied(refund, deadline).await {
            Ok(applied) => {
                has_store_answered.store(true, Ordering::Relaxed);
                Ok(applied)
            }
            Err(error) => {
                let is_store_slow = error.kind() == ErrorKind::DeadlineExceeded
                    && has_store_answered.load(Ordering::Relaxed);
                if is_store_slow { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Returns the result of `refund` if the store contains it already, and `None` if it can be
    /// published.
    ///
    /// # Errors
    /// The outcome of every error is [`NotApplied`](Outcome::NotApplied), because nothing was
    /// published.
    /// - [`Conflict`](ErrorKind::Conflict), [`Erased`](ErrorKind::Erased) and
    ///   [`Invalid`](ErrorKind::Invalid) as for [`publish_refund`](Self::publish_refund)
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if the store does not respond before
    ///   `deadline`
    /// - The error of the store if a look-up fails
    async fn find_applied(
        &self,
        refund: &Purchase,
        deadline: Instant,
    ) -> Result<Option<PublishedPurchase>> {
        let look_up = timeout_at(deadline, RefundState::look_up(&*self.query, refund)).await;
        let refund_state = look_up.unwrap_or_else(|_elapsed| {
            let message = "the store did not respond in time";
            Err(Error::new(ErrorKind::DeadlineExceeded, message))
        });
        let decision = refund_state.and_then(RefundState::into_decision);
        let stored_refund = decision.map_err(|error| error.with_outcome(Outcome::NotApplied))?;
        Ok(stored_refund.map(|stored| self.replayed_result(stored)))
    }

    /// Waits for the decision of the store about the published `refund`, and returns its result.
    ///
    /// `receipt` is the receipt of the publish. If the store does not decide before `deadline`, the
    /// result is [`pending`](PublishedPurchase::pending).
    ///
    /// # Errors
    /// The errors of [`RefundState::into_decision`] if the store decides against the refund.
    async fn wait_until_applied(
        &self,
        refund: Purchase,
        receipt: Receipt,
        deadline: Instant,
    ) -> Result<PublishedPurchase> {
        let Some(stored) = self.wait_for_decision(&refund, deadline).await? else {
            return Ok(PublishedPurchase {
                pending: true,
                ..PublishedPurchase::new(refund.without_context(), receipt)
            });
        };

        // The stored refund has the same content, but an earlier call may have published it. Its
        // time, which is not part of the content, then usually differs.
        let is_of_earlier_call = stored.timestamp != refund.timestamp;
        let mut published = PublishedPurchase::new(stored, receipt);
        published.replayed |= is_of_earlier_call;
        Ok(published)
    }

    /// Looks up the published `refund` repeatedly until the store decides about it, and returns
    /// the stored refund.
    ///
    /// Returns `None` without a decision at `deadline`. Returns `None` earlier if the store keeps the
    /// refund until its purchase arrives, and the purchase is not known to be on its way. A failed
    /// look-up is repeated.
    ///
    /// # Errors
    /// The errors of [`RefundState::into_decision`] if the store decides against the refund.
    async fn wait_for_decision(
        &self,
        refund: &Purchase,
        deadline: Instant,
    ) -> Result<Option<Purchase>> {
        // The clone counts this refund as waiting until this function returns or its future is
        // dropped.
        let undecided_refunds = Arc::clone(&self.undecided_refunds);
        let purchase_id = refund.details.of;
        let is_purchase_expected =
            purchase_id.is_some_and(|id| may_be_unstored(self, &id, self.clock.now()));
        let mut polls = Polls::until(deadline);
        loop {
            let look_up_timeout = polls.time_left().max(MIN_LOOK_UP_TIME);
            let look_up = RefundState::look_up(&*self.query, refund);
            match timeout(look_up_timeout, look_up).await {
                // The store keeps the refund until its purchase arrives, which may be never.
                Ok(Ok(RefundState::Waiting)) if !is_purchase_expected => return Ok(None),
                Ok(Ok(state)) => {
                    if let Some(stored) = state.into_decision()? {
                        return Ok(Some(stored));
                    }
                    // The refund or its purchase is still on its way to the store.
                }
                Ok(Err(error)) => tracing::debug!(%error, "the store cannot be asked for a refund"),
                Err(_elapsed) => tracing::debug!("the store takes long to find a refund"),
            }

            // The pause grows with the number of waiting refunds, so that they do not overload the
            // store. One of the references belongs to the sink itself, and not to a refund.
            let excess_refunds =
                Arc::strong_count(&undecided_refunds).saturating_sub(1 + UNTHROTTLED_REFUNDS);
            let least_pause = Duration::from_millis(excess_refunds as u64);
            if !polls.pause_unless(least_pause, pending()).await {
                return Ok(None);
            }
        }
    }
}
