//! Erases the purchases of a user, and deletes old ones.
//!
//! An erased document is replaced by a mark `{_id, erased: Date}` in the same collection: the index of `_id` then rejects
//! the purchase when a log delivers it again, without another query.

use async_trait::async_trait;
use bson::{Bson, DateTime, Document, doc};
use mongodb::options::{FindOptions, WriteConcern};
use serde::Deserialize;
use shop_core::ports::{PurchaseErase, Selector};
use shop_core::{PurchaseId, Result, Timestamp, UserId};

use super::MongoStore;
use super::command::WRITE_TIMEOUT;
use super::connection::Connection;
use super::document::{self, ERASED};
use super::insert::InsertReply;
use super::select;

/// The id of the document with the last time seen, which is a mark of no purchase.
const CLOCK: &str = "last-seen";
/// Maximum number of documents in a command.
const MAX_DOCUMENTS: usize = 1_000;

/// At most 1,000 documents per call.
#[async_trait]
impl PurchaseErase for MongoStore {
    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        let connection = &*self.connection;
        let filter = select::selector_filter(&Selector::User(user.clone()));
        let ids = find_ids(connection, filter.clone(), None, limit).await?;
        if ids.is_empty() {
            return Ok(0);
        }
        let updates: Vec<Document> = ids
            .iter()
            .map(|id| {
                // The user again: a purchase that was erased and stored meanwhile is another one.
                let mut of = filter.clone();
                of.insert("_id", id.clone());
                doc! { "q": of, "u": { ERASED: DateTime::now() }, "multi": false, "upsert": false }
            })
            .collect();
        Ok(update(connection, updates).await?.matched)
    }

    async fn mark_erased(&self, ids: &[PurchaseId]) -> Result<u64> {
        let mut marked = 0;
        for ids in ids.chunks(MAX_DOCUMENTS) {
            let mark = |id| {
                let mark = doc! { "$setOnInsert": { ERASED: DateTime::now() } };
                doc! { "q": { "_id": document::id_value(id) }, "u": mark, "upsert": true }
            };
            marked += update(&self.connection, ids.iter().map(mark).collect())
                .await?
                .upserted
                .len() as u64;
        }
        Ok(marked)
    }

    /// A document that was not [migrated](Self::migrate) has no date, and is not deleted.
    async fn delete_before(&self, time: Timestamp, limit: usize) -> Result<u64> {
        let (connection, old) = (&*self.connection, old(time));
        let ids = find_ids(
            connection,
            old.clone(),
            Some(doc! { "timestamp": 1, "_id": 1 }),
            limit,
        )
        .await?;
        if ids.is_empty() {
            return Ok(0);
        }
        let mut filter = old;
        filter.insert("_id", doc! { "$in": ids });
        let collection = connection.collection.clone();
        let delete = async move {
            collection
                .delete_many(filter)
                .write_concern(WriteConcern::majority())
                .await
        };
        Ok(connection.write(delete).await?.deleted_count)
    }

    async fn count_before(&self, time: Timestamp, limit: usize) -> Result<u64> {
        let timeout = self.connection.options.insert_timeout;
        let count = || {
            let collection = self.connection.on_primary();
            async move {
                collection
                    .count_documents(old(time))
                    .limit(limit as u64)
                    .max_time(timeout)
                    .await
            }
        };
        self.connection.query(timeout, count).await
    }

    async fn last_seen(&self) -> Result<Option<Timestamp>> {
        let (clocks, clock) = (self.connection.on_primary(), doc! { "_id": CLOCK });
        let clock = self
            .connection
            .find(&clocks, &clock, FindOptions::default())
            .await?;
        let seen = clock
            .first()
            .and_then(|clock| clock.get_datetime("seen").ok());
        Ok(seen.and_then(|seen| Timestamp::from_millis(seen.timestamp_millis()).ok()))
    }

    async fn store_last_seen(&self, time: Timestamp) -> Result<()> {
        let collection = self.connection.collection.clone();
        let store = async move {
            let update = doc! { "$set": { ERASED: true, "seen": select::date(time) } };
            let update = collection
                .update_one(doc! { "_id": CLOCK }, update)
                .upsert(true);
            update.write_concern(WriteConcern::majority()).await
        };
        self.connection.write(store).await.map(drop)
    }
}

/// Sends updates as one command, at most [`MAX_DOCUMENTS`].
pub(super) async fn update(connection: &Connection, updates: Vec<Document>) -> Result<UpdateReply> {
    let update = doc! {
        "update": connection.collection.name(),
        "updates": updates,
        "ordered": false,
        "writeConcern": { "w": "majority", "j": true, "wtimeout": WRITE_TIMEOUT },
    };
    let database = connection.database.clone();
    let update = async move {
        let reply = database.run_command(update).await?;
        Ok(bson::deserialize_from_document::<UpdateReply>(reply)?)
    };
    let reply = connection.write(update).await?;
    reply.errors.check()?;
    Ok(reply)
}

/// The server's reply to an update.
#[derive(Debug, Deserialize)]
pub(super) struct UpdateReply {
    /// The number of documents found or inserted.
    #[serde(rename = "n", default)]
    pub(super) matched: u64,
    #[serde(default)]
    upserted: Vec<Document>,
    #[serde(flatten)]
    errors: InsertReply,
}

/// The condition of documents before `time`. A comparison matches values of the same type only.
fn old(time: Timestamp) -> Document {
    doc! { "timestamp": { "$lt": select::date(time) } }
}

/// The ids of the first documents that `filter` finds, at most `limit` and a command's worth.
async fn find_ids(
    connection: &Connection,
    filter: Document,
    sort: Option<Document>,
    limit: usize,
) -> Result<Vec<Bson>> {
    let limit = i64::try_from(limit.min(MAX_DOCUMENTS)).unwrap_or_default();
    // MongoDB reads a limit of zero as none.
    if limit == 0 {
        return Ok(Vec::new());
    }
    let time = connection.options.insert_timeout;
    let options = FindOptions::builder()
        .sort(sort)
        .limit(limit)
        .projection(doc! { "_id": 1 })
        .max_time(time);
    let found = connection
        .find(&connection.on_primary(), &filter, options.build())
        .await?;
    Ok(found
        .iter()
        .filter_map(|found| document::value(found, "_id"))
        .collect())
}
