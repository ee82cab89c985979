//! Refunds, the refunds that wait for their purchase, and the currency, in MongoDB.
//!
//! A refund *waits* in a collection of its own until the store contains its purchase.
//!
//! A standalone server does not support transactions. So an insert and a deletion that run at the
//! same time use a fixed order, in which one of the two notices the other:
//!
//! | insert of a refund | erasure, or deletion of old purchases |
//! |---|---|
//! | 1. inserts the refund | 1. deletes the purchase |
//! | 2. looks for its purchase once more, and takes the refund back if the purchase is gone | 2. deletes the refunds of the purchase |

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use mongodb::Collection;
use mongodb::options::{FindOptions, WriteConcern};
use shop_core::domain::Currency;
use shop_core::log::Reason;
use shop_core::ports::{
    CurrencyStore, InsertOutcome, Lookup, WaitingColumns, WaitingRefund, WaitingRefunds,
    WaitingSummary,
};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result};

use super::MongoStore;
use super::document::{ERASED, REFUNDED_PURCHASE, id_value, read_timestamp_member, to_bson_date};
use super::error::mongo_error;
use super::insert;
use crate::limits::row_limit;
use crate::refunds::{
    PurchaseRows, PurchaseState, StoredRow, adopt_currency, id_texts, settle, update_none_waits,
};

/// The suffix that names the collection of waiting refunds after the collection of purchases. A
/// refund waits if the store does not contain its purchase yet.
const WAITING: &str = "_waiting";
/// The `_id` of the document with the currency. The document is stored as an erasure mark, so no
/// listing contains it.
const CURRENCY: &str = "currency";
/// The maximum number of purchases whose waiting refunds are settled together.
const MAX_SETTLED: usize = 1_000;

#[async_trait]
impl PurchaseRows for MongoStore {
    fn state(&self) -> &PurchaseState {
        &self.state
    }

    async fn insert_purchases(&self, batch: &[Purchase]) -> Result<Vec<InsertOutcome>> {
        insert::insert_batch(&self.connection, batch).await
    }

    async fn insert_refunds(&self, refunds: &[Purchase]) -> Result<Vec<bool>> {
        let outcomes = insert::insert_batch(&self.connection, refunds).await?;
        let mut purchase_ids = Vec::with_capacity(refunds.len());
        for (refund, outcome) in refunds.iter().zip(&outcomes) {
            match outcome {
                InsertOutcome::Inserted => purchase_ids.extend(refund.details.of),
                InsertOutcome::Unknown(error) => return Err(error.clone()),
                _ => {}
            }
        }

        // Looks for the purchases once more, because a purchase may have been erased or deleted
        // before its refund was inserted.
        let stored_rows = self.find(&purchase_ids).await?;
        let mut inserted = Vec::with_capacity(refunds.len());
        for (refund, outcome) in refunds.iter().zip(outcomes) {
            let is_new = matches!(outcome, InsertOutcome::Inserted);
            let purchase = refund.details.of.and_then(|id| stored_rows.get(&id));
            let has_purchase = matches!(purchase, Some(StoredRow::Purchase(_)));
            // The refund would never be erased with its purchase, so it is taken back.
            if is_new && !has_purchase {
                self.delete_orphans(&[refund.id]).await?;
            }
            inserted.push(is_new && has_purchase);
        }
        Ok(inserted)
    }

    async fn delete_orphans(&self, ids: &[PurchaseId]) -> Result<()> {
        let id_values: Vec<Bson> = ids.iter().map(id_value).collect();
        let filter = doc! { "_id": { "$in": id_values }, REFUNDED_PURCHASE: { "$exists": true } };
        self.delete_documents(self.connection.on_primary(), filter)
            .await
            .map(drop)
    }

    async fn find(&self, ids: &[PurchaseId]) -> Result<HashMap<PurchaseId, StoredRow>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        insert::find_stored_rows(&self.connection, ids).await
    }

    async fn get_or_set_currency(&self, given: &Currency) -> Result<Currency> {
        // The member `erased` makes the document an erasure mark, which no listing contains.
        let new = doc! { CURRENCY: given.to_string(), ERASED: DateTime::now() };
        let upsert =
            doc! { "q": { "_id": CURRENCY }, "u": { "$setOnInsert": new }, "upsert": true };
        self.connection.update_documents(vec![upsert]).await?;

        let stored_currency = self.currency().await?;
        stored_currency.ok_or_else(|| {
            let message = "MongoDB has not stored the currency: it was deleted meanwhile";
            mongo_error(ErrorKind::Unavailable, message)
        })
    }

    async fn keep_waiting(&self, refunds: &[&Purchase]) -> Result<()> {
        let mut documents = Vec::with_capacity(refunds.len());
        for refund in refunds {
            documents.push(waiting_document(refund)?);
        }
        let collection = self.waiting_collection();
        let insert = async move {
            collection
                .insert_many(documents)
                .write_concern(durable_write_concern())
                .await
        };
        self.connection.write(insert).await.map(drop)
    }

    async fn find_waiting_refunds(&self, purchases: &[PurchaseId]) -> Result<Vec<WaitingRefund>> {
        let filter = doc! { "purchase": { "$in": id_texts(purchases) } };
        self.find_waiting(filter, None).await
    }

    async fn refuse_waiting(&self, sequence: u64, reason: &Reason) -> Result<()> {
        let collection = self.waiting_collection();
        let filter = doc! { "_id": sequence.cast_signed() };
        let refuse = doc! { "$set": { "refusal": reason.to_string() } };
        let update = async move {
            collection
                .update_one(filter, refuse)
                .write_concern(durable_write_concern())
                .await
        };
        self.connection.write(update).await.map(drop)
    }
}

