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
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use mongodb::action::{Action as _, CountDocuments};
use mongodb::options::FindOptions;
use mongodb::{Collection, IndexModel};
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
use super::waiting_state::SWEEP_START;
use super::write::{Update, Write, WriteReply};
use crate::limits::row_limit;
use crate::refunds::{PurchaseRows, PurchaseState, StoredRow, id_texts, settle, update_none_waits};

/// The suffix that names the collection of waiting refunds after the collection of purchases. A
/// refund waits if the store does not contain its purchase yet.
const WAITING: &str = "_waiting";
/// The `_id` of the document with the currency. The document is stored as an erasure mark, so no
/// listing contains it.
const CURRENCY: &str = "currency";
/// The number of waiting refunds in a slice of a sweep.
const SLICE_REFUNDS: usize = 1_000;
/// The maximum number of slices that one sweep reads. The next sweep continues behind them, so each
/// sweep takes a limited time, and all waiting refunds are reached in turn.
const SLICES_PER_SWEEP: usize = 10;

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
        self.delete_purchases(filter).await.map(drop)
    }

    async fn find(&self, ids: &[PurchaseId]) -> Result<HashMap<PurchaseId, StoredRow>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        insert::find_stored_rows(&self.connection, ids).await
    }

    async fn keep_waiting(&self, refunds: &[&Purchase]) -> Result<()> {
        let mut documents = Vec::with_capacity(refunds.len());
        for refund in refunds {
            documents.push(waiting_document(refund)?);
        }
        self.create_waiting_indexes().await;
        self.write_to_waiting(Write::Insert(documents), "a waiting refund")
            .await
            .map(drop)
    }

    async fn find_waiting_refunds(&self, purchases: &[PurchaseId]) -> Result<Vec<WaitingRefund>> {
        let filter = doc! { "purchase": { "$in": id_texts(purchases) } };
        self.find_waiting(filter, None).await
    }

    async fn refuse_waiting(&self, sequence: u64, reason: &Reason) -> Result<()> {
        let refuse = doc! { "$set": { "refusal": reason.to_string() } };
        let update = Update::new(sequence.cast_signed(), doc! {}, refuse);
        self.write_to_waiting(Write::Update(vec![update]), "a refused refund")
            .await
            .map(drop)
    }
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
///
/// The server compares sequence numbers as signed 64-bit integers, so 43 bits are left for the
/// milliseconds since 1970. They last until the year 2248.
const SEQUENCE_BITS: u32 = 20;

/// Returns a sequence number, by which waiting refunds are ordered and identified.
///
/// The numbers ascend within this process, and between processes as far as their clocks agree. The
/// high bits are the time in milliseconds. The low bits begin at random, so that two processes
/// rarely choose the same number.
fn next_sequence() -> u64 {
    static LAST: Mutex<u64> = Mutex::new(0);
    let now = sequence_at(DateTime::now());
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    *last = now.max(*last + 1);
    *last
}

/// Returns a sequence number of the millisecond `time`.
fn sequence_at(time: DateTime) -> u64 {
    let millis = time.timestamp_millis().unsigned_abs();
    // The last three bytes of an `ObjectId` are the counter of the driver, which begins at random.
    let [.., high, middle, low] = ObjectId::new().bytes();
    let counter = u64::from(u32::from_be_bytes([0, high, middle, low]));
    (millis << SEQUENCE_BITS) | (counter % (1 << SEQUENCE_BITS))
}

/// Parses a waiting refund from a document that [`waiting_document`] created; `None` if a member is
/// missing or not valid.
fn parse_waiting_refund(document: &RawDocument) -> Option<WaitingRefund> {
    let sequence = document.get_i64("_id").ok()?.cast_unsigned();
    let id = PurchaseId::from_stored(document.get_str("id").ok()?).ok()?;
    let columns = WaitingColumns {
        value: document.get_str("value").ok()?.to_owned(),
        origin: document.get_str("origin").ok().map(str::to_owned),
    };
    let refusal = document.get_str("refusal").ok();
    columns.read(sequence, id, refusal).ok()
}

