//! The checkout on files, or on a service: `cargo run -- ./data`, `cargo run -- http://localhost:3000`.

use std::time::Duration;

use outside::Checkout;
use shop_client::ShopClient;
use shop_store::embedded::EmbeddedShop;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "./shop-data".to_owned());
    if place.starts_with("http") {
        let client = ShopClient::builder(place).build()?;
        sell(Checkout::new(client.shop())).await?;
        client.close(Duration::from_secs(5)).await?;
    } else {
        let files = EmbeddedShop::open(place).await?;
        sell(Checkout::new(files.shop())).await?;
        files.close(Duration::from_secs(5)).await?;
    }
    Ok(())
}

async fn sell(checkout: Checkout) -> shop_core::Result<()> {
    println!("{:?}", checkout.pay(7, "u1", "ada", "29.99").await?);
    Ok(())
}
