//! The store that the settings ask for.

use super::Store;
use crate::settings::{MongodbSettings, Settings};
use crate::{Failure, Result};

pub(super) async fn open(settings: &Settings) -> Result<Store> {
    match &settings.mongodb {
        Some(mongodb) => in_mongodb(mongodb).await,
        None => embedded(settings).await,
    }
}

/// Brings the documents of older systems to our form, in the collection that the settings name.
///
/// # Errors
/// Without MongoDB in the settings, or when it cannot be reached.
pub async fn migrate(settings: &Settings) -> Result<()> {
    let mongodb = settings.mongodb.as_ref().ok_or_else(|| {
        Failure::new("migrate is for a collection of MongoDB: set MONGODB_URI, or another name of it")
    })?;
    migrate_in(mongodb).await
}

#[cfg(feature = "mongodb")]
async fn migrate_in(settings: &MongodbSettings) -> Result<()> {
    let store = connect(settings).await?;
    let told = |migration: shop_store::mongo::Migration| {
        tracing::info!(
            seen = migration.seen,
            changed = migration.changed,
            left = migration.left,
            "migrating"
        );
    };
    let migration = store.migrate(told).await?;
    tracing::info!(
        seen = migration.seen,
        changed = migration.changed,
        left = migration.left,
        "migrated: what is left is no purchase, or was changed by somebody else meanwhile"
    );
    Ok(())
}

#[cfg(feature = "mongodb")]
async fn connect(settings: &MongodbSettings) -> Result<shop_store::mongo::MongoStore> {
    use shop_store::mongo::{MongoStore, MongoStoreOptions};

    let mut options = MongoStoreOptions::new(settings.uri.clone());
    options.database.clone_from(&settings.database);
    options.collection.clone_from(&settings.collection);
    MongoStore::open(options)
        .await
        .map_err(|error| Failure::new(format!("MONGODB_URI (or another name of it): {}", error.chain())))
}

#[cfg(feature = "mongodb")]
async fn in_mongodb(settings: &MongodbSettings) -> Result<Store> {
    use std::sync::Arc;

    use shop_core::ports::Durability;

    let store = connect(settings).await?;
    Ok(Store {
        name: format!("MongoDB, {}", store.namespace()),
        query: Arc::new(store.clone()),
        store: Arc::new(store),
        // By a majority, in its journal.
        durability: Durability::LocalDisk,
        closed: Box::pin(std::future::ready(())),
    })
}

#[cfg(not(feature = "mongodb"))]
async fn in_mongodb(_settings: &MongodbSettings) -> Result<Store> {
    Err(Failure::new("this program was built without MongoDB"))
}

#[cfg(not(feature = "mongodb"))]
async fn migrate_in(_settings: &MongodbSettings) -> Result<()> {
    Err(Failure::new("this program was built without MongoDB"))
}

#[cfg(feature = "embedded")]
async fn embedded(settings: &Settings) -> Result<Store> {
    use std::sync::Arc;

    use shop_core::ports::Durability;
    use shop_store::embedded::{EmbeddedStore, EmbeddedStoreOptions};

    use super::in_data_dir;

    let options = EmbeddedStoreOptions::default();
    let store = EmbeddedStore::open(&settings.data_dir, options).await.map_err(in_data_dir)?;
    Ok(Store {
        closed: Box::pin(store.closed()),
        query: Arc::new(store.clone()),
        store: Arc::new(store),
        durability: Durability::LocalDisk,
        name: format!("embedded, {}", settings.data_dir.join("store.db").display()),
    })
}

#[cfg(not(feature = "embedded"))]
async fn embedded(_settings: &Settings) -> Result<Store> {
    Err(Failure::new("this program was built without the embedded store"))
}
