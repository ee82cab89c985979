//! An event of your own: written with its row in one transaction, published by a relay, and ingested into a store.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use shop_accounts::embedded::SqliteOutbox;
use shop_accounts::outbox::{Relay, RelayOptions};
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::ports::{DescribeStore, InsertOutcome, RecordStore, StoreInfo};
use shop_core::{Result, async_trait, memory::InMemoryLog, record::JsonEvent};
use shop_store::embedded::rusqlite::Connection;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Refund {
    order: String,
}

impl JsonEvent for Refund {
    const TOPIC: &'static str = "refunds";
    fn key(&self) -> String {
        self.order.clone()
    }
}

/// What another service knows of refunds.
#[derive(Debug, Default)]
struct Refunds(Mutex<BTreeSet<Refund>>);

#[async_trait]
impl RecordStore<Refund> for Refunds {
    async fn apply(&self, batch: Arc<[Refund]>) -> Result<Vec<InsertOutcome>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = batch.iter().map(|refund| known.insert(refund.clone()));
        Ok(is_new
            .map(|new| {
                if new {
                    InsertOutcome::Inserted
                } else {
                    InsertOutcome::Duplicate
                }
            })
            .collect())
    }
    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl DescribeStore for Refunds {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = tempfile::NamedTempFile::new()?.into_temp_path();
    let mut database = Connection::open(&path)?;
    database.execute_batch("CREATE TABLE refunds (number TEXT PRIMARY KEY)")?;
    let outbox = SqliteOutbox::open(path.to_path_buf()).await?;

    // The row and its event are stored together, or neither is. In PostgreSQL, see `own_postgres`.
    let transaction = database.transaction()?;
    transaction.execute("INSERT INTO refunds VALUES ('order-7')", [])?;
    SqliteOutbox::insert_event(
        &transaction,
        &Refund {
            order: "order-7".to_owned(),
        },
    )?;
    transaction.commit()?;
    outbox.notify_relay();

    // The relay and the ingest run until their shutdown signals; here, until their work is done.
    let (log, refunds) = (InMemoryLog::default(), Arc::new(Refunds::default()));
    Relay::new(
        Arc::new(outbox),
        Arc::new(log.clone()),
        RelayOptions::default(),
    )
    .run(async {})
    .await;
    let (source, dead_letters) = (Arc::new(log.source("refunds")), Arc::new(log.clone()));
    let ingest = Ingest::new(
        source,
        Arc::<Refunds>::clone(&refunds),
        dead_letters,
        IngestOptions::default(),
    );
    let monitor = ingest.monitor();
    ingest
        .run(async move {
            drop(
                monitor
                    .wait_for(|status| status.counters.inserted == 1)
                    .await,
            );
        })
        .await?;
    println!("{refunds:?}");
    Ok(())
}
