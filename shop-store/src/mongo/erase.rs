//! Erases the purchases of a user, and deletes old ones.
//!
//! An erased document is replaced by a *mark* `{_id, erased: Date}` in the same collection: the
//! index of `_id` then rejects the purchase when a log delivers it again, without another query. An
//! old document is deleted without a mark.

use async_trait::async_trait;
use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use mongodb::action::{Action as _, CountDocuments};
use mongodb::options::FindOptions;
use shop_core::ports::{Deletion, PurchaseErase, Removed, Selector};
use shop_core::{ErrorKind, PurchaseId, Result, Timestamp, UserId};

use super::MongoStore;
use super::document::{
    ERASED, REFUNDED_PURCHASE, id_value, member_value, read_id, to_bson_date, to_timestamp,
};
use super::error::mongo_error;
use super::select;
use super::waiting::WaitingFilter;
use super::write::{Update, Write};
use crate::limits::row_limit;

/// The `_id` of the document with the last time seen. The document is stored as an erasure mark, so
/// no listing contains it.
const CLOCK_ID: &str = "last-seen";
/// The mark of an erased purchase, in words for an error.
const MARK: &str = "the mark {_id, erased} of an erased purchase";
/// The maximum number of documents that a call erases, marks or deletes.
const MAX_DOCUMENTS: usize = 1_000;
/// The maximum number of times that an erasure looks for the documents of a user, while other
/// processes change the documents that it found.
const MAX_ATTEMPTS: usize = 5;

/// At most 1,000 documents per call.
#[async_trait]
impl PurchaseErase for MongoStore {
    async fn erase(&self, user: &UserId, limit: usize) -> Result<Removed> {
        let limit = limit.min(MAX_DOCUMENTS);
        // MongoDB reads a limit of zero as none.
        if limit == 0 {
            return Ok(Removed::default());
        }

        let selector = Selector::User(user.clone());
        let user_filter = select::selector_filter(&selector, &self.connection.reader);
        for _ in 0..MAX_ATTEMPTS {
            let ids = self.find_ids(&user_filter, limit).await?;
            // The waiting refunds of the user are erased after the last purchase.
            if ids.is_empty() {
                return self.erase_waiting(user, limit).await;
            }

            let mut updates = Vec::with_capacity(ids.len());
            for id in ids {
                // The user is part of the condition, because a purchase that was erased and stored
                // again meanwhile is another purchase.
                updates.push(Update::new(id, user_filter.clone(), new_mark()));
            }
            let erased = self
                .write_to_purchases(Write::Update(updates), MARK)
                .await?
                .count;
            if erased > 0 {
                return Ok(erased.into());
            }
            // Another process has changed all of these documents. The next attempt finds the
            // documents that are still there.
        }

        let message = "documents of the user were found and not erased, again and again";
        Err(mongo_error(ErrorKind::Unavailable, message))
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

    /// A document of another program without a date is not deleted before it is
    /// [migrated](Self::migrate).
    async fn delete_before(
        &self,
        time: Timestamp,
        limit: usize,
        deletion: Deletion,
    ) -> Result<Removed> {
        if deletion == Deletion::DryRun {
            return self.count_before(time, limit).await.map(Removed::from);
        }
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

        // Purchases are deleted before their refunds, because a refund that is inserted meanwhile
        // looks for its purchase afterwards.
        let mut deleted = 0;
        if !oldest.is_empty() {
            let ids = IdsToDelete::from_documents(&oldest);
            let mut purchases_filter = dated_before(time);
            purchases_filter.insert("_id", doc! { "$in": ids.purchases });
            deleted += self.delete_purchases(purchases_filter).await?;

            let refunds_filter =
                doc! { "_id": { "$in": ids.refunds }, REFUNDED_PURCHASE: { "$exists": true } };
            deleted += self.delete_purchases(refunds_filter).await?;
        }

        let remaining_limit = limit.saturating_sub(usize::try_from(deleted).unwrap_or(usize::MAX));
        let deleted_waiting = self
            .waiting_refunds
            .delete_limited(WaitingFilter::Before(time), remaining_limit)
            .await?;
        Ok(Removed::from(deleted + deleted_waiting))
    }

    async fn last_seen(&self, stored: Option<Timestamp>) -> Result<Option<Timestamp>> {
        if let Some(time) = stored {
            let members = doc! { ERASED: true, "seen": to_bson_date(time) };
            let upsert = Update::upsert(CLOCK_ID, members);
            self.write_to_purchases(Write::Update(vec![upsert]), "the time of retention")
                .await?;
            return Ok(Some(time));
        }
        let Some(clock) = self.connection.find_by_id(CLOCK_ID.into()).await? else {
            return Ok(None);
        };
        // A time that another program has made unreadable counts as missing, and is stored again.
        let last_seen = clock.get_datetime("seen").ok();
        Ok(last_seen.and_then(to_timestamp))
    }
}

impl MongoStore {
    /// Counts the documents before `time`, up to `limit`.
    async fn count_before(&self, time: Timestamp, limit: usize) -> Result<u64> {
        // The count examines many documents, so it may take longer than a listing.
        let timeout = self.connection.options.insert_timeout;
        let count = |collation| {
            let collection = self.connection.on_primary();
            async move {
                collection
                    .count_documents(dated_before(time))
                    .optional(collation, CountDocuments::collation)
                    .limit(limit as u64)
                    .max_time(timeout)
                    .await
            }
        };
        self.connection.query(timeout, count).await
    }

