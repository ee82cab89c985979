//! A cache of each user's last purchase, for listings that include it.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use shop_core::ports::{Receipt, Selector};
use shop_core::{Purchase, PurchaseId};

/// The last purchase of each user id and of each user name, for recent buyers.
#[derive(Debug)]
pub(crate) struct LastPurchases {
    last: Mutex<LruCache<Selector, LastPurchase>>,
}

#[derive(Debug)]
struct LastPurchase {
    id: PurchaseId,
    /// Its offset in the log, if known.
    offset: Option<u64>,
}

/// The number of cached selectors, two for each user. At about 100 bytes each that is 2 MB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

impl LastPurchases {
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new(LruCache::new(REMEMBERED)) }
    }

    /// Remembers an acknowledged purchase. Of two concurrent ones, the one with the higher offset counts: it is stored
    /// later.
    pub(crate) fn remember(&self, purchase: &Purchase, receipt: &Receipt) {
        self.remember_all(std::iter::once((purchase, receipt)));
    }

    /// As [`remember`](Self::remember), for many purchases.
    pub(crate) fn remember_all<'a>(&self, purchases: impl Iterator<Item = (&'a Purchase, &'a Receipt)>) {
        let mut last = self.last();
        for (purchase, receipt) in purchases {
            let offset = receipt.position.as_ref().map(|position| position.offset);
            let (user, name) = (purchase.user_id.clone(), purchase.user_name.clone());
            for selector in [Selector::User(user), Selector::Name(name)] {
                if last.peek(&selector).is_none_or(|known| known.offset <= offset) {
                    last.put(selector, LastPurchase { id: purchase.id, offset });
                }
            }
        }
    }

    /// The last of the selected purchases.
    pub(crate) fn last_of(&self, selector: &Selector) -> Option<PurchaseId> {
        self.last().get(selector).map(|last| last.id)
    }

    /// Forgets a purchase: listings do not wait for it any more.
    pub(crate) fn forget(&self, selector: &Selector, id: PurchaseId) {
        let mut last = self.last();
        if last.peek(selector).is_some_and(|last| last.id == id) {
            last.pop(selector);
        }
    }

    fn last(&self) -> MutexGuard<'_, LruCache<Selector, LastPurchase>> {
        self.last.lock()
    }
}

#[cfg(test)]
mod tests {
    use shop_core::log::RecordPosition;
    use shop_core::ports::Durability;
    use shop_core::{Timestamp, Uuid};

    use super::*;

    #[test]
    fn the_purchase_with_the_highest_position_counts() {
        let recent = LastPurchases::new();
        for (number, offset) in [(1, 7), (2, 9), (3, 8)] {
            let id = PurchaseId::from_uuid(Uuid::from_u128(number));
            let (user, name) = ("u1".parse().unwrap(), "ada".parse().unwrap());
            let purchase = Purchase::new(id, user, name, "1".parse().unwrap(), Timestamp::MIN);
            let position = RecordPosition::new("purchases", 0, offset);
            recent.remember(&purchase, &Receipt::new(id, Durability::LocalDisk).with_position(position));
        }
        let last = recent.last_of(&Selector::User("u1".parse().unwrap())).unwrap();
        assert_eq!(last, PurchaseId::from_uuid(Uuid::from_u128(2)));
    }
}
