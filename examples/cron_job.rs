//! A job without async code: charges a fee once a month, however often it runs.
//!
//! ```text
//! cargo run --example cron_job
//!
//! u1 has paid 4.90
//! u2 has paid 4.90
//! …
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use shop_client::{BlockingFuture, NewPurchase, Shop, ShopClient};

fn charge(shop: &Shop, month: &str) -> Result<(), Box<dyn std::error::Error>> {
    for (user, name) in [("u1", "ada"), ("u2", "bob")] {
        let fee = NewPurchase::for_user(user)
            .with_user_name(name)
            .with_price("4.90")?;
        let paid = shop
            .buy(fee.with_key(format!("fee-{month}-{user}")))
            .wait()?;
        let user = shop
            .user(paid.purchase.user_id.clone())
            .wait_for(&paid.receipt);
        println!(
            "{} has paid {}",
            paid.purchase.user_id,
            user.summary().wait()?.total_spent
        );
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In your program this is the address of a running service, and no runtime is needed.
    let service = tokio::runtime::Runtime::new()?;
    let address = service.block_on(examples::service_in_memory())?;
    let shop = ShopClient::builder(address).build()?.shop();
    for _run in 0..2 {
        charge(&shop, "2026-03")?;
    }
    Ok(shop.close(Duration::from_secs(5)).wait()?)
}
