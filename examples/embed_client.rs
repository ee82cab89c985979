//! `shop-client` inside another program: buys, repeats a purchase, and lists the purchases.
//!
//! ```text
//! cargo run --example embed_client
//!
//! bought 29.99, repeated as the same purchase: true
//! 2 purchases for 45.49
//!   2026-…Z  15.50
//!   2026-…Z  29.99
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use shop_client::{NewPurchase, ShopClient, TryStreamExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In your program this is the address of a running facing, such as http://localhost:3000.
    let client = ShopClient::builder(examples::service_in_memory().await?).build()?;
    // A `Shop` is the same for every backend: the code below also runs on `Shop::in_memory()`.
    let shop = client.shop();

    // With your own key a purchase can be repeated safely.
    let order = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("29.99")?
        .with_key("order-7")?;
    let first = shop.buy(order.clone()).await?;
    let again = shop.buy(order).await?;
    let same = first.purchase.id == again.purchase.id;
    println!(
        "bought {}, repeated as the same purchase: {same}",
        first.purchase.price
    );
    let last = shop
        .buy(
            NewPurchase::for_user("u1")
                .with_user_name("ada")
                .with_price("15.50")?,
        )
        .await?;

    // The new purchases are in the listing.
    let user = shop.user("u1").wait_for(&last.receipt);
    let spent = user.summary().await?;
    println!("{} purchases for {}", spent.count, spent.total_spent);
    let mut purchases = user.purchases();
    while let Some(purchase) = purchases.try_next().await? {
        println!("  {}  {}", purchase.timestamp, purchase.price);
    }
    Ok(())
}
