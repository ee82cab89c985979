//! Code against the ports runs unchanged over HTTP, on an embedded log and store, or in memory.
//!
//! ```text
//! cargo run --example any_backend
//!
//! over HTTP: receipt says Memory, 1 purchase stored
//! embedded: receipt says LocalDisk, 1 purchase stored
//! in memory: receipt says Memory, 1 purchase stored
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use shop_client::{NewPurchase, PurchaseQuery, PurchaseSink, ShopClient};
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::log::{DeadLetters, LogSource};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::PurchaseStore;
use shop_core::{Clock, Result, SystemClock};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions, EmbeddedStore, EmbeddedStoreOptions};

/// The application: independent of the backend.
async fn sell(
    name: &str,
    sink: Arc<dyn PurchaseSink>,
    query: Arc<dyn PurchaseQuery>,
    new: NewPurchase,
) -> Result<()> {
    let purchase = new.into_purchase(SystemClock.now(), || SystemClock.fresh_id());
    let receipt = sink.publish(&purchase).await?;
    // It is accepted, and stored a moment later.
    while query.get(&purchase.id).await?.is_none() {
        tokio::task::yield_now().await;
    }
    println!("{name}: receipt says {:?}, 1 purchase stored", receipt.durability);
    Ok(())
}

/// Ingests from a log into a store, where no service does so.
fn spawn_ingest(
    source: Arc<dyn LogSource>,
    store: Arc<dyn PurchaseStore>,
    dead_letters: Arc<dyn DeadLetters>,
) {
    tokio::spawn(
        Ingest::new(source, store, dead_letters, IngestOptions::default()).run(std::future::pending()),
    );
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let new = NewPurchase::new("u1".parse()?, "ada".parse()?, "29.99".parse()?);

    let client = ShopClient::builder(examples::service_in_memory().await?).build()?;
    sell("over HTTP", Arc::new(client.clone()), Arc::new(client), new.clone()).await?;

    let folder = tempfile::tempdir()?;
    let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default()).await?;
    let store = EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default()).await?;
    spawn_ingest(Arc::new(log.source("group")?), Arc::new(store.clone()), Arc::new(log.dead_letters()));
    sell("embedded", Arc::new(log.sink()), Arc::new(store), new.clone()).await?;

    let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
    spawn_ingest(Arc::new(log.source("group")), Arc::new(store.clone()), Arc::new(log.dead_letters()));
    Ok(sell("in memory", Arc::new(log.sink()), Arc::new(store), new).await?)
}
