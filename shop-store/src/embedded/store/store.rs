//! The store itself: the ports on a file.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use shop_core::ports::{InsertOutcome, Page, PageRequest, PurchaseQuery, RecordStore, Selector, Summary};
use shop_core::{Purchase, PurchaseId, Result};

use super::schema::STORE;
use super::{insert, select, totals};
use crate::embedded::file::StoreFile;
use crate::embedded::options::EmbeddedStoreOptions;

/// Purchases in a file, durable on the local disk, shared by the processes of one machine.
///
/// Clones share the file's writer and readers.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    file: StoreFile,
}

impl EmbeddedStore {
    /// Opens the store in `folder`; makes both if they are missing, unless the options say otherwise.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the folder or the file cannot be used, or is missing and
    /// not to be made, [`Corrupt`](shop_core::ErrorKind::Corrupt) when the file is no store of ours, or one of a newer
    /// version.
    pub async fn open(folder: impl AsRef<Path>, options: EmbeddedStoreOptions) -> Result<Self> {
        Ok(Self { file: StoreFile::open(&STORE, folder.as_ref(), "store", &options, || ()).await? })
    }

    /// Completes when all clones of this store are gone, what they have begun has ended, and the file is closed:
    /// if nobody else has it open, it then is one file without a write-ahead log.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.file.writer.ending().wait()
    }
}

#[async_trait]
impl RecordStore<Purchase> for EmbeddedStore {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.file.writer.write(move |connection| insert::insert(connection, &batch)).await
    }

    async fn check(&self) -> Result<()> {
        self.file.writer.check().await
    }
}

#[async_trait]
impl PurchaseQuery for EmbeddedStore {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let cursor = request.cursor.as_ref();
        let place = cursor.map(|cursor| cursor.decode(selector, request.order)).transpose()?;
        let (order, limit) = (request.order, request.limit.get() + 1);
        let of = selector.clone();
        let found = self
            .file
            .readers
            .read(move |connection| select::page(connection, &of, order, place, limit))
            .await?;
        Ok(Page::from_overfetch(found, selector, request))
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let selector = selector.clone();
        let sums = self.file.readers.read(move |connection| totals::read(connection, &selector)).await?;
        sums.summary()
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        let id = *id;
        self.file.readers.read(move |connection| select::by_id(connection, &id)).await
    }

    async fn check_reads(&self) -> Result<()> {
        self.file.readers.read(|connection| STORE.touch(connection)).await
    }
}
