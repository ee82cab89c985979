//! Refunds, the refunds that wait for their purchase, and the currency, in MongoDB.
//!
//! There are no transactions on a server that stands alone. A refund is inserted, and then its purchase is looked for once
//! more: if it was erased or deleted meanwhile, the refund is taken back. Erasure and retention delete purchases before
//! their refunds, so one of the two notices the other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bson::oid::ObjectId;
use bson::raw::RawBsonRef;
use bson::{Bson, DateTime, Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use mongodb::Collection;
use mongodb::options::{FindOptions, WriteConcern};
use shop_core::domain::Currency;
use shop_core::log::Reason;
use shop_core::ports::{
    CurrencyStore, InsertOutcome, Lookup, WaitingColumns, WaitingRefund, WaitingRefunds,
    WaitingSummary, other_currency,
};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result, Timestamp, UserId};

use super::MongoStore;
use super::document::{self, ERASED, OF};
use super::erase::update;
use super::error::mongo_error;
use super::{insert, select};
use crate::refunds::{PurchaseRows, PurchaseState, StoredRow, count_waiting, currency_or, settle};

/// The suffix of the name of the collection of waiting refunds.
const WAITING: &str = "_waiting";
/// The id of the document with the currency, which is the mark of no purchase.
const CURRENCY: &str = "currency";
/// The maximum number of purchases whose waiting refunds are settled together.
const MAX_SETTLED: i64 = 1_000;

#[async_trait]
impl PurchaseRows for MongoStore {
    fn state(&self) -> &PurchaseState {
        &self.state
    }

    async fn insert_purchases(&self, batch: &[Purchase]) -> Result<Vec<InsertOutcome>> {
        insert::insert(&self.connection, batch).await
    }

    async fn insert_refunds(&self, refunds: &[Purchase]) -> Result<Vec<bool>> {
        let outcomes = insert::insert(&self.connection, refunds).await?;
        let mut purchases: Vec<PurchaseId> = Vec::with_capacity(refunds.len());
        for (refund, outcome) in refunds.iter().zip(&outcomes) {
            match outcome {
                InsertOutcome::Inserted => purchases.extend(refund.details.of),
                InsertOutcome::Unknown(error) => return Err(error.clone()),
                _ => {}
            }
        }

        let found = self.find(purchases).await?;
        let has_purchase = |refund: &Purchase| {
            refund
                .details
                .of
                .is_some_and(|of| matches!(found.get(&of), Some(StoredRow::Purchase(_))))
        };
        let mut inserted = Vec::with_capacity(refunds.len());
        for (refund, outcome) in refunds.iter().zip(outcomes) {
            let is_new = matches!(outcome, InsertOutcome::Inserted);
            if is_new && !has_purchase(refund) {
                self.delete_orphans(&[refund.id]).await?;
                inserted.push(false);
            } else {
                inserted.push(is_new);
            }
        }
        Ok(inserted)
    }

    async fn delete_orphans(&self, ids: &[PurchaseId]) -> Result<()> {
        let ids: Vec<Bson> = ids.iter().map(document::id_value).collect();
        let filter = doc! { "_id": { "$in": ids }, OF: { "$exists": true } };
        delete(self, self.connection.on_primary(), filter)
            .await
            .map(drop)
    }

    async fn find(&self, ids: Vec<PurchaseId>) -> Result<HashMap<PurchaseId, StoredRow>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let values = ids.iter().map(document::id_value).collect();
        let stored = insert::stored(&self.connection, values).await?;
        let row = |document: RawDocumentBuf| {
            if document::is_mark(&document) {
                return StoredRow::Mark;
            }
            document::purchase(&document).map_or(StoredRow::Unreadable, StoredRow::Purchase)
        };
        Ok(stored
            .into_iter()
            .map(|(id, document)| (id, row(document)))
            .collect())
    }

    async fn get_or_set_currency(&self, given: &Currency) -> Result<Currency> {
        // As the mark of an erased purchase, it is in no listing.
        let new = doc! { CURRENCY: given.to_string(), ERASED: DateTime::now() };
        let set = doc! { "q": { "_id": CURRENCY }, "u": { "$setOnInsert": new }, "upsert": true };
        update(&self.connection, vec![set]).await?;
        let kept = self.currency().await?;
        kept.ok_or_else(|| {
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
                .write_concern(durable())
                .await
        };
        self.connection.write(insert).await.map(drop)
    }

    async fn waiting_of(&self, purchases: &[PurchaseId]) -> Result<Vec<WaitingRefund>> {
        let ids: Vec<String> = purchases.iter().map(ToString::to_string).collect();
        let filter = doc! { "purchase": { "$in": ids } };
        self.find_waiting(filter, None).await
    }

    async fn remove_waiting(&self, sequences: &[u64]) -> Result<()> {
        self.remove(sequences).await
    }

    async fn refuse_waiting(&self, sequence: u64, reason: &Reason) -> Result<()> {
        let collection = self.waiting_collection();
        let filter = doc! { "_id": sequence.cast_signed() };
        let refuse = doc! { "$set": { "refusal": reason.to_string() } };
        let update = async move {
            collection
                .update_one(filter, refuse)
                .write_concern(durable())
                .await
        };
        self.connection.write(update).await.map(drop)
    }
}

