//! Streams all purchases of a user: pages are asked for as they are read, and one is held at a time.
//!
//! ```text
//! cargo run --example all_purchases
//!
//! 2500 purchases, the dearest for 2499.00
//! the first three: ["0.00", "1.00", "2.00"]
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures_util::{StreamExt, TryStreamExt, future, stream};
use shop_client::{NewPurchase, Price, ShopClient, Timestamp};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shop = ShopClient::builder(examples::service_in_memory().await?).build()?;
    let order = |number: u32| {
        let price = format!("{number}.00").parse()?;
        let time: Timestamp = format!("2026-03-01T09:{:02}:{:02}Z", number / 60, number % 60).parse()?;
        Ok(NewPurchase::new("u1".parse()?, "ada".parse()?, price).with_timestamp(time))
    };
    let orders = (0..2_500).map(order).collect::<Result<Vec<_>, Box<dyn std::error::Error>>>()?;
    shop.buy_all(stream::iter(orders), 64).try_for_each(|_bought| future::ok(())).await?;
    let user = shop.user("u1".parse()?).oldest_first();
    // All are taken; the last of them are stored a moment later.
    while user.summary().await?.count < 2_500 {}

    // Three pages of a thousand, one after the other.
    let (mut count, mut dearest) = (0, Price::ZERO);
    let mut purchases = user.purchases();
    while let Some(purchase) = purchases.try_next().await? {
        count += 1;
        dearest = dearest.max(purchase.price);
    }
    println!("{count} purchases, the dearest for {dearest}");

    // It is a stream as any other: the rest of it is never asked for.
    let prices = user.purchases().take(3).map_ok(|purchase| purchase.price.to_string());
    let first: Vec<_> = prices.try_collect().await?;
    println!("the first three: {first:?}");
    Ok(())
}
