//! A cache of recent purchases by id: a repeated purchase gets the same response, another one is rejected at once.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::{Need, Prepared, other_content};
use crate::ports::Receipt;
use crate::{Outcome, Purchase, PurchaseId, Result};

/// Recent purchases by id. Purchases that are not cached, or were published elsewhere, are looked up in the store.
#[derive(Debug)]
pub(super) struct IdempotencyCache {
    given: Mutex<LruCache<PurchaseId, Entry>>,
    /// Purchases with generated ids, in the order of these, in a separate cache, as there may be many more of them. A
    /// client may send these ids as keys later. Boxed: concurrent calls end in another order, and an entry is moved past
    /// those of later ids.
    generated: Mutex<VecDeque<Box<Entry>>>,
}

#[derive(Debug, Clone)]
struct Entry {
    purchase: Purchase,
    /// Set once it is acknowledged.
    receipt: Option<Receipt>,
}

/// What preceded an attempt to publish a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prior {
    /// Its id was generated for it.
    Generated,
    /// No attempt with its id is known.
    First,
    /// An earlier attempt may still be in flight.
    Repeated,
}

/// The number of purchases in each cache: at about 300 bytes each 3 MB, and never more than 15 MB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

impl IdempotencyCache {
    pub(super) fn new() -> Self {
        Self {
            given: Mutex::new(LruCache::new(REMEMBERED)),
            generated: Mutex::default(),
        }
    }

    /// Remembers an acknowledged purchase with a generated id.
    pub(super) fn remember_generated(&self, purchase: &Purchase, receipt: &Receipt) {
        remember(&mut locked(&self.generated), purchase, receipt);
    }

