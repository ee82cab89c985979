//! The fixture of the in-memory implementations, for the examples of the macros and for pipeline
//! tests of other implementations.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{BATCH_BYTES, BATCH_RECORDS, Capabilities, EraseFixture, LogFixture, StoreFixture};
use crate::log::{Log, RecordPosition};
use crate::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use crate::ports::{CurrencyStore, PurchaseErase, PurchaseQuery, PurchaseSink, PurchaseStore};

/// An in-memory log and store.
#[derive(Debug)]
pub struct MemoryFixture {
    log: InMemoryLog,
    store: InMemoryStore,
    capabilities: Capabilities,
}

impl MemoryFixture {
    /// A log with `options`, except for the size of its batches and its revocation timeout.
    #[must_use]
    pub fn new(options: InMemoryLogOptions) -> Self {
        // A single partition stays with its member until that leaves.
        let capabilities = Capabilities {
            revokes: options.partitions > 1,
            ..Capabilities::default()
        };
        let limits = InMemoryLogOptions {
            batch_records: BATCH_RECORDS,
            batch_bytes: BATCH_BYTES,
            revocation_timeout: Duration::from_secs(1),
            ..options
        };
        let log = InMemoryLog::new(limits);
        Self {
            log,
            store: InMemoryStore::new(),
            capabilities,
        }
    }
}

impl Default for MemoryFixture {
    fn default() -> Self {
        Self::new(InMemoryLogOptions::default())
    }
}

#[async_trait]
impl LogFixture for MemoryFixture {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.log.clone())
    }

    async fn sink(&self) -> Arc<dyn PurchaseSink> {
        Arc::new(self.log.sink())
    }

    async fn delete_before(&self, position: &RecordPosition) {
        self.log.delete_before(position.partition, position.offset);
    }
}

#[async_trait]
impl StoreFixture for MemoryFixture {
    async fn store(&self) -> Arc<dyn PurchaseStore> {
        Arc::new(self.store.clone())
    }

    async fn query(&self) -> Arc<dyn PurchaseQuery> {
        Arc::new(self.store.clone())
    }
}

#[async_trait]
impl EraseFixture for MemoryFixture {
    async fn erase(&self) -> Arc<dyn PurchaseErase> {
        Arc::new(self.store.clone())
    }

    async fn currency(&self) -> Arc<dyn CurrencyStore> {
        Arc::new(self.store.clone())
    }
}
