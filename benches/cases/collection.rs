//! Collections of MongoDB for measurements.

use mongodb::Client;
use mongodb::bson::Document;
use shop_store::mongo::{MongoStore, MongoStoreOptions};

pub(super) const DATABASE: &str = "shop_bench";

/// A collection with its indexes.
pub(super) async fn open_collection(uri: String, collection: String) -> MongoStore {
    let mut options = MongoStoreOptions::new(uri);
    options.database = Some(DATABASE.to_owned());
    options.collection = collection;
    let store = MongoStore::open(options).await.unwrap();
    store.wait_for_indexes().await;
    store
}

/// Drops a collection.
pub(super) async fn drop_collection(uri: &str, name: &str) {
    let client = Client::with_uri_str(uri).await.unwrap();
    client
        .database(DATABASE)
        .collection::<Document>(name)
        .drop()
        .await
        .unwrap();
}