    /// Returns the `_id` of at most `limit` documents that match `filter`.
    ///
    /// The query is part of an erasure. So it has the timeout of writes, and reads from the primary,
    /// because a secondary may lack the latest purchases of the user.
    ///
    /// # Errors
    /// The error of the query.
    async fn find_ids(&self, filter: &Document, limit: usize) -> Result<Vec<Bson>> {
        let connection = &self.connection;
        let options = FindOptions::builder()
            .limit(row_limit(limit))
            .projection(doc! { "_id": 1 })
            .max_time(connection.options.insert_timeout);
        let documents = connection
            .find(&connection.on_primary(), filter, options.build())
            .await?;
        // Every document has an `_id`, so none is left out.
        Ok(documents
            .iter()
            .filter_map(|document| member_value(document, "_id"))
            .collect())
    }

    /// Erases at most `limit` waiting refunds of `user`.
    ///
    /// The refunds are marked before they are deleted. If the collection refuses the marks, the
    /// refunds stay, and the next erasure finds them.
    async fn erase_waiting(&self, user: &UserId, limit: usize) -> Result<Removed> {
        let filter = WaitingFilter::OfUser(user);
        let entries = self.waiting_refunds.find_at_most(limit, filter).await?;
        let ids: Vec<PurchaseId> = entries.iter().map(|entry| entry.refund.id).collect();
        self.write_marks(&ids).await?;
        let sequences: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
        self.waiting_refunds
            .delete(WaitingFilter::WithSequences(&sequences))
            .await?;
        Ok(Removed::from(entries.len() as u64))
    }

    /// Writes the mark of an erased purchase under each of `ids` that no document has yet, and
    /// returns these ids.
    async fn write_marks(&self, ids: &[PurchaseId]) -> Result<Vec<PurchaseId>> {
        let mut updates = Vec::with_capacity(ids.len());
        for id in ids {
            updates.push(Update::insert_missing(id_value(id), new_mark()));
        }
        let reply = self
            .write_to_purchases(Write::Update(updates), MARK)
            .await?;
        // The reply contains the positions of the updates that inserted a document. Each update has
        // the position of its id.
        Ok(reply
            .upserted
            .iter()
            .filter_map(|position| ids.get(*position).copied())
            .collect())
    }

    /// Deletes the purchases and refunds that match `filter`, and returns their number.
    pub(super) async fn delete_purchases(&self, filter: Document) -> Result<u64> {
        let reply = self
            .write_to_purchases(Write::Delete(filter), "a deletion")
            .await?;
        Ok(reply.count)
    }
}

/// Returns the members of the mark of an erased purchase, with the present time.
fn new_mark() -> Document {
    doc! { ERASED: DateTime::now() }
}

/// Returns the filter of documents with a date before `time`. Documents without a date do not match,
/// because MongoDB compares values of the same type only.
fn dated_before(time: Timestamp) -> Document {
    doc! { "timestamp": { "$lt": to_bson_date(time) } }
}

/// The ids of the documents that are deleted together with old documents: a purchase and its refund
/// are deleted together.
#[derive(Debug, Default, PartialEq)]
struct IdsToDelete {
    purchases: Vec<Bson>,
    refunds: Vec<Bson>,
}

impl IdsToDelete {
    /// Collects the id of each of `documents`, which are purchases and refunds, and the id of its
    /// counterpart.
    ///
    /// A counterpart whose id is not valid cannot be stored, so it is passed over.
    fn from_documents(documents: &[RawDocumentBuf]) -> Self {
        let mut ids = Self::default();
        for document in documents {
            let id = member_value(document, "_id");
            if let Ok(purchase_text) = document.get_str(REFUNDED_PURCHASE) {
                if let Ok(purchase_id) = PurchaseId::from_stored(purchase_text) {
                    ids.purchases.push(id_value(&purchase_id));
                }
                ids.refunds.extend(id);
            } else {
                if let Ok(purchase_id) = read_id(document) {
                    ids.refunds.push(id_value(&purchase_id.refund_id()));
                }
                ids.purchases.extend(id);
            }
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_deleted_with_its_counterpart() {
        let purchase: PurchaseId = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
        let [purchase_text, refund_text] =
            [purchase, purchase.refund_id()].map(|id| id.to_string());
        let [purchase_value, refund_value] =
            [&purchase_text, &refund_text].map(|id| Bson::String(id.clone()));
        let both = IdsToDelete {
            purchases: vec![purchase_value],
            refunds: vec![refund_value.clone()],
        };
        let refund_alone = IdsToDelete {
            purchases: Vec::new(),
            refunds: vec![refund_value],
        };
        let number_alone = IdsToDelete {
            purchases: vec![Bson::Int32(7)],
            refunds: Vec::new(),
        };
        for (document, ids) in [
            (doc! { "_id": &*purchase_text }, &both),
            (
                doc! { "_id": &*refund_text, REFUNDED_PURCHASE: &*purchase_text },
                &both,
            ),
            (
                doc! { "_id": &*refund_text, REFUNDED_PURCHASE: "x" },
                &refund_alone,
            ),
            (doc! { "_id": 7_i32 }, &number_alone),
        ] {
            let document = RawDocumentBuf::try_from(document).unwrap();
            assert_eq!(IdsToDelete::from_documents(&[document]), *ids);
        }
    }
}
