//! Decides whether a purchase whose id comes from the caller, by a key or as it is, is published.
//!
//! The decision combines two sources: the cache of this process (the rows of the table), and the
//! purchase that the store contains under the id (the columns). *The same* is a purchase with the
//! same content, and *another* is one with other content. A *repetition* is answered with the first
//! purchase, and publishes nothing.
//!
//! | this process | the store contains the same | contains another | contained one, erased | contains none | cannot be asked |
//! |---|---|---|---|---|---|
//! | knows nothing | repetition | conflict | erased | publish | publish |
//! | attempted the same | repetition | conflict | erased | publish the first again | publish the first again |
//! | attempted another | repetition | conflict | erased | conflict | conflict |
//! | acknowledged the same | repetition | conflict | erased | just now: repetition; else publish | repetition |
//! | acknowledged another | repetition | conflict | erased | just now: conflict; else publish | conflict |
//!
//! A purchase that was acknowledged more than ten seconds ago and is not in the store was probably
//! deleted by the retention of the store, so its key can be used again. If the store only lags
//! behind the log, the purchase is published a second time under the same id, which changes
//! nothing.

use std::time::Duration;

use super::cache::{Acknowledgement, CachedId, PriorAttempt};
use super::lookups::is_recent;
use super::{IdempotentSink, erased_error, other_content_error};
use crate::ports::{Lookup, PublishedPurchase, PurchaseSink};
use crate::{Purchase, Result, Timestamp};

/// The time after its acknowledgement during which a missing purchase is taken to be on its way to
/// the store.
///
/// Ingest usually stores a purchase within milliseconds. After this time, a purchase that is not in
/// the store counts as deleted by retention.
const INGEST_GRACE: Duration = Duration::from_secs(10);

/// The decision about a purchase whose id comes from the caller: publish it, or answer with an
/// earlier result.
pub(super) enum PublishDecision {
    /// Publish this purchase. The second field says what is known about an earlier attempt.
    Publish(Purchase, PriorAttempt),
    /// Answer with this result, because the purchase was published before.
    Answer(PublishedPurchase),
}

