//! Tests of your own code with the mocks of `shop-client` (feature `mock`), which fail on demand.
//!
//! ```text
//! cargo test -p examples --example test_with_mock
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use shop_client::shop_core::{Clock, SystemClock};
use shop_client::{NewPurchase, Outcome, PurchaseSink, ShopClient};

/// The message for a customer.
async fn outcome(sink: &dyn PurchaseSink, new: NewPurchase) -> &'static str {
    let purchase = new.into_purchase(SystemClock.now(), || SystemClock.fresh_id());
    match sink.publish(&purchase).await {
        Ok(_receipt) => "thank you",
        Err(error) if error.outcome() == Outcome::Unknown => "we are looking into it",
        Err(_nothing_happened) => "please try again",
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shop = ShopClient::builder(examples::service_in_memory().await?).build()?;
    println!("{}", outcome(&shop, NewPurchase::new("u1".parse()?, "ada".parse()?, "1".parse()?)).await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use shop_client::shop_core::Error;
    use shop_client::{Durability, ErrorKind, MockPurchaseSink, Receipt};

    use super::*;

    fn new() -> NewPurchase {
        NewPurchase::new("u1".parse().unwrap(), "ada".parse().unwrap(), "1".parse().unwrap())
    }

    #[tokio::test]
    async fn a_customer_is_thanked() {
        let mut sink = MockPurchaseSink::new();
        sink.expect_publish().times(1).returning(|new| Ok(Receipt::new(new.id, Durability::LocalDisk)));
        assert_eq!(outcome(&sink, new()).await, "thank you");
    }

    #[tokio::test]
    async fn a_customer_who_may_have_bought_is_not_told_to_retry() {
        for (kind, text) in [
            (ErrorKind::Overloaded, "please try again"),
            (ErrorKind::DeadlineExceeded, "we are looking into it"),
        ] {
            let mut sink = MockPurchaseSink::new();
            sink.expect_publish().times(1).returning(move |_| Err(Error::new(kind, "on demand")));
            assert_eq!(outcome(&sink, new()).await, text);
        }
    }
}
