//! An event of your own: written with its row in one transaction, published by a relay, and ingested into a store.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use shop_core::async_trait;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::memory::InMemoryLog;
use shop_core::outbox::{Relay, RelayOptions};
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_core::record::JsonEvent;
use shop_store::embedded::{SqliteOutbox, rusqlite::Connection};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Refund {
    order: String,
    amount: String,
}

impl JsonEvent for Refund {
    const TOPIC: &'static str = "refunds";

    fn key(&self) -> String {
        self.order.clone()
    }
}

/// What another service knows of refunds.
#[derive(Debug, Default)]
struct Refunds(Mutex<BTreeMap<String, Refund>>);

#[async_trait]
impl RecordStore<Refund> for Refunds {
    async fn apply(&self, batch: Arc<[Refund]>) -> shop_core::Result<Vec<InsertOutcome>> {
        let mut refunds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut apply = |refund: &Refund| match refunds.get(&refund.order) {
            Some(first) if first == refund => InsertOutcome::Duplicate,
            Some(_) => InsertOutcome::Conflict,
            None => {
                refunds.insert(refund.order.clone(), refund.clone());
                InsertOutcome::Inserted
            }
        };
        Ok(batch.iter().map(&mut apply).collect())
    }

    async fn check(&self) -> shop_core::Result<()> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("refunds.db");
    let mut database = Connection::open(&path)?;
    database.execute_batch("CREATE TABLE refunds (number TEXT PRIMARY KEY, amount TEXT NOT NULL)")?;
    let outbox = SqliteOutbox::open(&path).await?;

    // The row and its event are stored together, or neither is.
    let refund = Refund { order: "order-7".to_owned(), amount: "29.99".to_owned() };
    let transaction = database.transaction()?;
    transaction.execute("INSERT INTO refunds VALUES (?1, ?2)", [&refund.order, &refund.amount])?;
    SqliteOutbox::write(&transaction, &refund)?;
    transaction.commit()?;
    outbox.notify();

    // The relay and the ingest run until their shutdown signals; here, until their work is done.
    let log = InMemoryLog::default();
    let relay = Relay::new(Arc::new(outbox), Arc::new(log.clone()), RelayOptions::default());
    relay.run(std::future::ready(())).await;
    let (refunds, source) = (Arc::new(Refunds::default()), Arc::new(log.source("refunds")));
    let options = IngestOptions::default();
    let ingest =
        Ingest::<Refund>::new(source, Arc::clone(&refunds) as _, Arc::new(log.dead_letters()), options);
    let monitor = ingest.monitor();
    ingest.run(async move { drop(monitor.wait_for(|status| status.counters.inserted == 1).await) }).await?;
    println!("{:?}", refunds.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(())
}
