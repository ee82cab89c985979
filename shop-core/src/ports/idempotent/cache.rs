//! A cache of the recent purchases of this process by id.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Mutex;

use lru::LruCache;
use tokio::time::Instant;

use crate::lock::lock;
use crate::ports::Receipt;
use crate::{Outcome, Purchase, PurchaseId, Result};

/// The number of purchases in each part of the cache: at about 300 bytes each 3 MB, and never more than 15 MB.
const MAX_ENTRIES: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// Recent purchases by id. Purchases that are not cached, or were published elsewhere, are looked up in the store.
#[derive(Debug)]
pub(super) struct IdempotencyCache {
    /// Purchases whose ids were given.
    given: Mutex<LruCache<PurchaseId, CachedPurchase>>,
    /// Purchases whose ids were generated, in the order of their ids, in a separate part, as there may be many more of them.
    /// A client may send these ids as keys later. Boxed: concurrent calls end in another order, and an entry is moved past
    /// the entries with later ids.
    generated: Mutex<VecDeque<Box<CachedPurchase>>>,
}

#[derive(Debug, Clone)]
struct CachedPurchase {
    purchase: Purchase,
    /// Set once the purchase is acknowledged.
    acknowledgement: Option<Acknowledgement>,
}

/// The acknowledgement of a purchase by this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acknowledgement {
    pub(super) receipt: Receipt,
    pub(super) at: Instant,
}

/// What the cache knows of the id of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CachedId {
    /// Nothing. From now on it knows this attempt.
    Unknown,
    /// An earlier attempt to publish this purchase, which may have succeeded.
    Attempted(Purchase),
    /// This purchase was published.
    Acknowledged(Purchase, Acknowledgement),
}

/// The attempts with an id that preceded an attempt to publish a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PriorAttempt {
    /// There can be none: the id was generated for this attempt.
    IdIsGenerated,
    /// No attempt with this id is known.
    None,
    /// An earlier attempt may still be in flight.
    MayBeInFlight,
}

impl IdempotencyCache {
    pub(super) fn new() -> Self {
        Self {
            given: Mutex::new(LruCache::new(MAX_ENTRIES)),
            generated: Mutex::default(),
        }
    }

    /// Returns what is known of the id of `purchase`. If nothing is known, remembers the attempt to publish it.
    pub(super) fn get_or_insert(&self, purchase: &Purchase) -> CachedId {
        let mut given = lock(&self.given);
        let generated = lock(&self.generated);

        let known = given
            .get(&purchase.id)
            .or_else(|| find_generated(&generated, &purchase.id));
        if let Some(entry) = known {
            let first = entry.purchase.clone();
            return match entry.acknowledgement.clone() {
                Some(acknowledgement) => CachedId::Acknowledged(first, acknowledgement),
                None => CachedId::Attempted(first),
            };
        }

        let attempt = CachedPurchase {
            purchase: purchase.clone_stored(),
            acknowledgement: None,
        };
        given.put(purchase.id, attempt);
        CachedId::Unknown
    }

    /// Returns the purchase with this id, if it is cached and acknowledged.
    pub(super) fn acknowledged(&self, id: &PurchaseId) -> Option<Purchase> {
        let given = lock(&self.given);
        let generated = lock(&self.generated);
        given
            .peek(id)
            .or_else(|| find_generated(&generated, id))
            .filter(|entry| entry.acknowledgement.is_some())
            .map(|entry| entry.purchase.clone())
    }

    /// Remembers an acknowledged purchase whose id was generated.
    pub(super) fn remember_generated(&self, purchase: &Purchase, receipt: &Receipt) {
        let mut generated = lock(&self.generated);
        if generated.len() == MAX_ENTRIES.get() {
            generated.pop_front();
        }
        // Nearly always the end, as generated ids ascend.
        let last = generated.back();
        let index = if last.is_none_or(|last| last.purchase.id < purchase.id) {
            generated.len()
        } else {
            generated.partition_point(|entry| entry.purchase.id < purchase.id)
        };
        generated.insert(
            index,
            Box::new(CachedPurchase::acknowledged(purchase, receipt)),
        );
    }

    /// Records the result of publishing `purchase`. A purchase that was certainly not published is forgotten: its key may
    /// be used for another one.
    pub(super) fn record(
        &self,
        purchase: &Purchase,
        prior: PriorAttempt,
        result: &Result<Receipt>,
    ) {
        match result {
            Ok(receipt) if prior == PriorAttempt::IdIsGenerated => {
                self.remember_generated(purchase, receipt);
            }
            Ok(receipt) => {
                let entry = CachedPurchase::acknowledged(purchase, receipt);
                lock(&self.given).put(purchase.id, entry);
            }
            Err(error) => {
                let is_certain = error.outcome() == Outcome::NotApplied;
                if is_certain && prior == PriorAttempt::None {
                    self.forget_attempt(&purchase.id);
                }
            }
        }
    }