fn durable() -> WriteConcern {
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    concern
}

/// Returns the document of a refund that waits. Its `_id` is the sequence.
fn waiting_document(refund: &Purchase) -> Result<RawDocumentBuf> {
    let columns = WaitingColumns::new(refund)?;
    let mut document = rawdoc! {
        "_id": next_sequence().cast_signed(),
        "id": refund.id.to_string(),
        "userid": refund.user_id.as_str(),
        "timestamp": DateTime::from_millis(refund.timestamp.as_millis()),
        "value": columns.value,
    };
    if let Some(of) = refund.details.of {
        document.append(bson::cstr!("purchase"), of.to_string());
    }
    if let Some(origin) = columns.origin {
        document.append(bson::cstr!("origin"), origin);
    }
    Ok(document)
}

/// The number of low bits of a sequence that tell apart refunds of one millisecond.
const SEQUENCE_BITS: u32 = 22;

/// Returns a number that ascends in this process and, by the clock, between processes. The low bits begin at random, so that
/// two processes rarely choose the same one.
fn next_sequence() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let millis = DateTime::now().timestamp_millis().unsigned_abs();
    // The counter of the driver, which begins at random.
    let [.., high, middle, low] = ObjectId::new().bytes();
    let counter = u64::from(u32::from_be_bytes([0, high, middle, low]) >> 4);
    let now = (millis << SEQUENCE_BITS) | counter;
    let ascending = |last: u64| Some(now.max(last + 1));
    match LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, ascending) {
        Ok(last) | Err(last) => now.max(last + 1),
    }
}

/// Reads a document of [`waiting_document`].
fn read_waiting(document: &RawDocument) -> Result<WaitingRefund> {
    let text = |name: &str| match document.get(name) {
        Ok(Some(RawBsonRef::String(text))) => Some(text.to_owned()),
        _ => None,
    };
    let read = || {
        let sequence = match document.get("_id") {
            Ok(Some(RawBsonRef::Int64(sequence))) => sequence.cast_unsigned(),
            _ => return None,
        };
        let id: PurchaseId = text("id")?.parse().ok()?;
        let columns = WaitingColumns {
            value: text("value")?,
            origin: text("origin"),
        };
        columns.read(sequence, id, text("refusal").as_deref()).ok()
    };
    read().ok_or_else(|| {
        let message = "a document of the collection of waiting refunds is no refund";
        mongo_error(ErrorKind::Corrupt, message)
    })
}

/// Deletes the documents that match `filter`, durably. Returns their number.
pub(super) async fn delete(
    store: &MongoStore,
    collection: Collection<RawDocumentBuf>,
    filter: Document,
) -> Result<u64> {
    let delete = async move {
        collection
            .delete_many(filter)
            .write_concern(durable())
            .await
    };
    Ok(store.connection.write(delete).await?.deleted_count)
}

impl MongoStore {
    /// Returns the collection of the refunds that wait, read from the primary.
    pub(super) fn waiting_collection(&self) -> Collection<RawDocumentBuf> {
        let name = format!("{}{WAITING}", self.connection.collection.name());
        self.connection.database.collection(&name)
    }

    /// Returns the waiting refunds that match `filter`, in the order of their arrival, at most `limit`.
    async fn find_waiting(
        &self,
        filter: Document,
        limit: Option<i64>,
    ) -> Result<Vec<WaitingRefund>> {
        let mut options = FindOptions::default();
        options.sort = Some(doc! { "_id": 1 });
        options.limit = limit;
        let documents = self
            .connection
            .find(&self.waiting_collection(), &filter, options)
            .await?;
        documents
            .iter()
            .map(|document| read_waiting(document))
            .collect()
    }

    /// Returns the refund with this id that waits, if one does.
    pub(super) async fn look_up_waiting(&self, id: &PurchaseId) -> Result<Lookup> {
        let found = self
            .find_waiting(doc! { "id": id.to_string() }, Some(1))
            .await;
        let waiting = none_if_denied(found)?.pop();
        Ok(waiting.map_or(Lookup::Missing, |entry| {
            Lookup::Waiting(entry.refund.without_context())
        }))
    }

