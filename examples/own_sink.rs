//! A sink of your own around another one: a purchase has a line in an audit file before it is published.
//!
//! ```text
//! cargo run --example own_sink
//!
//! audited: 0190… u1 29.99
//! 1 purchase for 29.99
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::fs::{File, read_to_string};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shop_core::ports::{PurchaseSink, Receipt, SinkInfo};
use shop_core::{Error, ErrorKind, NewPurchase, Purchase, Result, Shop, async_trait};

#[derive(Debug)]
struct Audited<S> {
    inner: S,
    file: Arc<Mutex<File>>,
}

#[async_trait]
impl<S: PurchaseSink> PurchaseSink for Audited<S> {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        let line = format!("{} {} {}\n", purchase.id, purchase.user_id, purchase.price);
        let file = Arc::clone(&self.file);
        let write = move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(line.as_bytes())?;
            file.sync_data()
        };
        let written = tokio::task::spawn_blocking(write)
            .await
            .map_err(std::io::Error::other)
            .flatten();
        // Nothing was published, so the caller may try again.
        let failed = "the audit file cannot be written";
        written.map_err(|error| Error::new(ErrorKind::Unavailable, failed).with_source(error))?;
        self.inner.publish(purchase).await
    }

    fn info(&self) -> SinkInfo {
        self.inner.info()
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn close(&self, timeout: Duration) -> Result<()> {
        self.inner.close(timeout).await
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let path = tempfile::NamedTempFile::new()?.into_temp_path();
    let file = Arc::new(Mutex::new(File::options().append(true).open(&path)?));
    // Any shop: in files, over HTTP, on Kafka.
    let inner = Shop::in_memory().backend();
    let sink = Arc::clone(inner.require_sink()?);
    let audited = Audited { inner: sink, file };
    let shop = Shop::new(audited, Arc::clone(inner.require_query()?));

    let bought = shop
        .buy(
            NewPurchase::for_user("u1")
                .with_user_name("ada")
                .with_price("29.99")?,
        )
        .await?;
    print!("audited: {}", read_to_string(&path)?);
    let spent = shop
        .user(bought.purchase.user_id)
        .wait_for(&bought.receipt)
        .summary()
        .await?;
    println!("{} purchase for {}", spent.count, spent.total_spent);
    Ok(())
}
