//! The store: purchases and their sums in `store.db`.

mod insert;
mod rows;
mod select;
#[cfg(test)]
mod store_test;
mod totals;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use shop_core::ports::{InsertOutcome, Page, PageRequest, PurchaseQuery, RecordStore, Selector, Summary};
use shop_core::{Purchase, PurchaseId, Result};

use super::database::Kind;
use super::file::StoreFile;

/// Clustered by time, so that inserts append; SQLite ends each index of such a table with its primary key,
/// so `by_user` is (userid, timestamp, id).
const VERSION_1: &str = "
    CREATE TABLE purchases (
        timestamp INTEGER NOT NULL,
        id BLOB NOT NULL,
        userid TEXT NOT NULL,
        username TEXT NOT NULL,
        price TEXT NOT NULL,
        PRIMARY KEY (timestamp, id)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX by_id ON purchases (id);
    CREATE INDEX by_user ON purchases (userid);
    CREATE INDEX by_name ON purchases (username);
    CREATE TABLE totals (
        kind INTEGER NOT NULL,
        text TEXT NOT NULL,
        count INTEGER NOT NULL,
        high INTEGER NOT NULL,
        low INTEGER NOT NULL,
        PRIMARY KEY (kind, text)
    ) STRICT, WITHOUT ROWID;
";

/// `Shop` and a letter, as the `file` command shows it.
const STORE: Kind = Kind {
    application_id: 0x5368_6f53,
    migrations: &[VERSION_1],
    // 64 MB. A batch changes many pages, and the same ones again and again: with 14,000 purchases in a second nine of
    // ten were in a listing within 3.0 ms at 1,000 pages, and are within 1.7 so. A log, whose pages are new, loses by
    // it: until its write-ahead log is so long, every commit makes that longer, which costs a sync more.
    checkpoint_pages: Some(16_000),
    touch: &[
        "SELECT max(timestamp) FROM purchases",
        "SELECT max(id) FROM purchases INDEXED BY by_id",
        "SELECT max(userid) FROM purchases INDEXED BY by_user",
        "SELECT max(username) FROM purchases INDEXED BY by_name",
        "SELECT kind FROM totals LIMIT 1",
    ],
};

/// Purchases in a file, durable on the local disk, shared by the processes of one machine.
///
/// Clones share the file's writer and readers.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    file: StoreFile,
}

/// How an [`EmbeddedStore`] is opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EmbeddedStoreOptions {
    /// The threads that read, 3 unless chosen.
    pub readers: usize,
    /// The most reads, and the most batches to be written, that may wait: 1,000 unless chosen. A further one is
    /// refused at once.
    pub queue: usize,
    /// The largest size of the file in bytes; no limit but the disk's unless chosen.
    pub max_bytes: Option<u64>,
    /// Whether folder and file are made if they are missing, and a file of an earlier version is brought to ours. They
    /// are unless chosen; else such a store is refused.
    pub create: bool,
}

impl Default for EmbeddedStoreOptions {
    fn default() -> Self {
        Self { readers: 3, queue: 1_000, max_bytes: None, create: true }
    }
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
        let place = cursor.map(|cursor| cursor.resume(selector, request.order)).transpose()?;
        let (order, limit) = (request.order, request.limit.get() + 1);
        let of = selector.clone();
        let found =
            self.file.read(move |connection| select::page(connection, &of, order, place, limit)).await?;
        Ok(Page::of_one_more(found, selector, request))
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let selector = selector.clone();
        let sums = self.file.read(move |connection| totals::read(connection, &selector)).await?;
        sums.summary()
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        let id = *id;
        self.file.read(move |connection| select::by_id(connection, &id)).await
    }

    async fn check_reads(&self) -> Result<()> {
        self.file.read(|connection| STORE.touch(connection)).await
    }
}
