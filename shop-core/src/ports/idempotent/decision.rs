//! Decides whether a purchase whose id was given is published.
//!
//! | this process | the store has the same | has another | had one, erased | has none | cannot be asked |
//! |---|---|---|---|---|---|
//! | knows nothing | repetition | conflict | erased | publish | publish |
//! | has attempted the same | repetition | conflict | erased | publish the first again | publish the first again |
//! | has attempted another | repetition | conflict | erased | conflict | conflict |
//! | has acknowledged the same | repetition | conflict | erased | just now: repetition; else publish | repetition |
//! | has acknowledged another | repetition | conflict | erased | just now: conflict; else publish | conflict |
//!
//! A purchase that was acknowledged a while ago and is not in the store was deleted by its retention: its key is a new one.
//! Should the store only lag, the purchase is published a second time under the same id, which changes nothing.

use std::time::Duration;

use super::cache::{Acknowledgement, CachedId, PriorAttempt};
use super::lookups::is_recent;
use super::{IdempotentSink, erased, other_content};
use crate::ports::{Lookup, PublishedPurchase, PurchaseSink};
use crate::{Purchase, Result, Timestamp};

/// For this long after its acknowledgement, a purchase that is not in the store is on its way there. Ingest usually stores it
/// within milliseconds.
const INGEST_GRACE: Duration = Duration::from_secs(10);

/// What is done with a purchase whose id was given.
pub(super) enum PublishDecision {
    /// The purchase is published.
    Publish(Purchase, PriorAttempt),
    /// The purchase was published before, with this result.
    Answer(PublishedPurchase),
}

impl<S: PurchaseSink> IdempotentSink<S> {
    /// Decides whether `purchase` is published.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) when its id belongs to a purchase with other content,
    /// [`Erased`](crate::ErrorKind::Erased) when that purchase was erased.
    pub(super) async fn decide(
        &self,
        purchase: Purchase,
        now: Timestamp,
    ) -> Result<PublishDecision> {
        match self.look_up_cache(&purchase, now) {
            None => Ok(PublishDecision::Publish(purchase, PriorAttempt::None)),
            Some(cached) => self.decide_by_store(purchase, cached).await,
        }
    }

    /// Returns what this process knows of the id of `purchase`, which the store has to be asked for. Returns `None` if the
    /// purchase cannot be stored yet: its id was made just now, and is not known here.
    pub(super) fn look_up_cache(&self, purchase: &Purchase, now: Timestamp) -> Option<CachedId> {
        match self.cache.get_or_insert(purchase) {
            CachedId::Unknown if is_recent(&purchase.id, now) => None,
            cached => Some(cached),
        }
    }

    /// Decides over a purchase by what the store has, and by what this process knows.
    ///
    /// # Errors
    /// As [`decide`](Self::decide).
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

    /// Decides over a purchase of which this process knows nothing.
    async fn decide_unknown(&self, purchase: Purchase) -> Result<PublishDecision> {
        let found = self.find_stored(&purchase).await.inspect_err(|error| {
            self.cache
                .record(&purchase, PriorAttempt::None, &Err(error.clone()));
        })?;
        Ok(match found {
            Some(first) => PublishDecision::Answer(first),
            None => PublishDecision::Publish(purchase, PriorAttempt::None),
        })
    }

    /// Decides over a purchase after an attempt to publish `first`, whose outcome is unknown.
    async fn decide_attempted(
        &self,
        purchase: Purchase,
        first: Purchase,
    ) -> Result<PublishDecision> {
        if let Some(stored) = self.find_stored(&purchase).await? {
            return Ok(PublishDecision::Answer(stored));
        }
        if !first.same_content(&purchase) {
            // Only the store can decide which of the two is recorded, and it has neither yet.
            return Err(other_content());
        }
        // The first purchase, with its time: a second record of it changes nothing.
        let again = Purchase {
            context: purchase.context,
            ..first
        };
        Ok(PublishDecision::Publish(again, PriorAttempt::MayBeInFlight))
    }

    /// Decides over a purchase after `first` was acknowledged.
    async fn decide_acknowledged(
        &self,
        purchase: Purchase,
        first: Purchase,
        acknowledgement: Acknowledgement,
    ) -> Result<PublishDecision> {
        let is_recent = acknowledgement.at.elapsed() < INGEST_GRACE;
        match self.lookups.find(&*self.query, &purchase).await {
            Some(Lookup::Erased) => {
                self.cache.forget(&purchase.id);
                return Err(erased());
            }
            Some(Lookup::Missing) if !is_recent => {
                self.cache.forget(&purchase.id);
                return Ok(PublishDecision::Publish(
                    purchase,
                    PriorAttempt::MayBeInFlight,
                ));
            }
            Some(Lookup::Stored(stored)) if !stored.same_content(&purchase) => {
                return Err(other_content());
            }
            // Of two purchases with one id, the store may have another one than this process has acknowledged.
            Some(Lookup::Stored(stored)) if !stored.same_content(&first) => {
                return Ok(PublishDecision::Answer(self.replay(stored)));
            }
            _ => {}
        }

        if !first.same_content(&purchase) {
            return Err(other_content());
        }
        // The receipt of this process has the position.
        let published = PublishedPurchase::new(first, acknowledgement.receipt).into_replayed();
        Ok(PublishDecision::Answer(published))
    }

    /// Returns the purchase with the id of `purchase`, if the store is known to have it.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) if the stored purchase has other content,
    /// [`Erased`](crate::ErrorKind::Erased) if it was erased.
    pub(super) async fn find_stored(
        &self,
        purchase: &Purchase,
    ) -> Result<Option<PublishedPurchase>> {
        match self.lookups.find(&*self.query, purchase).await {
            None | Some(Lookup::Missing | Lookup::Waiting(_)) => Ok(None),
            Some(Lookup::Erased) => Err(erased()),
            Some(Lookup::Stored(stored)) => {
                let first = self.replay(stored);
                let known = Ok(first.receipt.clone());
                self.cache
                    .record(&first.purchase, PriorAttempt::MayBeInFlight, &known);
                if !first.purchase.same_content(purchase) {
                    return Err(other_content());
                }
                Ok(Some(first))
            }
        }
    }
}
