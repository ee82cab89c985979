//! [`MongoStore`], and its port for inserts. The other ports are implemented in the modules with
//! their statements: `select`, `erase` and `refunds`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use shop_core::ports::{DescribeStore, Durability, InsertOutcome, RecordStore, StoreInfo};
use shop_core::{Backend, Purchase, Result};

use super::MongoStoreOptions;
use super::connection::MongoConnection;
use super::indexes::{ListingIndexes, RECREATE_INTERVAL};
use super::waiting::WaitingCollection;
use super::write::{Write, WriteReply};
use crate::refunds::{self, PurchaseState};

/// Purchases in a MongoDB collection. Clones share the driver's connections.
///
/// ```no_run
/// use shop_core::ports::{PurchaseQuery, Selector};
/// use shop_store::mongo::{MongoStore, MongoStoreOptions};
///
/// # async fn example() -> shop_core::Result<()> {
/// let store = MongoStore::open(MongoStoreOptions::new("mongodb://localhost:27017/shop")).await?;
/// // Optional: listings work without the indexes, slowly.
/// store.wait_for_indexes().await;
/// println!("{} purchases", store.summary(&Selector::All).await?.count);
/// // Before the runtime ends.
/// store.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MongoStore {
    pub(super) connection: Arc<MongoConnection>,
    /// What this process remembers of the collection, such as its currency.
    pub(super) purchase_state: Arc<PurchaseState>,
    /// The refunds that wait until the store contains their purchase.
    pub(super) waiting_refunds: Arc<WaitingCollection>,
    /// The task that creates the indexes, if the options request it.
    indexes: Option<Arc<ListingIndexes>>,
}

impl MongoStore {
    /// Opens the store in the collection of `options`. Does not wait for the server.
    ///
    /// If [`create_indexes`](MongoStoreOptions::create_indexes) is set, a background task creates
    /// the indexes, and repeats this every minute in case the collection was dropped. If the user may
    /// not create indexes, the store works without them, and listings are slow.
    ///
    /// # Errors
    /// - [`Invalid`](shop_core::ErrorKind::Invalid) if the URI is invalid
    /// - [`Unavailable`](shop_core::ErrorKind::Unavailable) if the URI needs a DNS lookup, and the
    ///   lookup fails
    pub async fn open(options: MongoStoreOptions) -> Result<Self> {
        let connection = Arc::new(MongoConnection::open(options).await?);
        let indexes = connection.options.create_indexes.then(|| {
            let collection = connection.collection.clone();
            Arc::new(ListingIndexes::new(collection, RECREATE_INTERVAL))
        });

        Ok(Self {
            waiting_refunds: Arc::new(WaitingCollection::new(Arc::clone(&connection))),
            connection,
            purchase_state: Arc::default(),
            indexes,
        })
    }

    /// Returns the namespace as `database.collection`.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.connection.collection.namespace().to_string()
    }

    /// Returns the parts of this store. Their sink writes straight into the store.
    #[must_use]
    pub fn backend(&self) -> Backend {
        let mut backend = Backend::of_store(self.clone(), Durability::Replicated);
        backend.erase = Some(Arc::new(self.clone()));
        backend.currency_store = Some(Arc::new(self.clone()));
        backend.unreadable = Some(self.unreadable());
        backend
    }

    /// Returns the counter of distinct documents that are not purchases, which counts up to 10,000.
    #[must_use]
    pub fn unreadable(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.connection.reader.unreadables.count)
    }

    /// Closes the store and all its clones, whose calls fail from then on.
    ///
    /// Await this function before the runtime ends. It takes at most two seconds.
    pub async fn close(&self) {
        self.connection.close().await;
    }

    /// Waits until the listing indexes exist or the server rejects them.
    pub async fn wait_for_indexes(&self) {
        if let Some(indexes) = &self.indexes {
            indexes.wait_until_done().await;
        }
    }

    /// Sends `write` to the collection of purchases, as [`MongoConnection::write_all`] does.
    pub(super) async fn write_to_purchases(
        &self,
        write: Write,
        document_words: &'static str,
    ) -> Result<WriteReply> {
        let connection = &self.connection;
        connection
            .write_all(&connection.collection, write, document_words)
            .await
    }
}

#[async_trait]
impl RecordStore<Purchase> for MongoStore {
    /// Inserts the purchases of `batch`, confirmed by a majority and in the journal. Refunds take
    /// further commands.
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        refunds::insert(self, &batch).await
    }

    async fn check(&self) -> Result<()> {
        self.connection.check_writes().await
    }
}

impl DescribeStore for MongoStore {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
            .with_waiting_refunds(self)
            .with_imported_files(self)
            .with_user_names(self)
    }
}
