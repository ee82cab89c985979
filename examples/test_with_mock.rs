//! Tests of your own code: on a shop in memory, on one that fails by a seed (feature `conformance` of `shop-core`), and with
//! the mocks of `shop-client` (feature `mock`), which fail on demand.
//!
//! ```text
//! cargo test -p examples --example test_with_mock
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use shop_client::{NewPurchase, Outcome};
use shop_core::Shop;

/// The message for a customer.
async fn outcome(shop: &Shop, new: NewPurchase) -> &'static str {
    match shop.buy(new).await {
        Ok(_bought) => "thank you",
        Err(error) if error.outcome() == Outcome::Unknown => "we are looking into it",
        Err(_nothing_happened) => "please try again",
    }
}

/// Buys until it is known that it was bought. Only a purchase with a key may be repeated like this.
async fn insist(shop: &Shop, new: NewPurchase) -> shop_core::Result<()> {
    loop {
        match shop.buy(new.clone()).await {
            Err(error) if error.is_retryable() || error.outcome() == Outcome::Unknown => {}
            bought => return bought.map(drop),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("1")?;
    println!("{}", outcome(&Shop::in_memory(), new.clone()).await);
    insist(&Shop::in_memory(), new.with_key("order-7")?).await?;
    Ok(())
}
#[cfg(test)]
mod tests {
    use shop_client::{ErrorKind, MockPurchasePublisher};
    use shop_core::Error;
    use shop_core::memory::InMemoryStore;

    use super::*;

    fn new() -> NewPurchase {
        NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price("1")
            .unwrap()
    }

    #[tokio::test]
    async fn a_purchase_is_stored() {
        let shop = Shop::in_memory();
        assert_eq!(outcome(&shop, new()).await, "thank you");
        assert_eq!(shop.user("u1").summary().await.unwrap().count, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_repeated_is_bought_once() {
        for seed in 0..50 {
            let shop = Shop::simulated(seed);
            for number in 0..20 {
                insist(&shop, new().with_key(format!("order-{number}")).unwrap())
                    .await
                    .unwrap();
            }
            assert_eq!(
                shop.user("u1").summary().await.unwrap().count,
                20,
                "seed {seed}"
            );
        }
    }

    #[tokio::test]
    async fn an_unknown_outcome_is_not_retried() {
        for (kind, text) in [
            (ErrorKind::Overloaded, "please try again"),
            (ErrorKind::DeadlineExceeded, "we are looking into it"),
        ] {
            let mut publisher = MockPurchasePublisher::new();
            publisher
                .expect_publish_new()
                .times(1)
                .returning(move |_, _| Err(Error::new(kind, "on demand")));
            assert_eq!(
                outcome(
                    &Shop::from_publisher(publisher, InMemoryStore::new()),
                    new()
                )
                .await,
                text
            );
        }
    }
}
