//! Stores in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use shop_core::entity::EntityStore;
use shop_core::orders::Order;
use shop_core::ports::{Durability, PurchaseQuery as _, UnreadableEntry};
use shop_core::users::User;
use shop_store::postgres::{
    DatabaseInspection, PostgresOrders, PostgresStore, PostgresStoreOptions, PostgresUsers,
};

use super::port::{Backend, EntityPorts, OpenPort, PurchasesStore, UserBackend};
use crate::settings::{ProcessRole, Settings};
use crate::{CliError, Result};

/// The fault of a database that cannot be used.
fn unusable(error: shop_core::Error) -> CliError {
    CliError::about("SHOP_POSTGRES_URL (or DATABASE_URL)")(error)
}

pub(super) struct Postgres<'a> {
    pub(super) settings: &'a Settings,
    pub(super) url: &'a SecretString,
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
        let unreadable = Some(store.unreadable());
        // What the standbys have depends on the settings of the server.
        let port = PurchasesStore {
            store: Arc::new(store),
            durability: Durability::LocalDisk,
            unreadable,
        };
        Ok(opened(&name, &inspection, port))
    }

    async fn users(&self) -> Result<OpenPort<EntityPorts<dyn UserBackend, Order>>> {
        let store = PostgresUsers::open(self.entity_options())
            .await
            .map_err(unusable)?;
        let inspection = self.run_inspection(store.inspect()).await?;
        let name = store.name().to_owned();
        let ports = EntityPorts::new(store, |store| store as _);
        Ok(opened(&name, &inspection, ports))
    }

    async fn orders(&self) -> Result<OpenPort<EntityPorts<dyn EntityStore<Order>, User>>> {
        let store = PostgresOrders::open(self.entity_options())
            .await
            .map_err(unusable)?;
        let inspection = self.run_inspection(store.inspect()).await?;
        let name = store.name().to_owned();
        let ports = EntityPorts::new(store, |store| store as _);
        Ok(opened(&name, &inspection, ports))
    }

    async fn read_rows(&self, of: ProcessRole) -> Result<(u64, Vec<UnreadableEntry>)> {
        let options = self.entity_options();
        Ok(match of {
            ProcessRole::Users => PostgresUsers::open(options).await?.read_all().await?,
            _ => PostgresOrders::open(options).await?.read_all().await?,
        })
    }
}

impl Postgres<'_> {
    /// For purchases: half of the connections.
    fn options(&self) -> PostgresStoreOptions {
        PostgresStoreOptions::new(self.url.expose_secret())
            .create_schema(self.settings.serves())
            .max_connections(self.settings.postgres_max_connections as usize / 2)
    }

    /// For users or orders, whose inserts wait for each other: a quarter.
    fn entity_options(&self) -> PostgresStoreOptions {
        let connections = self.settings.postgres_max_connections as usize / 4;
        self.options()
            .max_connections(connections)
            .adopt_tables(self.settings.adopt_tables)
    }

    /// Returns what an inspection of the database finds.
    ///
    /// A service waits for a server or a right that is missing, but does not start on tables of another program, or on
    /// a database that cannot hold every name.
    async fn run_inspection(
        &self,
        inspection: impl Future<Output = shop_core::Result<DatabaseInspection>> + Send,
    ) -> Result<DatabaseInspection> {
        // A command that reads needs no right to write.
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

fn opened<T>(name: &str, inspection: &DatabaseInspection, port: T) -> OpenPort<T> {
    let rows = inspection
        .taken_over
        .map(|rows| format!(", takes over {rows} rows"))
        .unwrap_or_default();
    let standbys = if inspection.has_asynchronous_standbys {
        ", with asynchronous standbys: set synchronous_standby_names"
    } else {
        ""
    };
    OpenPort {
        port,
        name: format!("PostgreSQL, {name}{rows}{standbys}"),
        to_be_made: !inspection.exists,
    }
}
