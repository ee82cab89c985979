//! Contains [`PostgresStore`] with its port for inserts. The other ports are in the modules of
//! their statements: `select`, `erase` and `refunds`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use shop_core::ports::{DescribeStore, Durability, InsertOutcome, RecordStore, StoreInfo};
use shop_core::{Backend, Purchase, Result};

use super::connection::PostgresConnection;
use super::sums::KeptSums;
use super::{PostgresStoreOptions, schema};
use crate::StoreInspection;
use crate::refunds::{self, PurchaseState};

/// A store of purchases in a PostgreSQL table. Clones share the connections.
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
    /// The currency and the waiting refunds, as far as this process knows them.
    pub(super) purchase_state: Arc<PurchaseState>,
    /// What this process knows about the kept sums, and the task that brings them up to date.
    pub(super) sums: Arc<KeptSums>,
}

impl PostgresStore {
    /// Opens the store in the database of `options`. Does not wait for the server.
    ///
    /// Creates the tables in the background if
    /// [`create_schema`](PostgresStoreOptions::create_schema) is set. Calls on the store wait for
    /// the first attempt.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) if the URL is invalid, or the file in
    /// `sslrootcert` cannot be read.
    pub async fn open(options: PostgresStoreOptions) -> Result<Self> {
        Ok(Self {
            connection: Arc::new(PostgresConnection::open(options, &schema::PURCHASES)?),
            purchase_state: Arc::default(),
            sums: Arc::default(),
        })
    }

    /// Returns the name of the database as `host:port/database`, without credentials.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.connection.name
    }

    /// Returns the parts of this store. Their sink writes straight into the store.
    #[must_use]
    pub fn backend(&self) -> Backend {
        // Whether standbys store a purchase too depends on the settings of the server.
        let mut backend = Backend::of_store(self.clone(), Durability::LocalDisk);
        backend.erase = Some(Arc::new(self.clone()));
        backend.currency_store = Some(Arc::new(self.clone()));
        backend.unreadable = Some(self.unreadable());
        backend
    }

    /// Returns the counter of distinct rows that are not purchases, which listings skip. It counts
    /// up to 10,000.
    #[must_use]
    pub fn unreadable(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.connection.unreadables.count)
    }

    /// Inspects the tables in the database and the rights of the user. Changes nothing.
    ///
    /// | found | reported as |
    /// |---|---|
    /// | an encoding of the database that cannot hold every name | fault |
    /// | tables of another program, without [`adopt_tables`](PostgresStoreOptions::adopt_tables) | fault |
    /// | a table without the unique index that recognizes repetitions, for example after a restore | fault |
    /// | row level security that applies to the user, a view in place of a table, an unlogged table | fault |
    /// | missing or disabled triggers of the kept sums, for example after a restore of parts | fault |
    /// | missing rights, which the error names, or a read-only server | error of writes |
    /// | asynchronous standbys, rules on a table, missing rights on the tables of sums | warning |
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) if the server is unavailable, and
    /// [`Denied`](shop_core::ErrorKind::Denied) if it rejects the login.
    pub async fn inspect(&self) -> Result<StoreInspection> {
        let mut inspection = self.connection.inspect().await?;
        if inspection.exists {
            self.inspect_triggers(&mut inspection).await?;
        }
        Ok(inspection)
    }

    /// Waits until the tables exist or the server rejects their creation.
    ///
    /// Returns at once if [`create_schema`](PostgresStoreOptions::create_schema) is not set.
    pub async fn wait_for_schema(&self) {
        if let Some(schema) = &self.connection.schema {
            schema.wait_until_done().await;
        }
    }
}

#[async_trait]
impl RecordStore<Purchase> for PostgresStore {
    /// Inserts the purchases of `batch` with one statement in one transaction, and its refunds with
    /// further statements. Then wakes the task that brings the kept sums up to date.
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        let outcomes = refunds::insert(self, &batch).await;
        self.start_fold();
        outcomes
    }

    async fn check(&self) -> Result<()> {
        self.connection.check_writes().await
    }
}

impl DescribeStore for PostgresStore {
    /// The number of takeovers is the highest timeline of the servers, which grows with each
    /// promotion of a standby.
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
            .with_takeovers(self.connection.servers.timeline().into())
            .with_waiting_refunds(self)
            .with_imported_files(self)
            .with_user_names(self)
    }
}
