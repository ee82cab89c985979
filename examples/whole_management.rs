//! The whole of `management` in another program, with its settings, ingest, metrics and HTTP API.
//!
//! ```text
//! cargo run --example whole_management
//!
//! stored 0190…
//! ada has 1 purchase
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::net::TcpListener;

use shop_bins::{Service, ServiceKind, Settings};
use shop_client::{NewPurchase, PurchaseQuery as _, Selector, ShopClient};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    // A port that is free now. Yours is a setting.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let variables = [
        ("SHOP_DATA_DIR", folder.path().display().to_string()),
        ("SHOP_PORT", port.to_string()),
        // No users and orders.
        ("SHOP_ROLES", "purchases".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let settings = Settings::from_variables(ServiceKind::Management, variables)?;

    // Yours may replace the sink of `service.parts.purchases`, or add roles to `service.parts`.
    let service = Service::open(settings).await?;
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(service.serve(shutdown.clone()));

    let client = ShopClient::builder(format!("http://127.0.0.1:{port}")).build()?;
    let purchase = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("29.99")?;
    let bought = client.shop().buy(purchase).await?;
    println!("stored {}", bought.purchase.id);
    let summary = client.summary(&Selector::User("u1".parse()?)).await?;
    println!("ada has {} purchase", summary.count);

    // Accepted purchases are durable, and the files are closed, when this ends.
    shutdown.cancel();
    Ok(served.await??)
}