    /// Records the results of purchases. One that was certainly not published is forgotten: its key may be used for
    /// another.
    pub(super) fn record<'a>(
        &self,
        results: impl Iterator<Item = (&'a Purchase, Prior, &'a Result<Receipt>)>,
    ) {
        let (mut given, mut generated) = (locked(&self.given), locked(&self.generated));
        for (purchase, prior, result) in results {
            match result {
                Ok(receipt) if prior == Prior::Generated => {
                    remember(&mut generated, purchase, receipt);
                }
                Ok(receipt) => {
                    given.put(purchase.id, Entry::acknowledged(purchase, receipt));
                }
                Err(error) if prior == Prior::First && error.outcome() == Outcome::NotApplied => {
                    if given
                        .peek(&purchase.id)
                        .is_some_and(|entry| entry.receipt.is_none())
                    {
                        given.pop(&purchase.id);
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Remembers `purchase`, which then has this `need`, unless the id is known.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) when the id belongs to a purchase of other content.
    pub(super) fn check_or_insert(&self, purchase: Purchase, need: Need) -> Result<Prepared> {
        let mut given = locked(&self.given);
        let generated = locked(&self.generated);
        let at = generated.binary_search_by_key(&purchase.id, |entry| entry.purchase.id);
        let generated = at.ok().map(|at| &*generated[at]);
        let Some(Entry {
            purchase: first,
            receipt,
        }) = given.get(&purchase.id).or(generated)
        else {
            let entry = Entry {
                purchase: purchase.clone_stored(),
                receipt: None,
            };
            given.put(purchase.id, entry);
            return Ok(Prepared {
                purchase,
                prior: Prior::First,
                need,
            });
        };
        let (purchase, need) = match (first.same_content(&purchase), receipt) {
            (true, Some(receipt)) => (first.clone(), Need::Acknowledged(receipt.clone())),
            // An earlier attempt had an unknown outcome: that purchase is published again.
            (true, None) => (
                Purchase {
                    context: purchase.context,
                    ..first.clone()
                },
                Need::MayBeStored,
            ),
            (false, Some(_)) => return Err(other_content()),
            (false, None) => (purchase, Need::Contested),
        };
        Ok(Prepared {
            purchase,
            prior: Prior::Repeated,
            need,
        })
    }
}

impl Entry {
    fn acknowledged(purchase: &Purchase, receipt: &Receipt) -> Self {
        let first = receipt.first.as_deref().unwrap_or(purchase);
        let receipt = Receipt {
            first: None,
            ..receipt.clone()
        };
        Self {
            purchase: first.clone_stored(),
            receipt: Some(receipt),
        }
    }
}

/// Adds the purchase at the end: generated ids ascend, but for those of concurrent calls.
fn remember(generated: &mut VecDeque<Box<Entry>>, purchase: &Purchase, receipt: &Receipt) {
    if generated.len() == REMEMBERED.get() {
        generated.pop_front();
    }
    let is_later = generated
        .back()
        .is_none_or(|last| last.purchase.id < purchase.id);
    let at = if is_later {
        generated.len()
    } else {
        generated.partition_point(|entry| entry.purchase.id < purchase.id)
    };
    generated.insert(at, Box::new(Entry::acknowledged(purchase, receipt)));
}

fn locked<T>(cache: &Mutex<T>) -> MutexGuard<'_, T> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn record(known: &IdempotencyCache, purchase: &Purchase, result: &Result<Receipt>) {
        known.record(std::iter::once((purchase, Prior::First, result)));
    }

    /// What is known of `purchase`.
    fn known_of(known: &IdempotencyCache, purchase: &Purchase) -> (Purchase, Prior, Need) {
        let Prepared {
            purchase,
            prior,
            need,
        } = known
            .check_or_insert(purchase.clone(), Need::MayBeStored)
            .unwrap();
        (purchase, prior, need)
    }

    /// A purchase of which nothing is known.
    fn new(purchase: &Purchase) -> (Purchase, Prior, Need) {
        (purchase.clone(), Prior::First, Need::MayBeStored)
    }

    #[test]
    fn a_key_belongs_to_the_first_purchase_until_it_fails() {
        let known = IdempotencyCache::new();
        let (first, other) = (purchase(1, "5"), purchase(1, "6"));
        assert_eq!(known_of(&known, &first), new(&first));
        assert_eq!(
            known_of(&known, &other),
            (other.clone(), Prior::Repeated, Need::Contested)
        );
        let mut later = purchase(1, "5.00");
        later.timestamp = Timestamp::MAX;
        assert_eq!(
            known_of(&known, &later),
            (first, Prior::Repeated, Need::MayBeStored)
        );
        let not_sent = || Err::<Receipt, _>(Error::new(ErrorKind::Overloaded, "the queue is full"));
        record(&known, &other, &not_sent());
        assert_eq!(known_of(&known, &other), new(&other));
        let receipt = Receipt::new(other.id, Durability::LocalDisk);
        record(&known, &other, &Ok(receipt.clone()));
        record(&known, &other, &not_sent());
        let conflict = known
            .check_or_insert(purchase(1, "5"), Need::MayBeStored)
            .unwrap_err();
        assert_eq!(conflict.kind(), ErrorKind::Conflict);
        let acknowledged = (other.clone(), Prior::Repeated, Need::Acknowledged(receipt));
        assert_eq!(known_of(&known, &other), acknowledged);
    }

    #[test]
    fn generated_ids_are_found_in_any_order_and_the_oldest_is_forgotten() {
        let known = IdempotencyCache::new();
        let last = REMEMBERED.get() as u128;
        for number in [1, 3, 2, 0].into_iter().chain(4..=last) {
            let purchase = purchase(number, "5");
            known.remember_generated(&purchase, &Receipt::new(purchase.id, Durability::LocalDisk));
        }
        let oldest = purchase(0, "6");
        assert_eq!(
            known_of(&known, &oldest),
            new(&oldest),
            "the oldest is forgotten"
        );
        for number in [1, 2, 3, 4, last] {
            assert!(
                known
                    .check_or_insert(purchase(number, "6"), Need::MayBeStored)
                    .is_err(),
                "{number}"
            );
        }
        assert_eq!(locked(&known.generated).len(), REMEMBERED.get());
    }

    #[test]
    fn the_cache_is_bounded() {
        let known = IdempotencyCache::new();
        for number in 0..=REMEMBERED.get() as u128 {
            known
                .check_or_insert(purchase(number, "5"), Need::MayBeStored)
                .unwrap();
        }
        assert_eq!(locked(&known.given).len(), REMEMBERED.get());
        let oldest = purchase(0, "6");
        assert_eq!(
            known_of(&known, &oldest),
            new(&oldest),
            "the oldest is forgotten"
        );
    }
}
