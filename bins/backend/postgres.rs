//! The backend of stores in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use shop_accounts::postgres::{PostgresOrders, PostgresUsers};
use shop_core::ports::{Durability, PurchaseQuery as _, UnreadableEntry};
use shop_store::postgres::{DatabaseInspection, PostgresStore, PostgresStoreOptions};

use super::port::{Backend, OpenPort, OrderBackend, PurchasesStore, UserBackend};
use crate::settings::{ProcessRole, Settings};
use crate::{CliError, Result};

/// Converts the error of a database that cannot be used.
fn unusable(error: shop_core::Error) -> CliError {
    CliError::about("SHOP_POSTGRES_URL (or DATABASE_URL)")(error)
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
        let inspection = self.run_inspection(store.inspect()).await?;
        let name = store.name().to_owned();
        let port = PurchasesStore {
            unreadable: Some(store.unreadable()),
            store: Arc::new(store),
            // Whether standbys store a purchase too depends on the settings of the server.
            durability: Durability::LocalDisk,
        };
        Ok(open_port(&name, &inspection, port))
    }

    async fn users(&self) -> Result<OpenPort<Arc<dyn UserBackend>>> {
        let users = PostgresUsers::open(self.entity_options())
            .await
            .map_err(unusable)?;
        let inspection = self.run_inspection(users.inspect()).await?;
        let name = users.name().to_owned();
        Ok(open_port(&name, &inspection, Arc::new(users)))
    }

    async fn orders(&self) -> Result<OpenPort<Arc<dyn OrderBackend>>> {
        let orders = PostgresOrders::open(self.entity_options())
            .await
            .map_err(unusable)?;
        let inspection = self.run_inspection(orders.inspect()).await?;
        let name = orders.name().to_owned();
        Ok(open_port(&name, &inspection, Arc::new(orders)))
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

    /// Runs an inspection of the database, unless a command only reads: such a command needs no
    /// right to write.
    ///
    /// A service waits for a server that is unavailable and for a missing right, so these are not
    /// errors.
    ///
    /// # Errors
    /// - for a service: tables of another program, or an encoding that cannot hold every name
    /// - for a command or a check: every error of the inspection
    async fn run_inspection(
        &self,
        inspection: impl Future<Output = shop_core::Result<DatabaseInspection>> + Send,
    ) -> Result<DatabaseInspection> {
        if let Some(command) = &self.settings.command
            && !command.writes()
        {
            return Ok(DatabaseInspection::default());
        }

        match inspection.await {
            Err(error)
                if !self.settings.serves()
                    || error.context("tables").is_some()
                    || error.context("encoding").is_some() =>
            {
                Err(unusable(error))
            }
            inspection => Ok(inspection.unwrap_or_default()),
        }
    }
}

/// Returns `port` with the name of its database, and with what the inspection says about it.
fn open_port<T>(database: &str, inspection: &DatabaseInspection, port: T) -> OpenPort<T> {
    let mut name = format!("PostgreSQL, {database}");
    if let Some(rows) = inspection.taken_over {
        name += &format!(", takes over {rows} rows");
    }
    if inspection.has_asynchronous_standbys {
        name += ", with asynchronous standbys: set synchronous_standby_names";
    }
    OpenPort {
        port,
        name,
        is_missing: !inspection.exists,
    }
}
