//! Erases the purchases of a user, and deletes old ones.
//!
//! An erased document is replaced by a *mark* `{_id, erased: Date}` in the same collection: the
//! index of `_id` then rejects the purchase when a log delivers it again, without another query. An
//! old document is deleted without a mark.

use async_trait::async_trait;
use bson::{Bson, DateTime, Document, doc};
use mongodb::options::FindOptions;
use serde::Deserialize;
use shop_core::ports::{PurchaseErase, Removed, Selector};
use shop_core::{PurchaseId, Result, Timestamp, UserId};

use super::MongoStore;
use super::connection::MongoConnection;
use super::document::{
    ERASED, REFUNDED_PURCHASE, id_value, member_value, read_id, to_bson_date, to_timestamp,
};
use super::insert::{InsertReply, WRITE_TIMEOUT};
use super::select;
use crate::limits::row_limit;

/// The `_id` of the document with the last time seen. The document is stored as an erasure mark, so
/// no listing contains it.
const CLOCK_ID: &str = "last-seen";
/// The maximum number of documents in a command.
const MAX_DOCUMENTS: usize = 1_000;

/// At most 1,000 documents per call.
#[async_trait]
impl PurchaseErase for MongoStore {
    async fn erase(&self, user: &UserId, limit: usize) -> Result<Removed> {
        let limit = limit.min(MAX_DOCUMENTS);
        // MongoDB reads a limit of zero as none.
        if limit == 0 {
            return Ok(Removed::default());
        }

        let connection = &*self.connection;
        let user_filter = select::selector_filter(&Selector::User(user.clone()));
        let options = FindOptions::builder()
            .limit(row_limit(limit))
            .projection(doc! { "_id": 1 })
            .max_time(connection.options.insert_timeout);
        let documents = connection
            .find(&connection.on_primary(), &user_filter, options.build())
            .await?;
        let ids: Vec<Bson> = documents
            .iter()
            .filter_map(|document| member_value(document, "_id"))
            .collect();

        // The waiting refunds of the user are erased after the last purchase.
        if ids.is_empty() {
            let waiting_filter = doc! { "userid": user.as_str() };
            let waiting_ids = self.delete_waiting(waiting_filter, limit).await?;
            self.write_marks(&waiting_ids).await?;
            return Ok(Removed::from(waiting_ids.len() as u64));
        }

        let mut updates = Vec::with_capacity(ids.len());
        for id in ids {
            // The user is part of the condition, because a purchase that was erased and stored
            // again meanwhile is another purchase.
            let mut filter = user_filter.clone();
            filter.insert("_id", id);
            let mark = doc! { ERASED: DateTime::now() };
            updates.push(doc! { "q": filter, "u": mark });
        }
        Ok(connection.update_documents(updates).await?.matched.into())
    }

    async fn mark_erased(&self, ids: &[PurchaseId]) -> Result<u64> {
        let mut marked = 0;
        for chunk in ids.chunks(MAX_DOCUMENTS) {
            let marked_ids = self.write_marks(chunk).await?;
            marked += marked_ids.len() as u64;

            // Waiting refunds are deleted after the marks are written: a refund that begins to wait
            // from now on finds the mark of its purchase.
            if !marked_ids.is_empty() {
                self.delete_waiting_of_ids(&marked_ids).await?;
            }
        }
        Ok(marked)
    }

    /// A document that was not [migrated](Self::migrate) contains no date, and is not deleted.
    async fn delete_before(&self, time: Timestamp, limit: usize) -> Result<Removed> {
        let limit = limit.min(MAX_DOCUMENTS);
        // MongoDB reads a limit of zero as none.
        if limit == 0 {
            return Ok(Removed::default());
        }

        let collection = self.connection.on_primary();
        let options = FindOptions::builder()
            .projection(doc! { "_id": 1, REFUNDED_PURCHASE: 1 })
            .sort(doc! { "timestamp": 1, "_id": 1 })
            .limit(row_limit(limit));
        let oldest = self
            .connection
            .find(&collection, &dated_before(time), options.build())
            .await?;

        // Each old document is a purchase or a refund. Its id and the id of its counterpart are
        // both collected, because a purchase and its refund are deleted together.
        let mut purchase_ids = Vec::with_capacity(oldest.len());
        let mut refund_ids = Vec::with_capacity(oldest.len());
        for document in &oldest {
            let id = member_value(document, "_id");
            if let Ok(purchase_text) = document.get_str(REFUNDED_PURCHASE) {
                if let Ok(purchase_id) = purchase_text.parse::<PurchaseId>() {
                    purchase_ids.push(id_value(&purchase_id));
                }
                refund_ids.extend(id);
            } else {
                if let Ok(purchase_id) = read_id(document) {
                    refund_ids.push(id_value(&purchase_id.refund_id()));
                }
                purchase_ids.extend(id);
            }
        }

        // Purchases are deleted before their refunds, because a refund that is inserted meanwhile
        // looks for its purchase afterwards.
        let mut deleted = 0;
        if !oldest.is_empty() {
            let mut purchases_filter = dated_before(time);
            purchases_filter.insert("_id", doc! { "$in": purchase_ids });
            deleted += self
                .delete_documents(collection.clone(), purchases_filter)
                .await?;

            let refunds_filter =
                doc! { "_id": { "$in": refund_ids }, REFUNDED_PURCHASE: { "$exists": true } };
            deleted += self.delete_documents(collection, refunds_filter).await?;
        }

        let remaining_limit = limit.saturating_sub(usize::try_from(deleted).unwrap_or(usize::MAX));
        let waiting_ids = self
            .delete_waiting(dated_before(time), remaining_limit)
            .await?;
        Ok(Removed::from(deleted + waiting_ids.len() as u64))
    }

