//! The backend of purchases in MongoDB.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shop_core::ports::{Durability, RecordStore as _};
use shop_core::record::ReplacedSystem;
use shop_core::{Error, ErrorKind};
use shop_store::StoreInspection;
use shop_store::mongo::{Migration, MongoStore, MongoStoreOptions};
use tokio::time::sleep;

use super::port::{Backend, OpenPort, PurchasesStore, close_at_exit};
use crate::settings::Settings;
use crate::{CliError, Result};

/// The beginning of the errors of this backend.
const ABOUT: &str = "SHOP_MONGODB_URI (or another name of it)";
/// The pause between two queries of a name server.
const DNS_PAUSE: Duration = Duration::from_secs(10);

/// The collection of the settings.
pub(super) struct Mongodb<'a> {
    pub(super) settings: &'a Settings,
    pub(super) options: MongoStoreOptions,
}

#[async_trait]
impl Backend for Mongodb<'_> {
    async fn purchases(&self) -> Result<OpenPort<PurchasesStore>> {
        let store = self.open_store().await?;
        Ok(OpenPort {
            name: format!("MongoDB, {}", store.namespace()),
            port: PurchasesStore {
                unreadable: Some(store.unreadable()),
                store: Arc::new(store),
                durability: Durability::Replicated,
            },
            is_missing: false,
            inspection: StoreInspection::default(),
        })
    }

    async fn convert(&self, back_to: Option<ReplacedSystem>) -> Result<serde_json::Value> {
        let store = self.open_store().await?;
        let Migration {
            scanned,
            migrated,
            skipped,
            ..
        } = match back_to {
            None => store.migrate(log_progress).await?,
            Some(system) => store.convert_back(system, log_progress).await?,
        };
        tracing::info!(
            scanned,
            migrated,
            skipped,
            "migrated; skipped ones are not purchases, or changed meanwhile"
        );
        Ok(serde_json::json!({ "scanned": scanned, "migrated": migrated, "skipped": skipped }))
    }
}

/// Logs the progress of a migration.
fn log_progress(migration: Migration) {
    tracing::info!(
        scanned = migration.scanned,
        migrated = migration.migrated,
        skipped = migration.skipped,
        "migrating"
    );
}

impl Mongodb<'_> {
    /// Opens the collection. A command requires that the collection exists.
    ///
    /// # Errors
    /// The errors of MongoDB, and of [`check_collection`] for a command.
    async fn open_store(&self) -> Result<MongoStore> {
        let options = self.options.clone();
        let store = self
            .connect(options.create_indexes(self.settings.serves()))
            .await?;

        let closing_store = store.clone();
        // The driver panics if the runtime ends before the store is closed.
        close_at_exit(async move { closing_store.close().await });

        if let Some(command) = &self.settings.command {
            check_collection(&store, command.writes())
                .await
                .map_err(CliError::about(ABOUT))?;
        }
        Ok(store)
    }

    /// Connects to MongoDB. A service tries again until it succeeds: at this point, only the name
    /// server of a `mongodb+srv://…` is asked, so a retryable error means that it does not answer.
    ///
    /// # Errors
    /// The errors of MongoDB.
    async fn connect(&self, options: MongoStoreOptions) -> Result<MongoStore> {
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

/// Checks that the collection exists and, if the command `writes`, that it can be written.
///
/// Without the permission to list collections, the collection is assumed to exist. It is looked for
/// before the check of the store, whose time limit is too short for a new connection to a busy
/// server.
///
/// # Errors
/// - [`Unavailable`](ErrorKind::Unavailable) if the collection does not exist
/// - the errors of MongoDB
async fn check_collection(store: &MongoStore, writes: bool) -> shop_core::Result<()> {
    match store.exists().await {
        Ok(false) => {
            let message = "the collection does not exist: name the database and the collection that the services use";
            return Err(Error::new(ErrorKind::Unavailable, message)
                .with_context("missing", store.namespace()));
        }
        Err(error) if error.kind() != ErrorKind::Denied => return Err(error),
        _ => {}
    }
    if writes {
        store.check().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::settings_test::read;

    #[tokio::test]
    async fn the_database_and_the_collection_of_the_settings_are_used() {
        let settings = read(
            "MONGODB_URI=mongodb://127.0.0.1:1 SHOP_MONGODB_DATABASE=a SHOP_MONGODB_COLLECTION=b management",
            "",
        )
        .unwrap();
        let options = settings.mongodb.options().unwrap();

        let store = MongoStore::open(options).await.unwrap();
        assert_eq!(store.namespace(), "a.b");
    }
}
