//! [`MongoOutbox`]: the outbox of a MongoDB collection of your own.

mod event;
#[cfg(test)]
mod outbox_test;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::options::{FindOptions, ReadConcern, ReturnDocument, WriteConcern};
use serde::Deserialize;
use shop_core::outbox::{Backlog, Outbox, OutboxEntry};
use shop_core::record::Event;
use shop_core::{ErrorKind, Outcome, Result};
use tokio::sync::Notify;

use super::MongoStoreOptions;
use super::connection::Connection;
use super::document::raw_id;
use super::error::mongo_error;
use event::{NUMBER, Row};

/// The timeout of each call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The collection with the last number of each outbox of a database.
const NUMBERS: &str = "outbox_numbers";

/// The pending events of a MongoDB collection of your own, in the member `outbox` of its documents.
///
/// [`entry`](Self::entry) makes an element of that member, an array. Your write of the document adds it, by an insert
/// or by `$push`, so both are stored or neither, on any server and without a transaction. A
/// [`Relay`](shop_core::outbox::Relay) publishes the event and removes it from the array.
///
/// An event is published when a majority of the servers has its document. Events of one key are published in the order
/// of their entries: take the entry of the next event when the previous document is written. An entry that is not
/// written is a gap in the numbers, without effect.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use serde::{Deserialize, Serialize};
/// use shop_core::memory::InMemoryLog;
/// use shop_core::outbox::{Relay, RelayOptions};
/// use shop_core::record::JsonEvent;
/// use shop_store::mongo::MongoOutbox;
/// use shop_store::mongo::bson::{Document, doc};
/// use shop_store::mongo::mongodb::Client;
///
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// struct Refund {
///     order: String,
/// }
///
/// impl JsonEvent for Refund {
///     const TOPIC: &'static str = "refunds";
///
///     fn key(&self) -> String {
///         self.order.clone()
///     }
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::with_uri_str("mongodb://localhost:27017").await?;
/// let refunds = client.database("shop").collection::<Document>("refunds");
/// let outbox = MongoOutbox::open(&refunds).await?;
///
/// let entry = outbox.entry(&Refund { order: "order-7".to_owned() }).await?;
/// refunds.insert_one(doc! { "_id": "order-7", "state": "open", "outbox": [entry] }).await?;
/// let entry = outbox.entry(&Refund { order: "order-7".to_owned() }).await?;
/// let paid = doc! { "$set": { "state": "paid" }, "$push": { "outbox": entry } };
/// refunds.update_one(doc! { "_id": "order-7" }, paid).await?;
/// outbox.notify();
///
/// // Your log, such as a `KafkaLog`, and your service's shutdown signal.
/// let relay = Relay::new(Arc::new(outbox), Arc::new(InMemoryLog::default()), RelayOptions::default());
/// relay.run(std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MongoOutbox {
    connection: Arc<Connection>,
    /// Notified by the caller after a write.
    written: Arc<Notify>,
}

/// The last number of an outbox.
#[derive(Debug, Deserialize)]
struct Numbers {
    last: i64,
}

impl MongoOutbox {
    /// The outbox in `collection`, on the connections of its client. Creates a sparse index on `outbox.number` if it
    /// does not exist.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the server does not answer,
    /// [`Denied`](shop_core::ErrorKind::Denied) when the user may not create the index.
    pub async fn open<T: Send + Sync>(collection: &Collection<T>) -> Result<Self> {
        let namespace = collection.namespace();
        let mut options = MongoStoreOptions::new(String::new()).collection(namespace.coll);
        (options.insert_timeout, options.query_timeout) = (TIMEOUT, TIMEOUT);
        let connection = Connection::on(&collection.client().database(&namespace.db), options);
        let rows = connection.collection.clone();
        let create =
            async move { rows.create_index(event::index()).write_concern(WriteConcern::majority()).await };
        connection.write(create).await?;
        Ok(Self { connection: Arc::new(connection), written: Arc::default() })
    }

