//! The backend of purchases in MongoDB.

#[cfg(feature = "compat")]
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "compat")]
use shop_compat::documents::SystemDocumentDecoder;
use shop_core::ports::RecordStore as _;
use shop_core::{Error, ErrorKind};
#[cfg(feature = "compat")]
use shop_store::mongo::Migration;
use shop_store::mongo::{MongoStore, MongoStoreOptions};
use tokio::time::sleep;

#[cfg(feature = "compat")]
use super::ReplacedSystem;
use super::inspection::InspectedStore;
use super::{Backends, OpenPort};
use crate::settings::Settings;
use crate::{CliError, Result};

/// The beginning of the errors of this backend.
const ABOUT: &str = "SHOP_MONGODB_URI (or another name of it)";
/// The pause between two queries of a name server.
const DNS_PAUSE: Duration = Duration::from_secs(10);

/// Opens and inspects the collection of `options`. A command requires that the collection exists.
///
/// With the feature `compat`, the store also reads the documents of the replaced systems.
///
/// # Errors
/// - the errors of MongoDB, and of [`InspectedStore::accept`]
/// - for a command, an error if the collection does not exist
/// - for a command that writes, an error if the collection cannot be written
pub(super) async fn open(
    backends: &Backends<'_>,
    options: MongoStoreOptions,
) -> Result<OpenPort<MongoStore>> {
    let settings = backends.settings;
    let options = options.create_indexes(settings.serves());
    #[cfg(feature = "compat")]
    let options = options.decoder(Some(Arc::new(SystemDocumentDecoder)));
    let store = connect(settings, options).await?;
    let closing_store = store.clone();
    // The driver panics if the runtime ends before the store is closed.
    backends.close_at_end(async move { closing_store.close().await });

    let namespace = store.namespace();
    let inspected_store = InspectedStore {
        setting: ABOUT,
        name: format!("MongoDB, {namespace}"),
    };
    let store_to_inspect = store.clone();
    let inspect = move || {
        let store = store_to_inspect.clone();
        async move { store.inspect().await }
    };
    let mut inspection = inspected_store.accept(backends, inspect).await?;
    if let Some(command) = &settings.command {
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
    // MongoDB creates a missing collection with its first document, so a check can query it too.
    inspection.exists = true;
    Ok(OpenPort::inspected(store, inspected_store.name, inspection))
}

/// Connects to MongoDB. A service tries again while the error is retryable: a connection to
/// `mongodb+srv://…` begins with a query of the name server, which may not answer yet.
///
/// # Errors
/// The errors of MongoDB.
async fn connect(settings: &Settings, options: MongoStoreOptions) -> Result<MongoStore> {
    loop {
        match MongoStore::open(options.clone()).await {
            Err(error) if settings.serves() && error.is_retryable() => {
                tracing::warn!(error = %error.chain(), "MongoDB's addresses are unknown, retrying");
                sleep(DNS_PAUSE).await;
            }
            result => return result.map_err(CliError::about(ABOUT)),
        }
    }
}

/// Converts the documents of the replaced systems to the current format, or back to the format of
/// `back_to`. Returns the counts of the converted documents as JSON.
///
/// # Errors
/// The errors of [`open`], and of the conversion.
#[cfg(feature = "compat")]
pub(super) async fn convert(
    backends: &Backends<'_>,
    options: MongoStoreOptions,
    back_to: Option<ReplacedSystem>,
) -> Result<serde_json::Value> {
    let store = open(backends, options).await?.port;
    let Migration {
        scanned,
        migrated,
        skipped,
        ..
    } = match back_to {
        // To the current format.
        None => store.migrate(log_progress).await?,
        Some(system) => store.convert_to(&system, log_progress).await?,
    };
    tracing::info!(
        scanned,
        migrated,
        skipped,
        "migrated; skipped ones are not purchases, or changed meanwhile"
    );
    Ok(serde_json::json!({ "scanned": scanned, "migrated": migrated, "skipped": skipped }))
}

/// Logs the progress of a migration.
#[cfg(feature = "compat")]
fn log_progress(migration: Migration) {
    tracing::info!(
        scanned = migration.scanned,
        migrated = migration.migrated,
        skipped = migration.skipped,
        "migrating"
    );
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
        let crate::settings::Store::Mongo { purchases, .. } = settings.store else {
            panic!("{:?}", settings.store);
        };

        let store = MongoStore::open(purchases).await.unwrap();
        assert_eq!(store.namespace(), "a.b");
    }
}