    /// Deletes at most `limit` refunds of `user` that wait. Returns their ids.
    pub(super) async fn delete_waiting_of_user(
        &self,
        user: &UserId,
        limit: usize,
    ) -> Result<Vec<PurchaseId>> {
        let filter = doc! { "userid": user.as_str() };
        self.delete_waiting(filter, limit).await
    }

    /// Deletes at most `limit` refunds that wait and have a timestamp before `time`. Returns their number.
    pub(super) async fn delete_waiting_before(&self, time: Timestamp, limit: usize) -> Result<u64> {
        let filter = doc! { "timestamp": { "$lt": select::date(time) } };
        Ok(self.delete_waiting(filter, limit).await?.len() as u64)
    }

    async fn delete_waiting(&self, filter: Document, limit: usize) -> Result<Vec<PurchaseId>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let entries = none_if_denied(self.find_waiting(filter, Some(limit)).await)?;
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let sequences: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
        self.remove(&sequences).await?;
        Ok(entries.iter().map(|entry| entry.refund.id).collect())
    }

    /// Deletes the refunds that wait under these ids, or for purchases with these ids.
    pub(super) async fn delete_waiting_of_ids(&self, ids: &[PurchaseId]) -> Result<()> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let of = |name: &str| doc! { name: { "$in": &ids } };
        let filter = doc! { "$or": [of("purchase"), of("id")] };
        let deleted = delete(self, self.waiting_collection(), filter).await;
        match deleted {
            Err(error) if error.kind() != ErrorKind::Denied => Err(error),
            _ => Ok(()),
        }
    }
}

/// Returns nothing where the user has no right to the collection of waiting refunds: then none was ever kept.
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
        let mut options = FindOptions::default();
        options.sort = Some(doc! { "timestamp": 1 });
        options.limit = Some(1);
        let oldest = self
            .connection
            .find(&self.waiting_collection(), &filter(), options)
            .await?;
        let oldest = oldest
            .first()
            .and_then(|document| document.get_datetime("timestamp").ok())
            .and_then(|time| Timestamp::from_millis(time.timestamp_millis()).ok());
        Ok(WaitingSummary::new(count, oldest))
    }

    async fn settle(&self, limit: usize) -> Result<Vec<WaitingRefund>> {
        // A purchase and its refund may have been written at the same time by two processes, of which one has ended.
        let waiting = doc! { "refusal": { "$exists": false } };
        let waiting = self.find_waiting(waiting, Some(MAX_SETTLED)).await;
        let waiting = none_if_denied(waiting)?;
        let purchases: Vec<PurchaseId> = waiting
            .iter()
            .filter_map(|entry| entry.refund.details.of)
            .collect();
        let found = self.find(purchases).await?;
        let stored: Vec<PurchaseId> = found
            .into_iter()
            .filter(|(_, row)| matches!(row, StoredRow::Purchase(_)))
            .map(|(id, _)| id)
            .collect();
        settle(self, &stored).await?;

        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let refused = doc! { "refusal": { "$exists": true } };
        let refused = none_if_denied(self.find_waiting(refused, Some(limit)).await)?;
        let any = self.find_waiting(doc! {}, Some(1));
        none_if_denied(count_waiting(self, any, Vec::is_empty).await)?;
        Ok(refused)
    }

    async fn remove(&self, sequences: &[u64]) -> Result<()> {
        let sequences: Vec<i64> = sequences
            .iter()
            .map(|sequence| sequence.cast_signed())
            .collect();
        let filter = doc! { "_id": { "$in": sequences } };
        delete(self, self.waiting_collection(), filter)
            .await
            .map(drop)
    }
}

#[async_trait]
impl CurrencyStore for MongoStore {
    async fn currency(&self) -> Result<Option<Currency>> {
        let filter = doc! { "_id": CURRENCY };
        let found = self
            .connection
            .find(
                &self.connection.on_primary(),
                &filter,
                FindOptions::default(),
            )
            .await?;
        let text = found
            .first()
            .and_then(|document| document.get_str(CURRENCY).ok());
        let Some(text) = text else { return Ok(None) };
        text.parse().map(Some).map_err(|invalid| {
            let message = "the document with the currency is not valid";
            mongo_error(ErrorKind::Corrupt, message).with_source(invalid)
        })
    }

    async fn adopt_currency(&self, currency: &Currency) -> Result<()> {
        let kept = currency_or(self, currency).await?;
        if kept != *currency {
            return Err(other_currency(&kept, currency));
        }
        Ok(())
    }
}