    /// Forgets the attempt to publish the purchase with this id, unless one was acknowledged meanwhile.
    fn forget_attempt(&self, id: &PurchaseId) {
        let mut given = lock(&self.given);
        let is_attempt = given
            .peek(id)
            .is_some_and(|entry| entry.acknowledgement.is_none());
        if is_attempt {
            given.pop(id);
        }
    }

    /// Forgets the purchase with this id, which the store has no longer.
    pub(super) fn forget(&self, id: &PurchaseId) {
        lock(&self.given).pop(id);
        let mut generated = lock(&self.generated);
        if let Ok(index) = generated.binary_search_by_key(id, |entry| entry.purchase.id) {
            generated.remove(index);
        }
    }
}

impl CachedPurchase {
    fn acknowledged(purchase: &Purchase, receipt: &Receipt) -> Self {
        let first = receipt.first_purchase.as_deref().unwrap_or(purchase);
        let receipt = Receipt {
            first_purchase: None,
            ..receipt.clone()
        };
        Self {
            purchase: first.clone_stored(),
            acknowledgement: Some(Acknowledgement {
                receipt,
                at: Instant::now(),
            }),
        }
    }
}

fn find_generated<'a>(
    generated: &'a VecDeque<Box<CachedPurchase>>,
    id: &PurchaseId,
) -> Option<&'a CachedPurchase> {
    let index = generated
        .binary_search_by_key(id, |entry| entry.purchase.id)
        .ok()?;
    generated.get(index).map(|entry| &**entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Durability;
    use crate::{Error, ErrorKind, Timestamp, Uuid};

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

    fn receipt(purchase: &Purchase) -> Receipt {
        Receipt::new(purchase.id, Durability::LocalDisk)
    }

    fn not_sent() -> Result<Receipt> {
        Err(Error::new(ErrorKind::Overloaded, "the queue is full"))
    }

    #[test]
    fn an_attempt_is_known_until_it_certainly_fails() {
        let cache = IdempotencyCache::new();
        let [first, other] = [purchase(1, "5"), purchase(1, "6")];
        assert_eq!(cache.get_or_insert(&first), CachedId::Unknown);
        let attempted = CachedId::Attempted(first.clone());
        assert_eq!(cache.get_or_insert(&other), attempted);

        cache.record(&other, PriorAttempt::MayBeInFlight, &not_sent());
        assert_eq!(
            cache.get_or_insert(&other),
            attempted,
            "of the other attempt"
        );
        cache.record(&first, PriorAttempt::None, &not_sent());
        assert_eq!(cache.get_or_insert(&other), CachedId::Unknown);
    }

    #[test]
    fn an_acknowledged_purchase_is_known_until_it_is_forgotten() {
        let cache = IdempotencyCache::new();
        let first = purchase(1, "5");
        assert_eq!(cache.acknowledged(&first.id), None);
        cache.record(&first, PriorAttempt::None, &Ok(receipt(&first)));
        cache.record(&first, PriorAttempt::None, &not_sent());

        let CachedId::Acknowledged(known, acknowledgement) = cache.get_or_insert(&first) else {
            panic!("not acknowledged")
        };
        assert_eq!(
            (known, acknowledgement.receipt),
            (first.clone(), receipt(&first))
        );
        assert_eq!(cache.acknowledged(&first.id), Some(first.clone()));
        cache.forget(&first.id);
        assert_eq!(cache.get_or_insert(&first), CachedId::Unknown);
    }

    #[test]
    fn generated_ids_are_found_in_any_order_and_the_oldest_is_forgotten() {
        let cache = IdempotencyCache::new();
        let last = MAX_ENTRIES.get() as u128;
        for number in [1, 3, 2, 0].into_iter().chain(4..=last) {
            let purchase = purchase(number, "5");
            cache.remember_generated(&purchase, &receipt(&purchase));
        }
        assert_eq!(cache.acknowledged(&purchase(0, "5").id), None, "the oldest");
        for number in [1, 2, 3, 4, last] {
            assert!(
                cache.acknowledged(&purchase(number, "5").id).is_some(),
                "{number}"
            );
        }
        assert_eq!(lock(&cache.generated).len(), MAX_ENTRIES.get());
        cache.forget(&purchase(2, "5").id);
        assert_eq!(cache.acknowledged(&purchase(2, "5").id), None);
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = IdempotencyCache::new();
        for number in 0..=MAX_ENTRIES.get() as u128 {
            cache.get_or_insert(&purchase(number, "5"));
        }
        assert_eq!(lock(&cache.given).len(), MAX_ENTRIES.get());
        let oldest = purchase(0, "6");
        assert_eq!(cache.get_or_insert(&oldest), CachedId::Unknown);
    }
}
