//! The store itself: the ports on a collection.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use bson::doc;
use shop_core::ports::{InsertOutcome, Page, PageRequest, PurchaseQuery, RecordStore, Selector, Summary};
use shop_core::{Purchase, PurchaseId, Result};

use super::connection::Connection;
use super::indexes::ListingIndexes;
use super::{MongoStoreOptions, insert, select, totals};

/// Purchases in a collection of MongoDB. Clones share the driver's connections.
#[derive(Debug, Clone)]
pub struct MongoStore {
    connection: Arc<Connection>,
    indexes: Option<Arc<ListingIndexes>>,
}

impl MongoStore {
    /// A store in the collection that `options` name. A server that is away now is waited for by whoever calls.
    ///
    /// Makes the indexes in the background, unless the options say otherwise, and goes on without them where it has no
    /// right to.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) when the address cannot be read,
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) when it is to be looked up in DNS, and that is away.
    pub async fn open(options: MongoStoreOptions) -> Result<Self> {
        let connection = Connection::open(options).await?;
        let of = |connection: &Connection| Arc::new(ListingIndexes::new(connection.collection.clone()));
        let indexes = connection.options.create_indexes.then(|| of(&connection));
        Ok(Self { connection: Arc::new(connection), indexes })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Its database and collection, as `database.collection`.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.connection.collection.namespace().to_string()
    }

    /// Whether the collection is there. The first document makes it, or the first index.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the server is away,
    /// [`Denied`](shop_core::ErrorKind::Denied) without the right to list collections.
    pub async fn exists(&self) -> Result<bool> {
        let find = || {
            let (database, name) =
                (self.connection.database.clone(), self.connection.collection.name().to_owned());
            async move { database.list_collection_names().filter(doc! { "name": name }).await }
        };
        let found = self.connection.ask(self.connection.options.query_timeout, find).await?;
        Ok(!found.is_empty())
    }

    /// How many documents were met so far that are no purchases, each counted once; of the first 10,000.
    #[must_use]
    pub fn unreadable(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.connection.unreadables.count)
    }

    /// Waits until the indexes of listings are made, or the server has refused them.
    pub async fn wait_for_indexes(&self) {
        if let Some(indexes) = &self.indexes {
            indexes.made().await;
        }
    }
}

#[async_trait]
impl RecordStore<Purchase> for MongoStore {
    /// Inserted with majority and journal.
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        insert::insert(&self.connection, self.connection.collection.name(), &batch).await
    }

    async fn check(&self) -> Result<()> {
        self.connection.ping().await
    }
}

#[async_trait]
impl PurchaseQuery for MongoStore {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        select::page(&self.connection, selector, request).await
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        totals::summary(&self.connection, selector).await
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        select::by_id(&self.connection, id).await
    }

    async fn check_reads(&self) -> Result<()> {
        self.connection.ping().await
    }
}
