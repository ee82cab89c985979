//! [`EmbeddedStore`]: implements the storage ports on a SQLite file.
//!
//! SQLite blocks the thread that calls it, so each operation is sent as a closure to a thread:
//!
//! | thread | operations |
//! |---|---|
//! | the writer, one for each file and process | all changes, which it commits in groups |
//! | `readers` | pages, summaries and lookups, which are short |
//! | `scans`, one thread | scans and totals per period, which may read many rows |

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use shop_core::domain::Currency;
use shop_core::ports::{
    Bucket, CurrencyStore, Cursor, Deletion, DescribeStore, Durability, ImportedFiles,
    InsertOutcome, Lookup, Page, PageRequest, PurchaseErase, PurchaseQuery, RecordStore, Removed,
    ScanBatch, Selector, StoreInfo, Summary, TotalsRequest, UserNames, WaitingRefund,
    WaitingRefunds, WaitingSummary, sum_pages,
};
use shop_core::{Backend, ErrorKind, Purchase, PurchaseId, Result, Timestamp, UserId, Uuid};

use super::buyers::BuyerCache;
use super::unfolded::UnfoldedSums;
use super::{buyers, erase, insert, periods, select, settings, waiting};
use crate::embedded::clock;
use crate::embedded::engine::database::Database;
use crate::embedded::engine::error::database_error;
use crate::embedded::engine::readers::Readers;
use crate::embedded::engine::writer::Writer;
use crate::embedded::schema::{FILE, SHOP};

/// The number of reader threads for queries that may read many rows.
const SCAN_THREADS: usize = 1;

shop_core::options! {
    /// Options of an [`EmbeddedStore`](super::EmbeddedStore).
    #[derive(Debug, Clone)]
    pub struct EmbeddedStoreOptions {
        /// Number of reader threads (default 3).
        pub readers: usize = 3,
        /// Maximum number of queued reads, and of queued writes (default 1,000). If the queue is
        /// full, a call fails at once with [`Overloaded`](shop_core::ErrorKind::Overloaded).
        pub queue_capacity: usize = 1_000,
        /// Maximum size of the file in bytes (default none).
        pub max_file_bytes: Option<u64> = None,
        /// Whether a missing folder or file is created and a file of an earlier version is migrated
        /// (default true). If false, opening such a store is an error.
        pub create: bool = true,
    }
}

/// Purchases in a file on the local disk, shared by the processes of one machine.
///
/// Clones share the file's writer and readers.
///
/// ```
/// use shop_core::NewPurchase;
/// use shop_core::ports::{PurchaseQuery, PurchaseStore, Selector};
/// use shop_core::{Clock, SystemClock};
/// use shop_store::embedded::{EmbeddedStore, EmbeddedStoreOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let store = EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default()).await?;
///
/// let new = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?;
/// store.insert_one(new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())).await?;
/// assert_eq!(store.summary(&Selector::User("u1".parse()?)).await?.count, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    writer: Writer,
    readers: Readers,
    /// A reader thread of its own for queries that may read many rows, so that they do not delay the
    /// other queries.
    scan_readers: Readers,
    /// The sums of the unfolded purchases that this process read.
    unfolded: Arc<Mutex<UnfoldedSums>>,
}

impl EmbeddedStore {
    /// Opens the store in `folder`. A missing folder or file is created if
    /// [`create`](EmbeddedStoreOptions::create) is set.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) if the folder or file cannot be used, or
    /// is missing and `create` is not set; [`Corrupt`](shop_core::ErrorKind::Corrupt) if the file
    /// is not an embedded store, or was written by a newer version.
    pub async fn open(folder: impl AsRef<Path>, options: EmbeddedStoreOptions) -> Result<Self> {
        let database = Database::new(&SHOP, folder.as_ref(), FILE, options.max_file_bytes)
            .with_create(options.create);
        let writer = Writer::start(database.clone(), options.queue_capacity, || ()).await?;
        Self::with_writer(&database, &writer, &options)
    }