/// Returns the write concern of all writes here: confirmed by a majority, and in the journal.
fn durable_write_concern() -> WriteConcern {
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    concern
}

/// Returns the document of a waiting refund, whose `_id` is a new sequence number.
///
/// # Errors
/// The error of [`WaitingColumns::new`].
fn waiting_document(refund: &Purchase) -> Result<RawDocumentBuf> {
    let columns = WaitingColumns::new(refund)?;
    let mut document = rawdoc! {
        "_id": next_sequence().cast_signed(),
        "id": refund.id.to_string(),
        "userid": refund.user_id.as_str(),
        "timestamp": to_bson_date(refund.timestamp),
        "value": columns.value,
    };
    if let Some(purchase_id) = refund.details.of {
        document.append(bson::cstr!("purchase"), purchase_id.to_string());
    }
    if let Some(origin) = columns.origin {
        document.append(bson::cstr!("origin"), origin);
    }
    Ok(document)
}

/// The number of low bits of a sequence number. They distinguish the refunds of one millisecond.
const SEQUENCE_BITS: u32 = 22;

/// Returns a sequence number, by which waiting refunds are ordered and identified.
///
/// The numbers ascend within this process, and between processes as far as their clocks agree. The
/// high bits are the time in milliseconds. The low bits begin at random, so that two processes
/// rarely choose the same number.
fn next_sequence() -> u64 {
    static LAST: Mutex<u64> = Mutex::new(0);
    let millis = DateTime::now().timestamp_millis().unsigned_abs();
    // The last three bytes of an `ObjectId` are the counter of the driver, which begins at random.
    let [.., high, middle, low] = ObjectId::new().bytes();
    let counter = u64::from(u32::from_be_bytes([0, high, middle, low]) >> 4);
    let now = (millis << SEQUENCE_BITS) | counter;
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    *last = now.max(*last + 1);
    *last
}

/// Parses a waiting refund from a document that [`waiting_document`] created; `None` if a member is
/// missing or not valid.
fn parse_waiting_refund(document: &RawDocument) -> Option<WaitingRefund> {
    let sequence = document.get_i64("_id").ok()?.cast_unsigned();
    let id: PurchaseId = document.get_str("id").ok()?.parse().ok()?;
    let columns = WaitingColumns {
        value: document.get_str("value").ok()?.to_owned(),
        origin: document.get_str("origin").ok().map(str::to_owned),
    };
    let refusal = document.get_str("refusal").ok();
    columns.read(sequence, id, refusal).ok()
}

impl MongoStore {
    /// Deletes the documents of `collection` that match `filter`, durably, and returns their
    /// number.
    pub(super) async fn delete_documents(
        &self,
        collection: Collection<RawDocumentBuf>,
        filter: Document,
    ) -> Result<u64> {
        let delete = async move {
            collection
                .delete_many(filter)
                .write_concern(durable_write_concern())
                .await
        };
        Ok(self.connection.write(delete).await?.deleted_count)
    }

    /// Returns the collection of waiting refunds, with reads from the primary.
    fn waiting_collection(&self) -> Collection<RawDocumentBuf> {
        let name = format!("{}{WAITING}", self.connection.collection.name());
        self.connection.database.collection(&name)
    }

    /// Returns at most `limit` waiting refunds that match `filter`, in the order of their arrival.
    ///
    /// # Errors
    /// - the error of the query
    /// - [`Corrupt`](ErrorKind::Corrupt) if a document is not a waiting refund
    async fn find_waiting(
        &self,
        filter: Document,
        limit: Option<usize>,
    ) -> Result<Vec<WaitingRefund>> {
        let options = FindOptions::builder()
            .sort(doc! { "_id": 1 })
            .limit(limit.map(row_limit))
            .build();
        let documents = self
            .connection
            .find(&self.waiting_collection(), &filter, options)
            .await?;
        let entries: Option<Vec<_>> = documents
            .iter()
            .map(|document| parse_waiting_refund(document))
            .collect();
        let message = "a document of the collection of waiting refunds is no refund";
        entries.ok_or_else(|| mongo_error(ErrorKind::Corrupt, message))
    }

