//! A cache of recent purchases by the id that their key makes: a repeated purchase gets the same response, another one
//! is rejected at once.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use shop_core::ports::Receipt;
use shop_core::{Error, ErrorKind, Outcome, Purchase, PurchaseId, Result};

/// Recent purchases by id. Purchases that are not cached, or were bought at another facing, are looked up in the store.
#[derive(Debug)]
pub(crate) struct IdempotencyCache {
    known: Mutex<LruCache<PurchaseId, Known>>,
    /// Purchases without a key, in a separate cache, as there may be many more of them. A client may send their ids as
    /// keys later.
    unkeyed: Mutex<LruCache<PurchaseId, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    purchase: Purchase,
    /// Set once it is acknowledged.
    receipt: Option<Receipt>,
}

/// What to do with a purchase that has a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// It is unknown: publish it, and record the outcome.
    First,
    /// An earlier attempt had an unknown outcome: publish that purchase again.
    Again(Purchase),
    /// It was acknowledged before, with this receipt.
    Acknowledged(Purchase, Receipt),
    /// Another purchase with the key is in flight, or had an unknown outcome: only the store can decide.
    Contested,
}

/// The number of purchases in each cache: at about 300 bytes each 3 MB, and never more than 15 MB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

impl IdempotencyCache {
    pub(crate) fn new() -> Self {
        let cache = || Mutex::new(LruCache::new(REMEMBERED));
        Self { known: cache(), unkeyed: cache() }
    }

    /// Remembers an acknowledged purchase without a key.
    pub(crate) fn remember_unkeyed(&self, purchase: &Purchase, receipt: &Receipt) {
        locked(&self.unkeyed).put(purchase.id, Known::acknowledged(purchase, receipt));
    }

    /// Remembers that `purchase` was acknowledged. Replaces any other entry under its id.
    pub(crate) fn acknowledged(&self, purchase: &Purchase, receipt: &Receipt) {
        self.known().put(purchase.id, Known::acknowledged(purchase, receipt));
    }

    /// Remembers acknowledged purchases: those with a key, and those without.
    pub(crate) fn acknowledged_all<'a>(
        &self,
        purchases: impl Iterator<Item = (&'a Purchase, &'a Receipt, bool)>,
    ) {
        let (mut known, mut unkeyed) = (self.known(), locked(&self.unkeyed));
        for (purchase, receipt, has_key) in purchases {
            let cache = if has_key { &mut known } else { &mut unkeyed };
            cache.put(purchase.id, Known::acknowledged(purchase, receipt));
        }
    }

    /// Remembers `purchase`, unless the id is known.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the key was used for a purchase of other content.
    pub(crate) fn check_or_insert(&self, purchase: &Purchase) -> Result<Lookup> {
        let mut known = self.known();
        let unkeyed = locked(&self.unkeyed).get(&purchase.id).cloned();
        match known.get(&purchase.id).or(unkeyed.as_ref()) {
            None => {
                known.put(purchase.id, Known { purchase: without_context(purchase), receipt: None });
                Ok(Lookup::First)
            }
            Some(first) if !first.purchase.same_content(purchase) => match first.receipt {
                Some(_) => Err(other_content()),
                None => Ok(Lookup::Contested),
            },
            Some(Known { purchase, receipt: Some(receipt) }) => {
                Ok(Lookup::Acknowledged(purchase.clone(), receipt.clone()))
            }
            Some(Known { purchase, receipt: None }) => Ok(Lookup::Again(purchase.clone())),
        }
    }

    /// Forgets a purchase that was certainly not published: its key may be used for another.
    pub(crate) fn forget(&self, id: &PurchaseId) {
        let mut known = self.known();
        if known.peek(id).is_some_and(|known| known.receipt.is_none()) {
            known.pop(id);
        }
    }

    fn known(&self) -> MutexGuard<'_, LruCache<PurchaseId, Known>> {
        locked(&self.known)
    }
}

/// The error for a key that belongs to another purchase.
pub(crate) fn other_content() -> Error {
    Error::new(ErrorKind::Conflict, "the key was used for a purchase with other content")
        .with_outcome(Outcome::NotApplied)
}

impl Known {
    fn acknowledged(purchase: &Purchase, receipt: &Receipt) -> Self {
        Self { purchase: without_context(purchase), receipt: Some(receipt.clone()) }
    }
}

fn without_context(purchase: &Purchase) -> Purchase {
    let Purchase { id, user_id, user_name, price, timestamp, .. } = purchase;
    Purchase::new(*id, user_id.clone(), user_name.clone(), *price, *timestamp)
}

fn locked(cache: &Mutex<LruCache<PurchaseId, Known>>) -> MutexGuard<'_, LruCache<PurchaseId, Known>> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use shop_core::ports::Durability;
    use shop_core::{Timestamp, Uuid};

    use super::*;

    fn purchase(number: u128, price: &str) -> Purchase {
        let id = PurchaseId::from_uuid(Uuid::from_u128(number));
        Purchase::new(
            id,
            "u1".parse().unwrap(),
            "ada".parse().unwrap(),
            price.parse().unwrap(),
            Timestamp::MIN,
        )
    }

    #[test]
    fn a_key_stands_for_the_first_purchase_until_that_has_certainly_failed() {
        let known = IdempotencyCache::new();
        let (first, other) = (purchase(1, "5"), purchase(1, "6"));
        assert_eq!(known.check_or_insert(&first).unwrap(), Lookup::First);
        assert_eq!(known.check_or_insert(&other).unwrap(), Lookup::Contested);
        let mut later = purchase(1, "5.00");
        later.timestamp = Timestamp::MAX;
        assert_eq!(known.check_or_insert(&later).unwrap(), Lookup::Again(first));
        known.forget(&other.id);
        assert_eq!(known.check_or_insert(&other).unwrap(), Lookup::First);
        let receipt = Receipt::new(other.id, Durability::LocalDisk);
        known.acknowledged(&other, &receipt);
        known.forget(&other.id);
        assert_eq!(known.check_or_insert(&purchase(1, "5")).unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(known.check_or_insert(&other).unwrap(), Lookup::Acknowledged(other, receipt));
    }

    #[test]
    fn it_remembers_so_many_and_no_more() {
        let known = IdempotencyCache::new();
        for number in 0..=REMEMBERED.get() as u128 {
            known.check_or_insert(&purchase(number, "5")).unwrap();
        }
        assert_eq!(known.known().len(), REMEMBERED.get());
        assert_eq!(
            known.check_or_insert(&purchase(0, "6")).unwrap(),
            Lookup::First,
            "the oldest is forgotten"
        );
    }
}