    /// Returns the parts of this store. Their sink writes straight into the store.
    #[must_use]
    pub fn backend(&self) -> Backend {
        let mut backend = Backend::of_store(self.clone(), Durability::LocalDisk);
        backend.erase = Some(Arc::new(self.clone()));
        backend.currency_store = Some(Arc::new(self.clone()));
        backend.has_local_store = true;
        backend
    }

    /// Creates the store in a file that is open already, and shares its `writer`. Starts the
    /// store's own reader threads.
    pub(in crate::embedded) fn with_writer(
        database: &Database,
        writer: &Writer,
        options: &EmbeddedStoreOptions,
    ) -> Result<Self> {
        let start_readers =
            |threads| Readers::start(database, writer, threads, options.queue_capacity);
        Ok(Self {
            writer: writer.clone(),
            readers: start_readers(options.readers)?,
            scan_readers: start_readers(SCAN_THREADS)?,
            unfolded: Arc::default(),
        })
    }

    /// Ends the reader threads of all clones, so that further queries fail. The log, which shares
    /// the writer, closes it.
    pub(crate) fn close(&self) {
        self.scan_readers.jobs.close();
        self.readers.jobs.close();
    }

    /// Completes when all clones of this store are dropped, their operations have ended, and the
    /// file is closed. If no other process has it open, no write-ahead log is left.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.writer.exit()
    }
}

#[async_trait]
impl RecordStore<Purchase> for EmbeddedStore {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.writer
            .write(move |connection| {
                let purchases: Vec<&Purchase> = batch.iter().collect();
                insert::insert_batch(connection, &mut BuyerCache::default(), &purchases)
            })
            .await
    }

    async fn check(&self) -> Result<()> {
        self.writer.check().await
    }
}

impl DescribeStore for EmbeddedStore {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
            .with_file_faults(self.writer.faults().files)
            .with_waiting_refunds(self)
            .with_imported_files(self)
            .with_user_names(self)
    }
}

#[async_trait]
impl UserNames for EmbeddedStore {
    async fn next_name(&self, from: &str) -> Result<Option<String>> {
        let from = from.to_owned();
        self.readers
            .read(move |connection| buyers::next_name(connection, &from))
            .await
    }
}

#[async_trait]
impl WaitingRefunds for EmbeddedStore {
    async fn waiting_summary(&self) -> Result<WaitingSummary> {
        self.readers.read(waiting::count_waiting).await
    }

    /// Returns the refused refunds, and applies none: the insert of a purchase applies its waiting
    /// refunds already, in the same transaction.
    async fn apply_waiting(&self, removed: &[u64], limit: usize) -> Result<Vec<WaitingRefund>> {
        if !removed.is_empty() {
            let removed = removed.to_vec();
            self.writer
                .write(move |connection| waiting::remove_entries(connection, &removed))
                .await?;
        }
        self.readers
            .read(move |connection| waiting::find_refused(connection, limit))
            .await
    }
}

#[async_trait]
impl CurrencyStore for EmbeddedStore {
    async fn currency(&self, adopted: Option<Currency>) -> Result<Option<Currency>> {
        let Some(adopted) = adopted else {
            return self.readers.read(insert::find_currency).await;
        };
        self.writer
            .write(move |connection| insert::get_or_set_currency(connection, &adopted).map(Some))
            .await
    }
}

#[async_trait]
impl ImportedFiles for EmbeddedStore {
    async fn last_reading(&self, file: Uuid, new_reading: Option<&str>) -> Result<Option<String>> {
        let setting = imported_file_setting(file);
        let Some(new_reading) = new_reading.map(str::to_owned) else {
            return self
                .readers
                .read(move |connection| settings::find(connection, &setting))
                .await;
        };
        self.writer
            .write(move |connection| {
                settings::set(connection, &setting, &new_reading)?;
                Ok::<_, rusqlite::Error>(Some(new_reading.clone()))
            })
            .await
    }
}

/// Returns the name of the setting that keeps the reading of the file with the digest `file`, which
/// is how its last import read it.
fn imported_file_setting(file: Uuid) -> String {
    format!("imported-file {file}")
}