impl MongoStore {
    /// Sends `write` to the collection of waiting refunds, as [`MongoConnection::write_all`] does.
    ///
    /// [`MongoConnection::write_all`]: super::connection::MongoConnection::write_all
    async fn write_to_waiting(&self, write: Write, what: &'static str) -> Result<WriteReply> {
        self.connection
            .write_all(&self.waiting_collection(), write, what)
            .await
    }

    /// Returns the collection of waiting refunds, with reads from the primary.
    pub(super) fn waiting_collection(&self) -> Collection<RawDocumentBuf> {
        let name = format!("{}{WAITING}", self.connection.collection.name());
        self.connection.database.collection(&name)
    }

    /// Returns at most `limit` waiting refunds that match `filter`, in the order of their arrival.
    ///
    /// # Errors
    /// - the error of the query
    /// - [`Corrupt`](ErrorKind::Corrupt) if a document is not a waiting refund
    pub(super) async fn find_waiting(
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

    /// Creates the indexes of the collection of waiting refunds, once in this process.
    ///
    /// While refunds wait, each insert of purchases looks for the refunds of these purchases. With
    /// the indexes, the insert does not take longer the more refunds wait for other purchases.
    /// Without them the store works too, so an error is logged, and the next refund that begins to
    /// wait tries again.
    async fn create_waiting_indexes(&self) {
        if self.waiting.has_indexes.load(Ordering::Relaxed) {
            return;
        }
        let indexes = ["purchase", "id", "userid"].map(|member| {
            let keys = doc! { member: 1_i32 };
            IndexModel::builder().keys(keys).build()
        });
        let collection = self.waiting_collection();
        let create = async move { collection.create_indexes(indexes).await };
        match self.connection.write(create).await {
            Ok(_names) => self.waiting.has_indexes.store(true, Ordering::Relaxed),
            Err(error) => {
                tracing::debug!(error = %error.chain(), "the indexes of waiting refunds cannot be created");
            }
        }
    }

    /// Settles the waiting refunds of stored purchases, by one sweep.
    ///
    /// A refund may wait although its purchase is stored: two processes may have written the two at
    /// the same time, and the process that would have settled the refund may have ended. Most
    /// waiting refunds have no stored purchase, so a sweep reads no more of them than their ids.
    async fn sweep_waiting(&self) -> Result<()> {
        for _ in 0..SLICES_PER_SWEEP {
            let position = self.waiting.sweep_position.load(Ordering::Relaxed);
            let slice = self.read_slice(position).await?;
            let purchase_ids: Vec<PurchaseId> = slice
                .iter()
                .filter_map(|document| {
                    PurchaseId::from_stored(document.get_str("purchase").ok()?).ok()
                })
                .collect();
            // A slice that is not full is the last one, so the next sweep begins again. The position
            // moves before the refunds are settled: if one of them fails again and again, it does
            // not keep the sweeps from the others.
            let last_sequence = slice
                .last()
                .filter(|_| slice.len() == SLICE_REFUNDS)
                .and_then(|document| document.get_i64("_id").ok());
            let next_position = last_sequence.unwrap_or(SWEEP_START);
            self.waiting
                .sweep_position
                .store(next_position, Ordering::Relaxed);

            let stored_rows = self.find(&purchase_ids).await?;
            let stored_ids: Vec<PurchaseId> = stored_rows
                .into_iter()
                .filter(|(_, row)| matches!(row, StoredRow::Purchase(_)))
                .map(|(id, _)| id)
                .collect();
            settle(self, &stored_ids).await?;
            if next_position == SWEEP_START {
                break;
            }
        }
        Ok(())
    }

    /// Reads the sequence numbers and the purchase ids of the next waiting refunds behind the
    /// sequence number `position`, without refused ones.
    async fn read_slice(&self, position: i64) -> Result<Vec<RawDocumentBuf>> {
        let filter = doc! { "_id": { "$gt": position }, "refusal": { "$exists": false } };
        let options = FindOptions::builder()
            .projection(doc! { "_id": 1, "purchase": 1 })
            .sort(doc! { "_id": 1 })
            .limit(row_limit(SLICE_REFUNDS))
            .build();
        self.connection
            .find(&self.waiting_collection(), &filter, options)
            .await
    }

    /// Looks up the waiting refund with this id; [`Lookup::Missing`] if no such refund waits.
    pub(super) async fn look_up_waiting(&self, id: &PurchaseId) -> Result<Lookup> {
        let filter = doc! { "id": id.to_string() };
        let mut entries = self.find_waiting(filter, Some(1)).await?;
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
        let entries = self.find_waiting(filter, Some(limit)).await?;
        let sequences: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
        self.remove_waiting(&sequences).await?;
        Ok(entries.iter().map(|entry| entry.refund.id).collect())
    }

    /// Deletes the waiting refunds whose own id, or whose purchase, is among `ids`.
    pub(super) async fn delete_waiting_of_ids(&self, ids: &[PurchaseId]) -> Result<()> {
        let ids = id_texts(ids);
        let filter = doc! { "$or": [{ "purchase": { "$in": &ids } }, { "id": { "$in": &ids } }] };
        self.write_to_waiting(Write::Delete(filter), "a deletion")
            .await
            .map(drop)
    }
}

#[async_trait]
impl WaitingRefunds for MongoStore {
    async fn waiting_summary(&self) -> Result<WaitingSummary> {
        let filter = || doc! { "refusal": { "$exists": false } };
        let timeout = self.connection.options.query_timeout;
        let count = |collation| {
            let collection = self.waiting_collection();
            async move {
                collection
                    .count_documents(filter())
                    .optional(collation, CountDocuments::collation)
                    .max_time(timeout)
                    .await
            }
        };
        let count = self.connection.query(timeout, count).await?;
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
        self.sweep_waiting().await?;

        let is_refused = doc! { "refusal": { "$exists": true } };
        let refused_entries = self.find_waiting(is_refused, Some(limit)).await?;

        let first_entry = self.find_waiting(doc! {}, Some(1));
        update_none_waits(self, first_entry).await?;
        Ok(refused_entries)
    }

