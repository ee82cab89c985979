//! The backend of stores in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use shop_accounts::postgres::{PostgresOrders, PostgresUsers};
use shop_core::ports::{Durability, PurchaseQuery as _, UnreadableEntry};
use shop_store::postgres::{PostgresStore, PostgresStoreOptions};

use super::inspection::accept_inspection;
use super::port::{Backend, OpenPort, OrderBackend, PurchasesStore, UserBackend};
use crate::settings::{ProcessRole, Settings};
use crate::{CliError, Result};

/// The beginning of the errors of this backend.
const ABOUT: &str = "SHOP_POSTGRES_URL (or DATABASE_URL)";

/// Converts the error of a database that cannot be used.
fn unusable(error: shop_core::Error) -> CliError {
    CliError::about(ABOUT)(error)
}

/// The database of the settings.
pub(super) struct Postgres<'a> {
    pub(super) settings: &'a Settings,
    /// The options of a store of purchases, which uses half of the connections.
    pub(super) options: PostgresStoreOptions,
}

#[async_trait]
impl Backend for Postgres<'_> {
    async fn purchases(&self) -> Result<OpenPort<PurchasesStore>> {
        let store = PostgresStore::open(self.options())
            .await
            .map_err(unusable)?;
        if self.settings.command.is_some() {
            store.check_reads().await.map_err(unusable)?;
        }
        let name = format!("PostgreSQL, {}", store.name());
        let inspection = accept_inspection(self.settings, ABOUT, &name, store.inspect().await)?;
        let port = PurchasesStore {
            unreadable: Some(store.unreadable()),
            store: Arc::new(store),
            // Whether standbys store a purchase too depends on the settings of the server.
            durability: Durability::LocalDisk,
        };
        Ok(OpenPort::inspected(port, name, inspection))
    }

    async fn users(&self) -> Result<OpenPort<Arc<dyn UserBackend>>> {
        let users = PostgresUsers::open(self.entity_options())
            .await
            .map_err(unusable)?;
        let name = format!("PostgreSQL, {}", users.name());
        let inspection = accept_inspection(self.settings, ABOUT, &name, users.inspect().await)?;
        Ok(OpenPort::inspected(Arc::new(users), name, inspection))
    }

    async fn orders(&self) -> Result<OpenPort<Arc<dyn OrderBackend>>> {
        let orders = PostgresOrders::open(self.entity_options())
            .await
            .map_err(unusable)?;
        let name = format!("PostgreSQL, {}", orders.name());
        let inspection = accept_inspection(self.settings, ABOUT, &name, orders.inspect().await)?;
        Ok(OpenPort::inspected(Arc::new(orders), name, inspection))
    }

    async fn read_rows(&self, role: ProcessRole) -> Result<(u64, Vec<UnreadableEntry>)> {
        let options = self.entity_options();
        Ok(match role {
            ProcessRole::Users => PostgresUsers::open(options).await?.read_all().await?,
            _ => PostgresOrders::open(options).await?.read_all().await?,
        })
    }
}

impl Postgres<'_> {
    /// Returns the options of the store of purchases.
    fn options(&self) -> PostgresStoreOptions {
        let options = self.options.clone();
        options.create_schema(self.settings.serves())
    }

    /// Returns the options of the stores of users and of orders, which use a quarter of the
    /// connections each: their inserts wait for each other.
    fn entity_options(&self) -> PostgresStoreOptions {
        self.options()
            .max_connections(self.options.max_connections / 2)
            .adopt_tables(self.settings.adopt_tables)
    }
}