/// Erased content is overwritten in the file. The write-ahead log may still contain the content
/// until SQLite reuses that part of the log. Unused parts of pages may contain copies of rows that
/// were moved, until [`vacuum`](crate::embedded::vacuum()) rewrites the file.
#[async_trait]
impl PurchaseErase for EmbeddedStore {
    async fn erase(&self, user: &UserId, limit: usize) -> Result<Removed> {
        let user = user.clone();
        self.writer
            .write(move |connection| erase::erase_user(connection, &user, limit))
            .await
    }

    async fn mark_erased(&self, ids: &[PurchaseId]) -> Result<u64> {
        let ids = ids.to_vec();
        self.writer
            .write(move |connection| erase::mark_erased(connection, &ids))
            .await
    }

    async fn delete_before(
        &self,
        time: Timestamp,
        limit: usize,
        deletion: Deletion,
    ) -> Result<Removed> {
        if deletion == Deletion::DryRun {
            let counted = self
                .scan_readers
                .read(move |connection| erase::count_before(connection, time, limit))
                .await?;
            return Ok(Removed::from(counted));
        }
        self.writer
            .write(move |connection| erase::delete_before(connection, time, limit))
            .await
    }

    async fn last_seen(&self, stored: Option<Timestamp>) -> Result<Option<Timestamp>> {
        if let Some(time) = stored {
            self.writer
                .write(move |connection| clock::store_last_seen(connection, clock::STORE, time))
                .await?;
            return Ok(Some(time));
        }
        self.readers
            .read(|connection| clock::find_last_seen(connection, clock::STORE))
            .await
    }
}

#[async_trait]
impl PurchaseQuery for EmbeddedStore {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let bounds = request.bounds(selector)?;
        let order = request.order;
        let limit = request.limit;
        let owned_selector = selector.clone();
        let purchases = self
            .readers
            .read(move |connection| {
                select::read_page(connection, &owned_selector, order, &bounds, limit)
            })
            .await?;
        Ok(Page::from_overfetch(purchases, selector, request))
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        // No sums are kept by reference, so the purchases are read and added up.
        if matches!(selector, Selector::Reference(..)) {
            let buckets = sum_pages(self, selector, &TotalsRequest::default()).await?;
            return Ok(buckets
                .first()
                .map(|bucket| bucket.summary)
                .unwrap_or_default());
        }
        let selector = selector.clone();
        let unfolded = Arc::clone(&self.unfolded);
        self.readers
            .read(move |connection| {
                unfolded
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .summary(connection, &selector)
            })
            .await
    }

    async fn totals(&self, selector: &Selector, request: &TotalsRequest) -> Result<Vec<Bucket>> {
        // The default request is for all time as one period, which the summary answers without
        // reading periods.
        if *request == TotalsRequest::default() {
            return Ok(Bucket::from_summary(self.summary(selector).await?));
        }
        // No sums are kept by reference, so the purchases are read and added up.
        if matches!(selector, Selector::Reference(..)) {
            return sum_pages(self, selector, request).await;
        }
        let selector = selector.clone();
        let request = *request;
        // The outer error is that of SQLite. The inner one is that of the request, such as too many
        // periods.
        self.scan_readers
            .read(move |connection| periods::read_totals(connection, &selector, &request))
            .await?
    }

    /// Looks up the entry: SQLite shows a commit to readers only after it has synced it to the disk
    /// (`synchronous=FULL`), so each entry that can be seen is as durable as an insert.
    ///
    /// A crash may leave a commit in the write-ahead log that was not synced. The process that opens
    /// the file next writes the log again before its readers start.
    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        let id = *id;
        self.readers
            .read(move |connection| select::look_up(connection, &id))
            .await
    }

    async fn scan_batch(&self, after: Option<&Cursor>) -> Result<ScanBatch> {
        let after_key = after
            .map(|position| {
                // A position of another store is in another form, and cannot be parsed.
                select::parse_position(position).ok_or_else(|| {
                    database_error(
                        ErrorKind::Invalid,
                        "the position does not belong to this store",
                    )
                })
            })
            .transpose()?;
        self.scan_readers
            .read(move |connection| select::read_scan_batch(connection, after_key.as_ref()))
            .await
    }

    async fn check_reads(&self) -> Result<()> {
        self.readers.read(|connection| SHOP.check(connection)).await
    }
}