    async fn remove_waiting(&self, sequences: &[u64]) -> Result<()> {
        if sequences.is_empty() {
            return Ok(());
        }
        let sequences: Vec<i64> = sequences
            .iter()
            .map(|sequence| sequence.cast_signed())
            .collect();
        let filter = doc! { "_id": { "$in": sequences } };
        self.write_to_waiting(Write::Delete(filter), "a deletion")
            .await
            .map(drop)
    }
}

#[async_trait]
impl CurrencyStore for MongoStore {
    async fn currency(&self) -> Result<Option<Currency>> {
        let document = self.connection.find_by_id(CURRENCY.into()).await?;
        let text = document
            .as_ref()
            .and_then(|document| document.get_str(CURRENCY).ok());
        let currency = text.map(str::parse).transpose().map_err(|invalid| {
            let message = "the document with the currency is not valid";
            mongo_error(ErrorKind::Corrupt, message).with_source(invalid)
        })?;
        Ok(self.state.remember_currency(currency))
    }

    async fn adopt_currency(&self, currency: &Currency) -> Result<Currency> {
        // The member `erased` makes the document an erasure mark, which no listing contains.
        let members = doc! { CURRENCY: currency.to_string(), ERASED: DateTime::now() };
        let insert = Update::insert_missing(CURRENCY, members);
        self.write_to_purchases(Write::Update(vec![insert]), "the currency")
            .await?;

        let stored_currency = self.currency().await?;
        stored_currency.ok_or_else(|| {
            let message = "MongoDB has not stored the currency: it was deleted meanwhile";
            mongo_error(ErrorKind::Unavailable, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_ascend_in_the_order_of_the_server_beyond_2039() {
        let days = ["2026-01-01", "2039-09-06", "2039-09-08", "2200-01-01"];
        let sequences = days.map(|day| {
            let time = DateTime::parse_rfc3339_str(format!("{day}T00:00:00Z")).unwrap();
            sequence_at(time).cast_signed()
        });
        assert!(sequences[0] > 0 && sequences.is_sorted(), "{sequences:?}");
        assert!(next_sequence() < next_sequence());
    }
}
