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

use super::inspection::accept_inspection;
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
        let (store, mut inspection) = self.open_store().await?;
        let name = format!("MongoDB, {}", store.namespace());
        let port = PurchasesStore {
            unreadable: Some(store.unreadable()),
            store: Arc::new(store),
            durability: Durability::Replicated,
        };
        // A collection is created by its first document, so also a missing one can be checked.
        inspection.exists = true;
        Ok(OpenPort::inspected(port, name, inspection))
    }

    async fn convert(&self, back_to: Option<ReplacedSystem>) -> Result<serde_json::Value> {
        let (store, _inspection) = self.open_store().await?;
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
    /// Opens and inspects the collection. A command requires that the collection exists.
    ///
    /// # Errors
    /// - the errors of MongoDB, and of [`accept_inspection`]
    /// - for a command: that the collection does not exist or, if the command writes, that it cannot
    ///   be written
    async fn open_store(&self) -> Result<(MongoStore, StoreInspection)> {
        let options = self.options.clone();
        let store = self
            .connect(options.create_indexes(self.settings.serves()))
            .await?;

        let closing_store = store.clone();
        // The driver panics if the runtime ends before the store is closed.
        close_at_exit(async move { closing_store.close().await });

        let namespace = store.namespace();
        let name = format!("MongoDB, {namespace}");
        let inspection = accept_inspection(self.settings, ABOUT, &name, store.inspect().await)?;
        if let Some(command) = &self.settings.command {
            if !inspection.exists {
                let message = "the collection does not exist: name the database and the collection that the services use";
                let error = Error::new(ErrorKind::Unavailable, message);
                return Err(CliError::about(ABOUT)(
                    error.with_context("missing", namespace),
                ));
            }
            if command.writes() {
                store.check().await.map_err(CliError::about(ABOUT))?;
            }
        }
        Ok((store, inspection))
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
