//! Stores in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use shop_core::orders::{Order, OrderStore};
use shop_core::ports::{Durability, PurchaseQuery as _};
use shop_core::users::{User, UserErase as _, UserNumber, UserStore};
use shop_core::{Error, ErrorKind};
use shop_store::postgres::{PostgresOrders, PostgresStore, PostgresStoreOptions, PostgresUsers};

use super::port::{Backend, EntityStore, OpenPort, PurchasesStore, with_failpoints};
use crate::settings::Settings;
use crate::{CliError, Result};

const ABOUT: &str = "POSTGRES_URL (or DATABASE_URL)";
/// Connections of users and of orders. Their inserts wait for each other.
const ENTITY_CONNECTIONS: usize = 6;

pub(super) struct Postgres<'a> {
    pub(super) settings: &'a Settings,
    pub(super) url: &'a SecretString,
}

#[async_trait]
impl Backend for Postgres<'_> {
    async fn purchases(&self) -> Result<OpenPort<PurchasesStore>> {
        let store = PostgresStore::open(self.options()).map_err(CliError::about(ABOUT))?;
        if self.settings.command.is_some() {
            is_there(&store).await.map_err(CliError::about(ABOUT))?;
        }
        let to_be_made = self.settings.check_config && !store.exists().await.unwrap_or(true);
        let name = store.name().to_owned();
        let port = PurchasesStore {
            unreadable: Some(store.unreadable()),
            query: Arc::new(store.clone()),
            erase: Arc::new(store.clone()),
            store: Arc::new(store),
            // What the standbys have depends on the settings of the server.
            durability: Durability::LocalDisk,
            to_be_made,
        };
        Ok(opened(port, &name))
    }

    async fn users(&self) -> Result<OpenPort<EntityStore<dyn UserStore, Order>>> {
        let store = PostgresUsers::open(self.entity_options()).map_err(CliError::about(ABOUT))?;
        let name = store.name().to_owned();
        let to_be_made = self.settings.check_config && !store.exists().await.unwrap_or(true);
        let port: EntityStore<dyn UserStore, Order> =
            EntityStore::new(store, |store| with_failpoints::<dyn UserStore>(store));
        Ok(opened(EntityStore { to_be_made, ..port }, &name))
    }

    async fn erase_user(&self, id: UserNumber) -> Result<bool> {
        let store = PostgresUsers::open(self.entity_options()).map_err(CliError::about(ABOUT))?;
        Ok(store.erase_user(id).await?)
    }

    async fn orders(&self) -> Result<OpenPort<EntityStore<dyn OrderStore, User>>> {
        let store = PostgresOrders::open(self.entity_options()).map_err(CliError::about(ABOUT))?;
        let name = store.name().to_owned();
        let to_be_made = self.settings.check_config && !store.exists().await.unwrap_or(true);
        let port: EntityStore<dyn OrderStore, User> =
            EntityStore::new(store, |store| with_failpoints::<dyn OrderStore>(store));
        Ok(opened(EntityStore { to_be_made, ..port }, &name))
    }
}

impl Postgres<'_> {
    fn options(&self) -> PostgresStoreOptions {
        PostgresStoreOptions::new(self.url.clone()).create_schema(self.settings.creates())
    }

    fn entity_options(&self) -> PostgresStoreOptions {
        self.options().max_connections(ENTITY_CONNECTIONS)
    }
}

fn opened<T>(port: T, name: &str) -> OpenPort<T> {
    OpenPort { port, name: format!("PostgreSQL, {name}"), closed: Box::pin(std::future::ready(())) }
}

/// Rejects a database without the table.
async fn is_there(store: &PostgresStore) -> shop_core::Result<()> {
    if store.exists().await? {
        return store.check_reads().await;
    }
    let message = "the table purchases does not exist: name the database that the services use";
    Err(Error::new(ErrorKind::Unavailable, message).with_context("missing", store.name()))
}
