//! Streams all purchases of a user. Pages are requested as they are consumed, with one page in memory.
//!
//! ```text
//! cargo run --example all_purchases
//!
//! 2500 purchases, the dearest for 2499.00
//! the first three: ["0.00", "1.00", "2.00"]
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures_util::{StreamExt, TryStreamExt, future, stream};
use shop_core::{NewPurchase, Price, Shop, Timestamp};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // For a service: `ShopClient::builder(url).build()?.shop()`.
    let shop = Shop::in_memory();
    let order = |number: u32| {
        let time: Timestamp = format!("2026-03-01T09:{:02}:{:02}Z", number / 60, number % 60).parse()?;
        Ok(NewPurchase::of("u1").named("ada").priced(format!("{number}.00"))?.with_timestamp(time))
    };
    let orders = (0..2_500).map(order).collect::<Result<Vec<_>, Box<dyn std::error::Error>>>()?;
    shop.buy_all(stream::iter(orders), 64).try_for_each(|_bought| future::ok(())).await?;
    let user = shop.user("u1".parse()?).oldest_first();

    // Pages are requested one after the other, the first ones smaller.
    let (mut count, mut dearest) = (0, Price::ZERO);
    let mut purchases = user.purchases();
    while let Some(purchase) = purchases.try_next().await? {
        count += 1;
        dearest = dearest.max(purchase.price);
    }
    println!("{count} purchases, the dearest for {dearest}");

    // A stream like any other: dropping it requests no more pages.
    let prices = user.purchases().take(3).map_ok(|purchase| purchase.price.to_string());
    let first: Vec<_> = prices.try_collect().await?;
    println!("the first three: {first:?}");
    Ok(())
}
