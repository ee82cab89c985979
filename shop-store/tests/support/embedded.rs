//! The fixture of the embedded log and store, for the conformance kit.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a test that cannot be set up has failed; each takes its part"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use shop_core::Shop;
use shop_core::conformance::{
    BATCH_BYTES, BATCH_RECORDS, Capabilities, EraseFixture, LogFixture, ShopFixture, StoreFixture,
};
use shop_core::feed::PurchaseFeed;
use shop_core::log::{Log, RecordPosition};
use shop_core::ports::{CurrencyStore, PurchaseErase, PurchaseQuery, PurchaseSink, PurchaseStore};
use tempfile::TempDir;

use shop_store::embedded::rusqlite::Connection;
use shop_store::embedded::{
    EmbeddedLog, EmbeddedLogOptions, EmbeddedShop, EmbeddedStore, EmbeddedStoreOptions,
};

/// A log and a store in a folder that is deleted with the fixture.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddedFixture {
    log: EmbeddedLog,
    /// Whether the sinks of the log store what they append.
    stores_on_append: bool,
    store: EmbeddedStore,
    folder: Arc<TempDir>,
}

impl EmbeddedFixture {
    /// An empty log and an empty store.
    pub(crate) async fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder for temporary files"));
        let options = EmbeddedLogOptions::default()
            .batch_records(BATCH_RECORDS)
            .batch_bytes(BATCH_BYTES);
        let log = EmbeddedLog::open(folder.path(), options)
            .await
            .expect("a log");
        let store = open_store(folder.path()).await;
        Self {
            log,
            stores_on_append: false,
            store,
            folder,
        }
    }

    /// A log whose sinks store what they append, and the store of the same file.
    pub(crate) async fn new_with_storing_sinks() -> (Self, Self) {
        let mut fixture = Self::new().await;
        fixture.stores_on_append = true;
        (fixture.clone(), fixture)
    }
}

async fn open_store(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, EmbeddedStoreOptions::default())
        .await
        .expect("a store")
}

/// An `EmbeddedShop` in a folder that is deleted with the fixture.
#[derive(Debug)]
pub(crate) struct OpenShop {
    shop: EmbeddedShop,
    /// Whether the shop itself was returned.
    is_used: AtomicBool,
    folder: TempDir,
}

impl OpenShop {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let shop = EmbeddedShop::open(folder.path()).await.expect("a shop");
        Self {
            shop,
            is_used: AtomicBool::new(false),
            folder,
        }
    }
}

#[async_trait]
impl ShopFixture for OpenShop {
    /// The first call returns the shop itself, later ones shops of other processes.
    async fn shop(&self) -> Shop {
        if !self.is_used.swap(true, Ordering::Relaxed) {
            return self.shop.shop();
        }
        let log = EmbeddedLog::open(self.folder.path(), EmbeddedLogOptions::default())
            .await
            .expect("a log");
        let sink = log.storing_sink("purchase-group").await.expect("a sink");
        let store = open_store(self.folder.path()).await;
        let feed = PurchaseFeed::new(Arc::new(log), "purchase-group", Arc::new(store.clone()));
        Shop::new(sink, store).with_events(feed)
    }

    async fn feed(&self) -> Option<PurchaseFeed> {
        Some(self.shop.feed().clone())
    }

    async fn erase(&self) -> Arc<dyn PurchaseErase> {
        Arc::new(open_store(self.folder.path()).await)
    }
}

#[async_trait]
impl LogFixture for EmbeddedFixture {
    /// The active consumer keeps the partition for its lifetime.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().without_revocations()
    }

    fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.log.clone())
    }

    async fn sink(&self) -> Arc<dyn PurchaseSink> {
        if self.stores_on_append {
            Arc::new(self.log.storing_sink("group").await.expect("a sink"))
        } else {
            Arc::new(self.log.sink())
        }
    }

    async fn delete_before(&self, position: &RecordPosition) {
        let connection =
            Connection::open(self.folder.path().join("shop.db")).expect("the log's file");
        let offset = i64::try_from(position.offset).expect("an offset");
        connection
            .execute("DELETE FROM records WHERE offset < ?1", [offset])
            .expect("a deletion");
    }
}

#[async_trait]
impl EraseFixture for EmbeddedFixture {
    async fn erase(&self) -> Arc<dyn PurchaseErase> {
        Arc::new(self.store.clone())
    }

    async fn currency(&self) -> Arc<dyn CurrencyStore> {
        Arc::new(self.store.clone())
    }
}

#[async_trait]
impl StoreFixture for EmbeddedFixture {
    async fn store(&self) -> Arc<dyn PurchaseStore> {
        Arc::new(self.store.clone())
    }

    async fn query(&self) -> Arc<dyn PurchaseQuery> {
        Arc::new(self.store.clone())
    }

    async fn reopen(&self) -> Option<Box<dyn StoreFixture>> {
        Some(Box::new(open_store(self.folder.path()).await))
    }
}
