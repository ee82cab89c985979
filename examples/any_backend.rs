//! Code on a `Shop` runs unchanged over HTTP, on an embedded log and store, or in memory.
//!
//! ```text
//! cargo run --example any_backend
//!
//! over HTTP: receipt says Memory, 1 purchase stored
//! embedded: receipt says LocalDisk, 1 purchase stored
//! in memory: receipt says Memory, 1 purchase stored
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use shop_client::ShopClient;
use shop_core::{NewPurchase, Result, Shop};
use shop_store::embedded::EmbeddedShop;

/// The application: independent of the backend.
async fn sell(name: &str, shop: Shop) -> Result<()> {
    let bought = shop
        .buy(
            NewPurchase::for_user("u1")
                .with_user_name("ada")
                .with_price("29.99")?,
        )
        .await?;
    // It is accepted, and stored a moment later.
    let user = shop.user(bought.purchase.user_id).wait_for(&bought.receipt);
    let count = user.summary().await?.count;
    println!(
        "{name}: receipt says {:?}, {count} purchase stored",
        bought.receipt.durability
    );
    Ok(())
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let client = ShopClient::builder(examples::service_in_memory().await?).build()?;
    sell("over HTTP", client.shop()).await?;

    let folder = tempfile::tempdir()?;
    let embedded = EmbeddedShop::open(folder.path()).await?;
    sell("embedded", embedded.shop()).await?;
    embedded.close(Duration::from_secs(10)).await?;

    Ok(sell("in memory", Shop::in_memory()).await?)
}
