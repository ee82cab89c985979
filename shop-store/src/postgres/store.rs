//! [`PostgresStore`], and its port for inserts. The other ports are beside their statements.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use shop_core::ports::{InsertOutcome, RecordStore, WaitingRefunds};
use shop_core::{Purchase, Result};

use super::connection::PostgresConnection;
use super::{DatabaseInspection, PostgresStoreOptions, schema};
use crate::refunds::{self, PurchaseState};

/// Purchases in a PostgreSQL table. Clones share the connections.
///
/// ```no_run
/// use shop_core::ports::{PurchaseQuery, Selector};
/// use shop_store::postgres::{PostgresStore, PostgresStoreOptions};
///
/// # async fn example() -> shop_core::Result<()> {
/// let store = PostgresStore::open(PostgresStoreOptions::new("postgresql://localhost/shop")).await?;
/// println!("{} purchases", store.summary(&Selector::All).await?.count);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pub(super) connection: Arc<PostgresConnection>,
    pub(super) state: Arc<PurchaseState>,
}

impl PostgresStore {
    /// Opens the store in the database of `options`. Does not wait for the server.
    ///
    /// Creates the table in the background if [`create_schema`](PostgresStoreOptions::create_schema) is set. Calls wait
    /// for the first attempt.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) if the URL is invalid, or the file in `sslrootcert` cannot be read.
    pub async fn open(options: PostgresStoreOptions) -> Result<Self> {
        Ok(Self {
            connection: Arc::new(PostgresConnection::open(options, &schema::PURCHASES)?),
            state: Arc::default(),
        })
    }

    /// Returns the database as `host:port/database`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.connection.name
    }

    /// Counter of distinct rows that are not purchases, up to 10,000.
    #[must_use]
    pub fn unreadable(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.connection.unreadables.count)
    }

    /// Looks at the database: what is there, and whether the user has all rights. Changes nothing.
    ///
    /// # Errors
    /// [`Denied`](shop_core::ErrorKind::Denied) if a right is missing, which it names, or if tables of another program
    /// are there and [`adopt_tables`](PostgresStoreOptions::adopt_tables) is not set. [`Unavailable`](shop_core::ErrorKind::Unavailable)
    /// if the server is unavailable.
    pub async fn inspect(&self) -> Result<DatabaseInspection> {
        self.connection.inspect().await
    }

    /// Waits until the table exists or the server has rejected its creation.
    pub async fn wait_for_schema(&self) {
        if let Some(schema) = &self.connection.schema {
            schema.done().await;
        }
    }
}

#[async_trait]
impl RecordStore<Purchase> for PostgresStore {
    /// Inserts purchases with one statement, which is one transaction, and refunds with further ones.
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        refunds::insert(self, &batch).await
    }

    async fn check(&self) -> Result<()> {
        self.connection.check_writes().await
    }

    fn waiting_refunds(&self) -> Option<&dyn WaitingRefunds> {
        Some(self)
    }
}
