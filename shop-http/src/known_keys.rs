//! Remembers what was bought with a key: the same again gets the same answer, anything else is refused at once.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use shop_core::ports::Receipt;
use shop_core::{Error, ErrorKind, Outcome, Purchase, PurchaseId, Result};

/// The purchases that came with a key lately, by the id that the key makes.
///
/// What is forgotten, or was bought at another facing, is found out in the store: the same again is stored once, and
/// anything else is put aside as a conflict.
#[derive(Debug)]
pub(crate) struct KnownKeys {
    known: Mutex<LruCache<PurchaseId, Known>>,
}

#[derive(Debug)]
struct Known {
    purchase: Purchase,
    /// Once it is acknowledged.
    receipt: Option<Receipt>,
}

/// What is to be done about a purchase that has a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// It is unknown: publish it, and say what became of it.
    First,
    /// It was tried before, and nobody knows what became of that: publish it as it was then.
    Again(Purchase),
    /// It was acknowledged before, so.
    Acknowledged(Purchase, Receipt),
}

/// As many are remembered: at about 300 bytes each 6 MB, and never more than 30 MB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

impl KnownKeys {
    pub(crate) fn new() -> Self {
        Self { known: Mutex::new(LruCache::new(REMEMBERED)) }
    }

    /// Remembers `purchase`, unless another was there first.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the key was used for a purchase of other content.
    pub(crate) fn meet(&self, purchase: &Purchase) -> Result<Met> {
        let mut known = self.known();
        match known.get(&purchase.id) {
            None => {
                let mut purchase = purchase.clone();
                purchase.context = None;
                known.put(purchase.id, Known { purchase, receipt: None });
                Ok(Met::First)
            }
            Some(first) if !first.purchase.same_content(purchase) => {
                Err(Error::new(ErrorKind::Conflict, "the key was used for a purchase with other content")
                    .with_outcome(Outcome::NotApplied))
            }
            Some(Known { purchase, receipt: Some(receipt) }) => {
                Ok(Met::Acknowledged(purchase.clone(), receipt.clone()))
            }
            Some(Known { purchase, receipt: None }) => Ok(Met::Again(purchase.clone())),
        }
    }

    /// The purchase was acknowledged.
    pub(crate) fn acknowledged(&self, id: &PurchaseId, receipt: &Receipt) {
        if let Some(known) = self.known().peek_mut(id) {
            known.receipt = Some(receipt.clone());
        }
    }

    /// The purchase certainly was not published: its key may be used for another.
    pub(crate) fn forget(&self, id: &PurchaseId) {
        let mut known = self.known();
        if known.peek(id).is_some_and(|known| known.receipt.is_none()) {
            known.pop(id);
        }
    }

    fn known(&self) -> MutexGuard<'_, LruCache<PurchaseId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let known = KnownKeys::new();
        let (first, other) = (purchase(1, "5"), purchase(1, "6"));
        assert_eq!(known.meet(&first).unwrap(), Met::First);
        assert_eq!(known.meet(&other).unwrap_err().kind(), ErrorKind::Conflict);
        let mut later = purchase(1, "5.00");
        later.timestamp = Timestamp::MAX;
        assert_eq!(known.meet(&later).unwrap(), Met::Again(first));
        known.forget(&other.id);
        assert_eq!(known.meet(&other).unwrap(), Met::First);
        let receipt = Receipt::new(other.id, Durability::LocalDisk);
        known.acknowledged(&other.id, &receipt);
        known.forget(&other.id);
        assert_eq!(known.meet(&other).unwrap(), Met::Acknowledged(other, receipt));
    }

    #[test]
    fn it_remembers_so_many_and_no_more() {
        let known = KnownKeys::new();
        for number in 0..=REMEMBERED.get() as u128 {
            known.meet(&purchase(number, "5")).unwrap();
        }
        assert_eq!(known.known().len(), REMEMBERED.get());
        assert_eq!(known.meet(&purchase(0, "6")).unwrap(), Met::First, "the oldest is forgotten");
    }
}