    async fn count_before(&self, time: Timestamp, limit: usize) -> Result<u64> {
        let timeout = self.connection.options.insert_timeout;
        let count = || {
            let collection = self.connection.on_primary();
            async move {
                collection
                    .count_documents(dated_before(time))
                    .limit(limit as u64)
                    .max_time(timeout)
                    .await
            }
        };
        self.connection.query(timeout, count).await
    }

    async fn last_seen(&self) -> Result<Option<Timestamp>> {
        let Some(clock) = self.connection.find_by_id(CLOCK_ID.into()).await? else {
            return Ok(None);
        };
        let seen = clock.get_datetime("seen").ok();
        Ok(seen.and_then(to_timestamp))
    }

    async fn store_last_seen(&self, time: Timestamp) -> Result<()> {
        let set_seen = doc! { "$set": { ERASED: true, "seen": to_bson_date(time) } };
        let update = doc! { "q": { "_id": CLOCK_ID }, "u": set_seen, "upsert": true };
        self.connection
            .update_documents(vec![update])
            .await
            .map(drop)
    }
}

impl MongoStore {
    /// Marks those of at most 1,000 `ids` that are neither stored nor marked, and returns them.
    async fn write_marks(&self, ids: &[PurchaseId]) -> Result<Vec<PurchaseId>> {
        let mut updates = Vec::with_capacity(ids.len());
        for id in ids {
            let filter = doc! { "_id": id_value(id) };
            let mark = doc! { "$setOnInsert": { ERASED: DateTime::now() } };
            updates.push(doc! { "q": filter, "u": mark, "upsert": true });
        }
        let upserted = self.connection.update_documents(updates).await?.upserted;
        Ok(upserted
            .iter()
            .filter_map(|element| {
                let index = usize::try_from(element.get_i32("index").ok()?).ok()?;
                ids.get(index).copied()
            })
            .collect())
    }
}

impl MongoConnection {
    /// Sends `updates` as one command, unordered, with majority and journal.
    ///
    /// A command contains at most [`MAX_DOCUMENTS`] updates.
    ///
    /// # Errors
    /// - the error of the driver
    /// - the error of [`InsertReply::check_durable`], if the server did not make an update durable
    pub(super) async fn update_documents(&self, updates: Vec<Document>) -> Result<UpdateReply> {
        let command = doc! {
            "update": self.collection.name(),
            "updates": updates,
            "ordered": false,
            "writeConcern": { "w": "majority", "j": true, "wtimeout": WRITE_TIMEOUT },
        };
        let database = self.database.clone();
        let run_command = async move {
            let reply = database.run_command(command).await?;
            Ok(bson::deserialize_from_document::<UpdateReply>(reply)?)
        };
        let reply = self.write(run_command).await?;
        reply.errors.check_durable()?;
        Ok(reply)
    }
}

/// The server's reply to an update.
#[derive(Deserialize)]
pub(super) struct UpdateReply {
    /// The number of documents found or inserted.
    #[serde(rename = "n", default)]
    pub(super) matched: u64,
    /// The documents inserted, each as `{index, _id}` with the index of its update.
    #[serde(default)]
    upserted: Vec<Document>,
    #[serde(flatten)]
    errors: InsertReply,
}

/// Returns the condition of documents with a date before `time`. Documents without a date do not
/// match, because a comparison matches values of the same type only.
fn dated_before(time: Timestamp) -> Document {
    doc! { "timestamp": { "$lt": to_bson_date(time) } }
}
