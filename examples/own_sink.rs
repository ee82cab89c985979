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
use std::slice::from_ref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shop_core::conformance::decorator_suite;
use shop_core::ports::{PurchaseSink, Receipt, SinkInfo};
use shop_core::{Error, ErrorKind, NewPurchase, Purchase, Result, Shop, async_trait};

#[derive(Debug)]
struct Audited<S> {
    inner: S,
    file: Arc<Mutex<File>>,
}

impl<S: PurchaseSink> Audited<S> {
    /// Writes a line for each purchase, and waits until they are on the disk.
    async fn audit(&self, purchases: &[Purchase]) -> Result<()> {
        let lines: String = purchases
            .iter()
            .map(|purchase| format!("{} {} {}\n", purchase.id, purchase.user_id, purchase.price))
            .collect();
        let file = Arc::clone(&self.file);
        let write = move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(lines.as_bytes())?;
            file.sync_data()
        };
        let written = tokio::task::spawn_blocking(write)
            .await
            .map_err(std::io::Error::other)
            .flatten();
        // Nothing was published, so the caller may try again.
        let failed = "the audit file cannot be written";
        written.map_err(|error| Error::new(ErrorKind::Unavailable, failed).with_source(error))
    }
}

#[async_trait]
impl<S: PurchaseSink> PurchaseSink for Audited<S> {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.audit(from_ref(purchase)).await?;
        self.inner.publish(purchase).await
    }

    // Without this function, each purchase of a batch would be published by its own call.
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        match self.audit(purchases).await {
            Ok(()) => self.inner.publish_many(purchases).await,
            Err(error) => vec![Err(error); purchases.len()],
        }
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

// One test for each thing that a sink around another one could drop.
decorator_suite!(own_sink, sink: |inner| Audited {
    inner,
    file: Arc::new(Mutex::new(tempfile::tempfile().unwrap())),
});

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
