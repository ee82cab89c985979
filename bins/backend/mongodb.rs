//! Purchases in MongoDB.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use shop_core::ports::{Durability, RecordStore as _};
use shop_core::record::ReplacedSystem;
use shop_core::{Error, ErrorKind};
use shop_store::mongo::{Migration, MongoStore, MongoStoreOptions};
use tokio::time::sleep;

use super::port::{Backend, OpenPort, PurchasesStore, note_opened};
use crate::settings::Settings;
use crate::{CliError, Result};

const ABOUT: &str = "SHOP_MONGODB_URI (or another name of it)";
/// The pause between two questions to a name server.
const DNS_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Mongodb<'a> {
    pub(super) settings: &'a Settings,
    pub(super) uri: &'a SecretString,
}

#[async_trait]
impl Backend for Mongodb<'_> {
    async fn purchases(&self) -> Result<OpenPort<PurchasesStore>> {
        let store = self.connect().await?;
        Ok(OpenPort {
            name: format!("MongoDB, {}", store.namespace()),
            port: PurchasesStore {
                unreadable: Some(store.unreadable()),
                store: Arc::new(store),
                durability: Durability::Replicated,
            },
            to_be_made: false,
        })
    }

    async fn convert(&self, back_to: Option<ReplacedSystem>) -> Result<serde_json::Value> {
        let store = self.connect().await?;
        let Migration {
            scanned,
            migrated,
            skipped,
            ..
        } = match back_to {
            None => store.migrate(progress).await?,
            Some(system) => store.convert_back(system, progress).await?,
        };
        let done = "migrated; skipped ones are not purchases, or changed meanwhile";
        tracing::info!(scanned, migrated, skipped, "{done}");
        Ok(serde_json::json!({ "scanned": scanned, "migrated": migrated, "skipped": skipped }))
    }
}

fn progress(migration: Migration) {
    tracing::info!(
        scanned = migration.scanned,
        migrated = migration.migrated,
        skipped = migration.skipped,
        "migrating"
    );
}

impl Mongodb<'_> {
    async fn connect(&self) -> Result<MongoStore> {
        let mut options = MongoStoreOptions::new(self.uri.expose_secret());
        options.database.clone_from(&self.settings.mongodb_database);
        options
            .collection
            .clone_from(&self.settings.mongodb_collection);
        options.create_indexes = self.settings.serves();
        let store = self.open(options).await?;
        let opened = store.clone();
        // The driver panics if the runtime ends before.
        note_opened(async move { opened.close().await });
        if let Some(command) = &self.settings.command {
            is_there(&store, command.writes())
                .await
                .map_err(CliError::about(ABOUT))?;
        }
        Ok(store)
    }

    /// Opens a store. A service waits for the name server of a `mongodb+srv://…`, as it does for other servers.
    async fn open(&self, options: MongoStoreOptions) -> Result<MongoStore> {
        loop {
            match MongoStore::open(options.clone()).await {
                Err(error) if self.settings.serves() && error.is_retryable() => {
                    tracing::warn!(error = %error.chain(), "MongoDB's addresses are unknown, retrying");
                    sleep(DNS_PAUSE).await;
                }
                opened => return opened.map_err(CliError::about(ABOUT)),
            }
        }
    }
}

/// Rejects a collection that does not exist. Without permission to list collections, it is assumed to exist. Before the
/// check, which is too short for a new connection to a busy server.
async fn is_there(store: &MongoStore, writes: bool) -> shop_core::Result<()> {
    match store.exists().await {
        Ok(false) => {
            let message = "the collection does not exist: name the database and the collection that the services use";
            Err(Error::new(ErrorKind::Unavailable, message)
                .with_context("missing", store.namespace()))
        }
        Err(error) if error.kind() != ErrorKind::Denied => Err(error),
        Ok(true) | Err(_) if writes => store.check().await,
        Ok(true) | Err(_) => Ok(()),
    }
}