impl<S: PurchaseSink> IdempotentSink<S> {
    /// Decides whether `purchase` is published: by what the cache knows about its id and, if that is
    /// not enough, by the store. The id of `purchase` comes from the caller.
    ///
    /// `now` is the current time. A UUIDv7 with a timestamp near it was just made.
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict) if the id belongs to a purchase with other
    ///   content
    /// - [`Erased`](crate::ErrorKind::Erased) if the id belongs to an erased purchase
    pub(super) async fn decide(
        &self,
        purchase: Purchase,
        now: Timestamp,
    ) -> Result<PublishDecision> {
        match self.look_up_cache(&purchase, now) {
            None => Ok(PublishDecision::Publish(purchase, PriorAttempt::NoneKnown)),
            Some(cached) => self.decide_by_store(purchase, cached).await,
        }
    }

    /// Returns what the cache knows about the id of `purchase`, or `None` if the purchase can be
    /// published without asking the store.
    ///
    /// The store is not asked for an id that is not in the cache and contains a time of the last
    /// 30 s. This is a first attempt, so the store cannot contain the purchase yet.
    ///
    /// The cache remembers a purchase whose id it does not know as an attempt.
    pub(super) fn look_up_cache(&self, purchase: &Purchase, now: Timestamp) -> Option<CachedId> {
        match self.cache.get_or_remember_attempt(purchase) {
            CachedId::Unknown if is_recent(&purchase.id, now) => None,
            cached => Some(cached),
        }
    }

    /// Decides whether `purchase` is published: by a look-up in the store, and by `cached`, which is
    /// what the cache knows about the id.
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict) if the id belongs to a purchase with other
    ///   content
    /// - [`Erased`](crate::ErrorKind::Erased) if the id belongs to an erased purchase
    pub(super) async fn decide_by_store(
        &self,
        purchase: Purchase,
        cached: CachedId,
    ) -> Result<PublishDecision> {
        match cached {
            CachedId::Unknown => self.decide_unknown(purchase).await,
            CachedId::Attempted(first) => self.decide_attempted(purchase, first).await,
            CachedId::Acknowledged(first, acknowledgement) => {
                self.decide_acknowledged(purchase, first, acknowledgement)
                    .await
            }
        }
    }

    /// Decides whether `purchase` is published if the cache does not know its id: it is published
    /// unless the store contains it.
    ///
    /// # Errors
    /// Returns the errors of [`find_stored`](Self::find_stored).
    async fn decide_unknown(&self, purchase: Purchase) -> Result<PublishDecision> {
        match self.find_stored(&purchase).await {
            Ok(Some(published)) => Ok(PublishDecision::Answer(published)),
            Ok(None) => Ok(PublishDecision::Publish(purchase, PriorAttempt::NoneKnown)),
            Err(error) => {
                // The attempt ends without a publish, so the cache forgets it. The cache keeps a
                // purchase that a concurrent call published under this id.
                let result = Err(error.clone());
                self.cache
                    .record_result(&purchase, PriorAttempt::NoneKnown, &result);
                Err(error)
            }
        }
    }

    /// Decides whether `purchase` is published after an attempt to publish `first`, whose outcome
    /// is unknown.
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict) if the store contains a purchase with other
    ///   content, or contains none and the content of `first` differs
    /// - [`Erased`](crate::ErrorKind::Erased) if the id belongs to an erased purchase
    async fn decide_attempted(
        &self,
        purchase: Purchase,
        first: Purchase,
    ) -> Result<PublishDecision> {
        if let Some(stored) = self.find_stored(&purchase).await? {
            return Ok(PublishDecision::Answer(stored));
        }

        if !first.same_content(&purchase) {
            // `first` may still reach the store. So `purchase` is not published: only the store can
            // decide which of the two is recorded, and it contains neither yet.
            return Err(other_content_error());
        }

        // The first purchase is published again, with its time. If its first record is in the log,
        // the second record changes nothing. The context comes from this request.
        let first_again = Purchase {
            context: purchase.context,
            ..first
        };
        Ok(PublishDecision::Publish(
            first_again,
            PriorAttempt::MayBeInFlight,
        ))
    }

    /// Decides whether `purchase` is published after this process acknowledged `first` under the
    /// same id.
    ///
    /// The store decides if it contains the purchase or its mark of erasure. A purchase that the
    /// store does not contain counts as published for ten seconds after its acknowledgement. If the
    /// store cannot be asked, it counts as published without a limit of time.
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict) if the content of the stored or the acknowledged
    ///   purchase differs
    /// - [`Erased`](crate::ErrorKind::Erased) if the id belongs to an erased purchase
    async fn decide_acknowledged(
        &self,
        purchase: Purchase,
        first: Purchase,
        acknowledgement: Acknowledgement,
    ) -> Result<PublishDecision> {
        // A recently acknowledged purchase that the store does not contain is on its way there.
        let is_within_grace = acknowledgement.at.elapsed() < INGEST_GRACE;
        match self
            .lookups
            .look_up_within_limits(&*self.query, &purchase)
            .await
        {
            // The cache must not answer for an erased purchase, if the store cannot be asked later.
            Some(Lookup::Erased) => {
                self.cache.forget(&purchase.id);
                return Err(erased_error());
            }
            // Retention deleted the purchase, so its key is a new one.
            Some(Lookup::Missing) if !is_within_grace => {
                self.cache.forget(&purchase.id);
                return Ok(PublishDecision::Publish(
                    purchase,
                    PriorAttempt::MayBeInFlight,
                ));
            }
            Some(Lookup::Stored(stored)) if !stored.same_content(&purchase) => {
                return Err(other_content_error());
            }
            // Two processes may have published different purchases under one id at the same time.
            // The store kept the purchase of the other process, and `purchase` repeats that one.
            Some(Lookup::Stored(stored)) if !stored.same_content(&first) => {
                return Ok(PublishDecision::Answer(self.replayed_result(stored)));
            }
            // The store contains `first`, lags behind the log, or cannot be asked. The
            // acknowledgement of this process decides.
            _ => {}
        }

        if !first.same_content(&purchase) {
            return Err(other_content_error());
        }

        // The receipt of this process contains the position in the log, which the store does not
        // know.
        let published = PublishedPurchase::new(first, acknowledgement.receipt).into_replayed();
        Ok(PublishDecision::Answer(published))
    }

    /// Looks up the id of `purchase`, and returns the stored purchase as the result of a
    /// repetition.
    ///
    /// Returns `None` if the store does not contain the purchase, or cannot be asked. The cache
    /// remembers a stored purchase as acknowledged.
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict) if the content of the stored purchase differs
    /// - [`Erased`](crate::ErrorKind::Erased) if the purchase with this id was erased
    pub(super) async fn find_stored(
        &self,
        purchase: &Purchase,
    ) -> Result<Option<PublishedPurchase>> {
        let lookup = self
            .lookups
            .look_up_within_limits(&*self.query, purchase)
            .await;
        match lookup {
            None | Some(Lookup::Missing | Lookup::Waiting(_)) => Ok(None),
            Some(Lookup::Erased) => Err(erased_error()),
            Some(Lookup::Stored(stored)) => {
                let replayed = self.replayed_result(stored);
                // The cache records the stored purchase as acknowledged. So a later repetition is
                // recognized even if the store cannot be asked then.
                let acknowledgement = Ok(replayed.receipt.clone());
                self.cache.record_result(
                    &replayed.purchase,
                    PriorAttempt::MayBeInFlight,
                    &acknowledgement,
                );
                if !replayed.purchase.same_content(purchase) {
                    return Err(other_content_error());
                }
                Ok(Some(replayed))
            }
        }
    }
}