    /// Looks up the waiting refund with this id; [`Lookup::Missing`] if no such refund waits.
    pub(super) async fn look_up_waiting(&self, id: &PurchaseId) -> Result<Lookup> {
        let filter = doc! { "id": id.to_string() };
        let mut entries = none_if_denied(self.find_waiting(filter, Some(1)).await)?;
        Ok(entries.pop().map_or(Lookup::Missing, |entry| {
            Lookup::Waiting(entry.refund.without_context())
        }))
    }

    /// Deletes at most `limit` waiting refunds that match `filter`, and returns their ids.
    pub(super) async fn delete_waiting(
        &self,
        filter: Document,
        limit: usize,
    ) -> Result<Vec<PurchaseId>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let entries = none_if_denied(self.find_waiting(filter, Some(limit)).await)?;
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let sequences: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
        self.remove_waiting(&sequences).await?;
        Ok(entries.iter().map(|entry| entry.refund.id).collect())
    }

    /// Deletes the waiting refunds whose own id, or whose purchase, is among `ids`.
    pub(super) async fn delete_waiting_of_ids(&self, ids: &[PurchaseId]) -> Result<()> {
        let ids = id_texts(ids);
        let filter = doc! { "$or": [{ "purchase": { "$in": &ids } }, { "id": { "$in": &ids } }] };
        let deleted = self
            .delete_documents(self.waiting_collection(), filter)
            .await;
        none_if_denied(deleted).map(drop)
    }
}

/// Replaces the error of a missing right to the collection of waiting refunds by an empty result.
///
/// Without this right, no refund was ever kept there.
fn none_if_denied<T: Default>(result: Result<T>) -> Result<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::Denied => Ok(T::default()),
        result => result,
    }
}

#[async_trait]
impl WaitingRefunds for MongoStore {
    async fn waiting_summary(&self) -> Result<WaitingSummary> {
        let filter = || doc! { "refusal": { "$exists": false } };
        let timeout = self.connection.options.query_timeout;
        let count = || {
            let collection = self.waiting_collection();
            async move { collection.count_documents(filter()).max_time(timeout).await }
        };
        let count = none_if_denied(self.connection.query(timeout, count).await)?;
        if count == 0 {
            return Ok(WaitingSummary::default());
        }
        let options = FindOptions::builder()
            .sort(doc! { "timestamp": 1 })
            .limit(1)
            .build();
        let oldest = self
            .connection
            .find(&self.waiting_collection(), &filter(), options)
            .await?;
        let oldest = oldest
            .first()
            .and_then(|document| read_timestamp_member(document));
        Ok(WaitingSummary::new(count, oldest))
    }

    async fn apply_waiting(&self, limit: usize) -> Result<Vec<WaitingRefund>> {
        // A refund may wait although its purchase is stored: two processes may have written the two
        // at the same time, and the process that would have settled the refund may have ended. So
        // all waiting refunds are tried again.
        let not_refused = doc! { "refusal": { "$exists": false } };
        let waiting = none_if_denied(self.find_waiting(not_refused, Some(MAX_SETTLED)).await)?;
        let purchase_ids: Vec<PurchaseId> = waiting
            .iter()
            .filter_map(|entry| entry.refund.details.of)
            .collect();
        settle(self, &purchase_ids).await?;

        let is_refused = doc! { "refusal": { "$exists": true } };
        let refused_entries = none_if_denied(self.find_waiting(is_refused, Some(limit)).await)?;

        let first_entry = self.find_waiting(doc! {}, Some(1));
        none_if_denied(update_none_waits(self, first_entry).await)?;
        Ok(refused_entries)
    }

    async fn remove_waiting(&self, sequences: &[u64]) -> Result<()> {
        let sequences: Vec<i64> = sequences
            .iter()
            .map(|sequence| sequence.cast_signed())
            .collect();
        let filter = doc! { "_id": { "$in": sequences } };
        self.delete_documents(self.waiting_collection(), filter)
            .await
            .map(drop)
    }
}

#[async_trait]
impl CurrencyStore for MongoStore {
    async fn currency(&self) -> Result<Option<Currency>> {
        let Some(document) = self.connection.find_by_id(CURRENCY.into()).await? else {
            return Ok(None);
        };
        let Ok(text) = document.get_str(CURRENCY) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|invalid| {
            let message = "the document with the currency is not valid";
            mongo_error(ErrorKind::Corrupt, message).with_source(invalid)
        })
    }

    async fn adopt_currency(&self, currency: &Currency) -> Result<()> {
        adopt_currency(self, currency).await
    }
}
