//! What a back office needs, over HTTP: a batch, totals by day, an export.
//!
//! ```text
//! cargo run --example reports
//!
//! bought 3
//! 2026-…: 3 purchases for 89.97
//! u1,ada,29.99
//! u2,ada,29.99
//! u3,ada,29.99
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use shop_client::{NewPurchase, Period, ShopClient, TryStreamExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In your program this is the address of a running service.
    let client = ShopClient::builder(examples::service_in_memory().await?).build()?;
    let shop = client.shop();

    // One request. Each purchase has a result, and a failed one does not affect the others.
    let new = |user: &str| {
        NewPurchase::for_user(user)
            .with_user_name("ada")
            .with_price("29.99")
    };
    let bought = shop
        .buy_many(vec![new("u1")?, new("u2")?, new("u3")?])
        .await;
    let bought = bought.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!("bought {}", bought.len());

    // They are durable, and listed a moment later.
    for bought in bought {
        shop.wait_until_stored(&bought.receipt.id, Duration::from_secs(5))
            .await?;
    }
    // Of one name; management alone lists everyone.
    let all = shop.user_with_name("ada");
    for day in all.totals(Period::Day, "+01:00").await? {
        println!(
            "{}: {} purchases for {}",
            day.from, day.summary.count, day.summary.total_spent
        );
    }
    let mut purchases = all.oldest_first().purchases();
    while let Some(purchase) = purchases.try_next().await? {
        println!(
            "{},{},{}",
            purchase.user_id, purchase.user_name, purchase.price
        );
    }
    Ok(())
}