    /// An element of the array `outbox` for a document that is written with `event`. It has the next number, which is
    /// counted in the collection `outbox_numbers` of the database.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) when the event cannot be encoded,
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) and other errors of the server. No event is written, so a
    /// retry is safe.
    ///
    /// # Cancel safety
    /// Dropping the future may skip a number.
    pub async fn entry(&self, event: &impl Event) -> Result<Document> {
        let record = event.encode()?;
        let numbers = self.connection.database.collection::<Numbers>(NUMBERS);
        let counter = doc! { "_id": self.connection.collection.name() };
        let count = async move {
            let next = numbers.find_one_and_update(counter, doc! { "$inc": { "last": 1_i64 } });
            let next = next.upsert(true).return_document(ReturnDocument::After);
            // A number that could be rolled back could be assigned twice.
            next.write_concern(WriteConcern::majority()).await
        };
        let counted = self.connection.write(count).await;
        let counted = counted.map_err(|error| error.with_outcome(Outcome::NotApplied))?;
        let failed = |message: &str| mongo_error(ErrorKind::Internal, message);
        let Numbers { last } = counted.ok_or_else(|| failed("MongoDB returned no number for an event"))?;
        let document = Document::try_from(event::encode(last, &record));
        document.map_err(|error| failed("an event cannot be encoded").with_source(error))
    }

    /// Wakes the relay after a write. Without it, the relay finds new events when it next polls the collection.
    pub fn notify(&self) {
        self.written.notify_one();
    }
}

#[async_trait]
impl Outbox for MongoOutbox {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        // The server reads 0 as no limit.
        if limit == 0 {
            return Ok(Vec::new());
        }
        // Sorted by their oldest events, the first `limit` documents have the `limit` oldest events, as a majority has them.
        let options = FindOptions::builder()
            .sort(doc! { NUMBER: 1 })
            .projection(doc! { "outbox": 1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .read_concern(ReadConcern::majority())
            .build();
        let found = self.connection.find(&self.connection.on_primary(), &with_events(), options).await?;
        let mut entries = Vec::new();
        for document in found {
            let row = bson::deserialize_from_slice::<Row>(document.as_bytes());
            let id = || raw_id(&document).unwrap_or(Bson::Null);
            entries.extend(row.map_err(|error| event::unreadable(&id(), error))?.entries()?);
        }
        entries.sort_by_key(|entry| entry.id);
        entries.truncate(limit);
        Ok(entries)
    }

    /// Writes with majority, because `pending` reads with majority.
    async fn delete(&self, ids: &[i64]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let (collection, published) = (self.connection.collection.clone(), doc! { NUMBER: { "$in": ids } });
        let remove = doc! { "$pull": { "outbox": { "number": { "$in": ids } } } };
        let delete = async move {
            collection.update_many(published, remove).write_concern(WriteConcern::majority()).await
        };
        self.connection.write(delete).await.map(drop)
    }

    async fn backlog(&self) -> Result<Backlog> {
        let time = self.connection.options.query_timeout;
        let count = || {
            let collection = self.connection.on_primary();
            let stages = [
                doc! { "$match": with_events() },
                doc! { "$unwind": "$outbox" },
                doc! { "$count": "entries" },
            ];
            async move {
                let counted = collection.aggregate(stages).max_time(time);
                counted.await?.try_collect::<Vec<Document>>().await
            }
        };
        let (counted, oldest) = tokio::try_join!(self.connection.query(time, count), self.pending(1))?;
        let entries = counted.first().and_then(|counted| counted.get("entries"));
        let entries = entries.and_then(|entries| entries.as_i64().or(entries.as_i32().map(i64::from)));
        let oldest = oldest.first().map(|entry| entry.time);
        Ok(Backlog::new(entries.unwrap_or_default().unsigned_abs(), oldest))
    }

    async fn wait_for_entries(&self) {
        self.written.notified().await;
    }
}

/// The filter of documents with a pending event.
fn with_events() -> Document {
    doc! { NUMBER: { "$gt": 0 } }
}
