//! A shop whose calls fail by a seed.

use fastrand::Rng;

use super::super::prelude::*;
use super::call::no_answer;
use crate::memory::InMemoryStore;
use crate::ports::{Durability, IdempotentSink, PurchaseSink, StoreSink};
use crate::{Error, Outcome};

/// The longest delay of a call.
const MAX_DELAY_MILLIS: u64 = 200;

/// Returns the fault of the next `call`, or `None` for half of the publishes and most other calls.
pub(super) fn random_fault(random: &mut Rng, call: Call) -> Option<Fault> {
    // Five of ten publishes, and one of forty queries, have a fault.
    let number_count = if call == Call::Publish { 10 } else { 40 };
    let number = random.u32(..number_count);
    match (call, number) {
        (Call::Publish, 0) => Some(Fault::unavailable()),
        (Call::Publish, 1) => {
            let error = Error::new(ErrorKind::Overloaded, "the queue is full on purpose");
            Some(Fault::Refuse(
                error.with_outcome(Outcome::NotApplied).with_origin("fault"),
            ))
        }
        // The outcome is unknown: the purchase was published in the first case, and not in the
        // second.
        (Call::Publish, 2) => Some(Fault::LoseAnswer),
        (Call::Publish, 3) => Some(Fault::Refuse(no_answer())),
        (Call::Publish | Call::Query, 4) => Some(Fault::Delay(Duration::from_millis(
            random.u64(..MAX_DELAY_MILLIS),
        ))),
        _ => None,
    }
}

impl Shop {
    /// A shop in memory whose calls fail by `seed`, for tests of what calls it: the same seed fails
    /// the same calls. Of ten purchases one is refused because the service is unavailable, and one
    /// because it is overloaded; two have an unknown outcome, of which one is stored; one takes up
    /// to 200 ms. Listings are only late.
    ///
    /// ```
    /// use shop_core::{NewPurchase, Outcome, Result, Shop};
    ///
    /// async fn buy_until_known(shop: &Shop, order: NewPurchase) -> Result<()> {
    ///     loop {
    ///         match shop.buy(order.clone()).await {
    ///             Err(error) if error.is_retryable() || error.outcome() == Outcome::Unknown => {}
    ///             bought => return bought.map(drop),
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// for seed in 0..20 {
    ///     let shop = Shop::simulated(seed);
    ///     let order = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?;
    ///     // Without a key, a purchase of unknown outcome would be bought twice.
    ///     buy_until_known(&shop, order.with_key("order-7")?).await?;
    ///     assert_eq!(shop.user("u1").summary().await?.count, 1);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn simulated(seed: u64) -> Self {
        let faults = Faults::seeded(seed);
        let store = InMemoryStore::new();
        let sink: Arc<dyn PurchaseSink> =
            Arc::new(StoreSink::new(Arc::new(store.clone()), Durability::Memory));
        let sink = IdempotentSink::new(faults.sink(sink), Arc::new(store.clone()));
        Self::new(sink, faults.query(Arc::new(store)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::shop::order_of;
    use super::*;

    /// Returns the outcome of each attempt to buy 200 orders, each until it is known.
    async fn buy(shop: &Shop) -> Vec<Option<ErrorKind>> {
        let mut outcomes = Vec::new();
        for number in 0..200 {
            let order = order_of("u1", "1", &format!("order-{number}"));
            while let Err(error) = shop.buy(order.clone()).await {
                outcomes.push(Some(error.kind()));
            }
            outcomes.push(None);
        }
        outcomes
    }

    #[tokio::test(start_paused = true)]
    async fn a_seed_fails_the_same_calls_and_keys_make_retries_safe() {
        let shop = Shop::simulated(7);
        let outcomes = buy(&shop).await;
        assert_eq!(shop.user("u1").summary().await.unwrap().count, 200);
        for kind in [
            ErrorKind::Unavailable,
            ErrorKind::Overloaded,
            ErrorKind::DeadlineExceeded,
        ] {
            let count = outcomes
                .iter()
                .filter(|found| **found == Some(kind))
                .count();
            assert!(count > 10, "{kind:?}: {count}");
        }
        assert_eq!(buy(&Shop::simulated(7)).await, outcomes);
        assert_ne!(buy(&Shop::simulated(8)).await, outcomes);
    }
}
