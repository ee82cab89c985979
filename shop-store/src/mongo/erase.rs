//! Erases the purchases of a user, and deletes old ones.
//!
//! An erased document is replaced by a *mark* `{_id, erased: Date}` in the same collection: the index of `_id` then rejects
//! the purchase when a log delivers it again, without another query.

use async_trait::async_trait;
use bson::{Bson, DateTime, Document, doc};
use mongodb::options::FindOptions;
use serde::Deserialize;
use shop_core::ports::{PurchaseErase, Selector};
use shop_core::{PurchaseId, Result, Timestamp, UserId};

use super::MongoStore;
use super::command::WRITE_TIMEOUT;
use super::connection::MongoConnection;
use super::document::{self, ERASED, OF};
use super::insert::InsertReply;
use super::refunds::delete;
use super::select;
use crate::limits::row_limit;

/// The `_id` of the document with the last time seen. The document is stored as an erasure mark, so
/// no listing contains it.
const CLOCK: &str = "last-seen";
/// Maximum number of documents in a command.
const MAX_DOCUMENTS: usize = 1_000;

/// At most 1,000 documents per call.
#[async_trait]
impl PurchaseErase for MongoStore {
    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        let connection = &*self.connection;
        let limit = limit.min(MAX_DOCUMENTS);
        let filter = select::selector_filter(&Selector::User(user.clone()));
        // MongoDB reads a limit of zero as none.
        if limit == 0 {
            return Ok(0);
        }
        let options = FindOptions::builder()
            .limit(row_limit(limit))
            .projection(doc! { "_id": 1 })
            .max_time(connection.options.insert_timeout);
        let found = connection
            .find(&connection.on_primary(), &filter, options.build())
            .await?;
        let ids: Vec<Bson> = found
            .iter()
            .filter_map(|found| document::value(found, "_id"))
            .collect();
        if ids.is_empty() {
            let of_user = doc! { "userid": user.as_str() };
            let waiting = self.delete_waiting(of_user, limit).await?;
            self.mark_erased(&waiting).await?;
            return Ok(waiting.len() as u64);
        }

        let mut updates = Vec::with_capacity(ids.len());
        for id in ids {
            // The user is part of the condition, because a purchase that was erased and stored
            // again meanwhile is another purchase.
            let mut of = filter.clone();
            of.insert("_id", id);
            let mark = doc! { ERASED: DateTime::now() };
            updates.push(doc! { "q": of, "u": mark, "multi": false, "upsert": false });
        }
        Ok(update(connection, updates).await?.matched)
    }

    async fn mark_erased(&self, ids: &[PurchaseId]) -> Result<u64> {
        let mut marked = 0;
        for ids in ids.chunks(MAX_DOCUMENTS) {
            let mut marks = Vec::with_capacity(ids.len());
            for id in ids {
                let mark = doc! { "$setOnInsert": { ERASED: DateTime::now() } };
                let id = document::id_value(id);
                marks.push(doc! { "q": { "_id": id }, "u": mark, "upsert": true });
            }
            let upserted = update(&self.connection, marks).await?.upserted;
            marked += upserted.len() as u64;

            // Waiting refunds are deleted after the marks are written: a refund that begins to wait
            // from now on finds the mark of its purchase.
            let is_new = |reply: &Document| {
                let index = reply.get_i32("index").ok()?;
                ids.get(usize::try_from(index).ok()?).copied()
            };
            let new: Vec<PurchaseId> = upserted.iter().filter_map(is_new).collect();
            if !new.is_empty() {
                self.delete_waiting_of_ids(&new).await?;
            }
        }
        Ok(marked)
    }

    /// A document that was not [migrated](Self::migrate) has no date, and is not deleted.
    async fn delete_before(&self, time: Timestamp, limit: usize) -> Result<u64> {
        let limit = limit.min(MAX_DOCUMENTS);
        // MongoDB reads a limit of zero as none.
        if limit == 0 {
            return Ok(0);
        }
        let collection = self.connection.on_primary();
        let options = FindOptions::builder()
            .projection(doc! { "_id": 1, OF: 1 })
            .sort(doc! { "timestamp": 1, "_id": 1 })
            .limit(row_limit(limit));
        let oldest = self
            .connection
            .find(&collection, &old(time), options.build())
            .await?;

        let mut purchases: Vec<Bson> = Vec::with_capacity(oldest.len());
        let mut refunds: Vec<Bson> = Vec::with_capacity(oldest.len());
        for document in &oldest {
            let id = document::value(document, "_id");
            if let Ok(of) = document.get_str(OF) {
                let of: Option<PurchaseId> = of.parse().ok();
                purchases.extend(of.map(|of| document::id_value(&of)));
                refunds.extend(id);
            } else {
                let purchase = document::id(document).ok();
                refunds.extend(purchase.map(|purchase| document::id_value(&purchase.refund_id())));
                purchases.extend(id);
            }
        }

        // Purchases are deleted before their refunds, because a refund that is inserted meanwhile
        // looks for its purchase afterwards.
        let mut deleted = 0;
        if !oldest.is_empty() {
            let mut of_purchases = old(time);
            of_purchases.insert("_id", doc! { "$in": purchases });
            deleted += delete(self, collection.clone(), of_purchases).await?;
            let of_refunds = doc! { "_id": { "$in": refunds }, OF: { "$exists": true } };
            deleted += delete(self, collection, of_refunds).await?;
        }
        let left = limit.saturating_sub(usize::try_from(deleted).unwrap_or(usize::MAX));
        let waiting = self.delete_waiting(old(time), left).await?;
        Ok(deleted + waiting.len() as u64)
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
        let clock = self.connection.find_by_id(CLOCK.into()).await?;
        Ok(clock.and_then(|clock| document::time(clock.get_datetime("seen").ok()?)))
    }

    async fn store_last_seen(&self, time: Timestamp) -> Result<()> {
        let seen = doc! { "$set": { ERASED: true, "seen": document::date(time) } };
        let store = doc! { "q": { "_id": CLOCK }, "u": seen, "upsert": true };
        update(&self.connection, vec![store]).await.map(drop)
    }
}

/// Sends `updates` as one command, unordered, with majority and journal.
///
/// A command contains at most [`MAX_DOCUMENTS`] updates.
///
/// # Errors
/// - the error of the driver
/// - the error of [`InsertReply::check`], if the server has not made an update durable
pub(super) async fn update(
    connection: &MongoConnection,
    updates: Vec<Document>,
) -> Result<UpdateReply> {
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

/// Returns the condition of documents with a date before `time`. Documents without a date do not
/// match, because a comparison matches values of the same type only.
fn old(time: Timestamp) -> Document {
    doc! { "timestamp": { "$lt": document::date(time) } }
}
