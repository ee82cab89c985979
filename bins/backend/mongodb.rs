//! Stores in MongoDB.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use shop_core::orders::{Order, OrderStore};
use shop_core::ports::{Durability, RecordStore as _};
use shop_core::users::{User, UserErase as _, UserNumber, UserStore};
use shop_core::{Error, ErrorKind};
use shop_store::mongo::mongodb::Client;
use shop_store::mongo::{
    Migration, MongoEntityOptions, MongoOrders, MongoStore, MongoStoreOptions, MongoUsers, database_in_uri,
};
use tokio::time::sleep;

use super::port::{Backend, EntityStore, OpenPort, PurchasesStore, with_failpoints};
use crate::roles::ProcessRole;
use crate::settings::Settings;
use crate::{CliError, Result};

const ABOUT: &str = "MONGODB_URI (or another name of it)";
/// The pause between two questions to a name server.
const DNS_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Mongodb<'a> {
    pub(super) settings: &'a Settings,
    pub(super) uri: &'a SecretString,
    /// The client of the first store, which the others use too.
    pub(super) client: OnceLock<Client>,
}

#[async_trait]
impl Backend for Mongodb<'_> {
    async fn purchases(&self) -> Result<OpenPort<PurchasesStore>> {
        let store = self.connect().await?;
        let namespace = store.namespace();
        let port = PurchasesStore {
            unreadable: Some(store.unreadable()),
            query: Arc::new(store.clone()),
            erase: Arc::new(store.clone()),
            store: Arc::new(store),
            durability: Durability::Replicated,
            to_be_made: false,
        };
        Ok(opened(port, &namespace))
    }

    async fn users(&self) -> Result<OpenPort<EntityStore<dyn UserStore, Order>>> {
        let options = self.entity_options(ProcessRole::Users, self.settings.users_database.as_ref());
        let store = self.open(|| MongoUsers::open(options.clone())).await?;
        self.client.get_or_init(|| store.client());
        let namespace = store.namespace();
        Ok(opened(EntityStore::new(store, |store| with_failpoints::<dyn UserStore>(store)), &namespace))
    }

    async fn erase_user(&self, id: UserNumber) -> Result<bool> {
        let options = self.entity_options(ProcessRole::Users, self.settings.users_database.as_ref());
        let store = MongoUsers::open(options).await.map_err(CliError::about(ABOUT))?;
        Ok(store.erase_user(id).await?)
    }

    async fn orders(&self) -> Result<OpenPort<EntityStore<dyn OrderStore, User>>> {
        let options = self.entity_options(ProcessRole::Orders, self.settings.orders_database.as_ref());
        let store = self.open(|| MongoOrders::open(options.clone())).await?;
        self.client.get_or_init(|| store.client());
        let namespace = store.namespace();
        Ok(opened(EntityStore::new(store, |store| with_failpoints::<dyn OrderStore>(store)), &namespace))
    }

    async fn migrate(&self) -> Result<serde_json::Value> {
        let report = |Migration { scanned, migrated, skipped, .. }| {
            tracing::info!(scanned, migrated, skipped, "migrating");
        };
        let Migration { scanned, migrated, skipped, .. } = self.connect().await?.migrate(report).await?;
        tracing::info!(
            scanned,
            migrated,
            skipped,
            "migrated; skipped documents are not purchases, or another client changed them meanwhile"
        );
        Ok(serde_json::json!({ "scanned": scanned, "migrated": migrated, "skipped": skipped }))
    }
}

impl Mongodb<'_> {
    async fn connect(&self) -> Result<MongoStore> {
        let mut options = MongoStoreOptions::new(self.uri.clone());
        options.database.clone_from(&self.settings.mongodb_database);
        options.collection.clone_from(&self.settings.mongodb_collection);
        options.create_indexes = self.settings.creates();
        options.client = self.client.get().cloned();
        let store = self.open(|| MongoStore::open(options.clone())).await?;
        self.client.get_or_init(|| store.client());
        if self.settings.command.is_some() {
            is_there(&store).await.map_err(CliError::about(ABOUT))?;
        }
        Ok(store)
    }

    /// Opens a store. A service waits for the name server of a `mongodb+srv://…`, as it does for other servers.
    async fn open<T: Send, F>(&self, open: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = shop_core::Result<T>> + Send,
    {
        loop {
            match open().await {
                Err(error) if self.settings.serves() && error.is_retryable() => {
                    tracing::warn!(error = %error.chain(), "MongoDB's addresses are unknown, retrying");
                    sleep(DNS_PAUSE).await;
                }
                opened => return opened.map_err(CliError::about(ABOUT)),
            }
        }
    }

    /// The options of a database of users or of orders.
    fn entity_options(&self, role: ProcessRole, chosen: Option<&String>) -> MongoEntityOptions {
        let given = self.settings.mongodb_database.clone().or_else(|| database_in_uri(self.uri));
        let database = chosen.cloned().unwrap_or_else(|| self.settings.roles.database_of(role, given));
        MongoEntityOptions::new(self.uri.clone(), database).client(self.client.get().cloned())
    }
}

fn opened<T>(port: T, namespace: &str) -> OpenPort<T> {
    OpenPort { port, name: format!("MongoDB, {namespace}"), closed: Box::pin(std::future::ready(())) }
}

/// Rejects a collection that does not exist. Without permission to list collections, it is assumed to exist.
async fn is_there(store: &MongoStore) -> shop_core::Result<()> {
    store.check().await?;
    match store.exists().await {
        Ok(false) => {
            let message =
                "the collection does not exist: name the database and the collection that the services use";
            Err(Error::new(ErrorKind::Unavailable, message).with_context("missing", store.namespace()))
        }
        Err(error) if error.kind() != ErrorKind::Denied => Err(error),
        Ok(true) | Err(_) => Ok(()),
    }
}
