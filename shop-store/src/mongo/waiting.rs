//! The collection of refunds that wait until the store contains their purchase.
//!
//! While refunds wait, each insert of purchases reads this collection, and so does each look-up of
//! an id that is not stored. Neither may take longer the more refunds wait for other purchases.
//! So all commands select documents by a [`WaitingFilter`], and there is an index for each filter.
//!
//! | `_id` | `id` | `purchase` | `userid` | `timestamp` | `value`, `origin` | `refusal` |
//! |---|---|---|---|---|---|---|
//! | the sequence number | id of the refund | id of its purchase | its user | its time | [`WaitingColumns`] | why it can never be applied |

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bson::oid::ObjectId;
use bson::{DateTime, Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use mongodb::action::{Action as _, CountDocuments};
use mongodb::options::{FindOptions, IndexOptions};
use mongodb::{Collection, IndexModel};
use shop_core::log::Reason;
use shop_core::ports::{WaitingColumns, WaitingRefund, WaitingSummary};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result, Timestamp, UserId};

use super::connection::MongoConnection;
use super::document::{MIN_DATE, to_bson_date, to_timestamp};
use super::error::mongo_error;
use super::write::{Update, Write};
use crate::limits::row_limit;
use crate::refunds::id_texts;
use crate::waiting::SweepEntry;

/// The suffix that names the collection of waiting refunds after the collection of purchases.
const SUFFIX: &str = "_waiting";
/// The members with an index of their own. [`REFUSAL`] is among them.
const INDEXED_MEMBERS: [&str; 5] = ["purchase", "id", "userid", "timestamp", REFUSAL];
/// The member of a refused refund with the reason. Its index contains the refused refunds only.
const REFUSAL: &str = "refusal";

/// The waiting refunds that a command reads, counts or deletes.
///
/// A filter has conditions on one indexed member, and its order is the order of that index. So the
/// server examines only documents that match, and has no other index to choose.
#[derive(Debug, Clone, Copy)]
pub(super) enum WaitingFilter<'a> {
    /// The refunds of these purchases.
    OfPurchases(&'a [PurchaseId]),
    /// The refunds with this id.
    WithId(&'a PurchaseId),
    /// The refunds with these ids, and the refunds of purchases with these ids.
    InvolvingIds(&'a [PurchaseId]),
    /// The refunds of this user.
    OfUser(&'a UserId),
    /// The refunds before this time.
    Before(Timestamp),
    /// All refunds.
    All,
    /// The refunds that are not refused, the oldest first.
    NotRefused,
    /// The refused refunds.
    Refused,
    /// The refunds with these sequence numbers.
    WithSequences(&'a [u64]),
    /// The refunds after this sequence number, in the order of their arrival.
    AfterSequence(u64),
}

impl WaitingFilter<'_> {
    /// Returns the filter document that MongoDB gets.
    ///
    /// Some filters have a condition that every refund meets, so that the server reads an index. A
    /// sequence number is stored as a signed integer, because BSON has no unsigned one.
    pub(super) fn condition(&self) -> Document {
        match self {
            Self::OfPurchases(ids) => doc! { "purchase": { "$in": id_texts(ids) } },
            Self::WithId(id) => doc! { "id": id.to_string() },
            Self::InvolvingIds(ids) => {
                let id_texts = id_texts(ids);
                doc! { "$or": [{ "purchase": { "$in": &id_texts } }, { "id": { "$in": &id_texts } }] }
            }
            Self::OfUser(user) => doc! { "userid": user.as_str() },
            Self::Before(time) => doc! { "timestamp": { "$lt": to_bson_date(*time) } },
            // Every refund has a date, so this bound leaves none out.
            Self::All => doc! { "timestamp": { "$gte": MIN_DATE } },
            Self::NotRefused => {
                doc! { "timestamp": { "$gte": MIN_DATE }, REFUSAL: { "$exists": false } }
            }
            Self::Refused => doc! { REFUSAL: { "$exists": true } },
            Self::WithSequences(sequences) => {
                let signed_sequences: Vec<i64> = sequences
                    .iter()
                    .map(|sequence| sequence.cast_signed())
                    .collect();
                doc! { "_id": { "$in": signed_sequences } }
            }
            Self::AfterSequence(sequence) => doc! { "_id": { "$gt": sequence.cast_signed() } },
        }
    }

    /// Returns the order in which the server returns the documents, or `None` for any order.
    pub(super) fn order(&self) -> Option<Document> {
        match self {
            Self::NotRefused => Some(doc! { "timestamp": 1 }),
            Self::AfterSequence(_) => Some(doc! { "_id": 1 }),
            // Callers of the other filters sort the refunds themselves, or need no order.
            _ => None,
        }
    }
}

/// The collection of waiting refunds. It is created with the first refund that waits.
#[derive(Debug)]
pub(super) struct WaitingCollection {
    connection: Arc<MongoConnection>,
    /// Whether this process has created the indexes of the collection.
    has_indexes: AtomicBool,
}

impl WaitingCollection {
    /// Returns the collection of the refunds that wait for purchases in the collection of
    /// `connection`.
    pub(super) fn new(connection: Arc<MongoConnection>) -> Self {
        Self {
            connection,
            has_indexes: AtomicBool::new(false),
        }
    }

    /// Returns the collection, with reads from the primary.
    pub(super) fn collection(&self) -> Collection<RawDocumentBuf> {
        let name = format!("{}{SUFFIX}", self.connection.collection.name());
        self.connection.database.collection(&name)
    }

    /// Adds `refunds`, durably.
    pub(super) async fn insert(&self, refunds: &[&Purchase]) -> Result<()> {
        let mut documents = Vec::with_capacity(refunds.len());
        for refund in refunds {
            documents.push(waiting_document(refund)?);
        }
        self.create_indexes().await;
        self.write(Write::Insert(documents), "a waiting refund")
            .await
    }

    /// Stores the `reason` why the refunds with these `sequences` can never be applied, durably.
    pub(super) async fn refuse(&self, sequences: &[u64], reason: &Reason) -> Result<()> {
        let mut updates = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let refuse = doc! { "$set": { REFUSAL: reason.to_string() } };
            updates.push(Update::new(sequence.cast_signed(), doc! {}, refuse));
        }
        self.write(Write::Update(updates), "a refused refund").await
    }

    /// Deletes the refunds that match `filter`, durably.
    pub(super) async fn delete(&self, filter: WaitingFilter<'_>) -> Result<()> {
        self.write(Write::Delete(filter.condition()), "a deletion")
            .await
    }

    /// Sends `write` to the collection, as [`MongoConnection::write_all`] does.
    async fn write(&self, write: Write, document_words: &'static str) -> Result<()> {
        self.connection
            .write_all(&self.collection(), write, document_words)
            .await
            .map(drop)
    }

    /// Deletes at most `limit` refunds that match `filter`, and returns their number.
    pub(super) async fn delete_limited(
        &self,
        filter: WaitingFilter<'_>,
        limit: usize,
    ) -> Result<u64> {
        // MongoDB reads a limit of zero as none.
        if limit == 0 {
            return Ok(0);
        }
        let entries = self.find_at_most(limit, filter).await?;
        let sequences: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
        if !sequences.is_empty() {
            self.delete(WaitingFilter::WithSequences(&sequences))
                .await?;
        }
        Ok(sequences.len() as u64)
    }

    /// Returns all refunds that match `filter`, in the order of their arrival.
    ///
    /// # Errors
    /// - the error of the query
    /// - [`Corrupt`](ErrorKind::Corrupt) if a document is not a waiting refund
    pub(super) async fn find_all(&self, filter: WaitingFilter<'_>) -> Result<Vec<WaitingRefund>> {
        let no_limit = None;
        let all_members = None;
        let documents = self.find_documents(filter, no_limit, all_members).await?;
        parse_waiting_refunds(&documents)
    }

    /// Returns at most `limit` refunds that match `filter`, in the order of their arrival.
    ///
    /// # Errors
    /// The errors of [`find_all`](Self::find_all)
    pub(super) async fn find_at_most(
        &self,
        limit: usize,
        filter: WaitingFilter<'_>,
    ) -> Result<Vec<WaitingRefund>> {
        let limit = Some(row_limit(limit));
        let all_members = None;
        let documents = self.find_documents(filter, limit, all_members).await?;
        parse_waiting_refunds(&documents)
    }

    /// Returns the first `limit` refunds after the sequence number `position`, including refused
    /// refunds. Also creates the indexes of the collection if it contains such refunds.
    pub(super) async fn find_behind(&self, position: u64, limit: usize) -> Result<Vec<SweepEntry>> {
        let projection = doc! { "_id": 1, "purchase": 1, REFUSAL: 1 };
        let filter = WaitingFilter::AfterSequence(position);
        let documents = self
            .find_documents(filter, Some(row_limit(limit)), Some(projection))
            .await?;

        // A sweep sees refunds that another process, or an earlier version, has kept. An empty
        // collection may have been dropped, together with its indexes.
        if documents.is_empty() {
            self.has_indexes.store(false, Ordering::Relaxed);
        } else {
            self.create_indexes().await;
        }
        // A document without a sequence number is not from this store.
        Ok(documents
            .iter()
            .filter_map(|document| read_sweep_entry(document))
            .collect())
    }

    /// Returns the number of refunds that are not refused, and the time of the oldest one.
    ///
    /// The server counts entries of indexes, and reads one document.
    pub(super) async fn summary(&self) -> Result<WaitingSummary> {
        let total = self.count(WaitingFilter::All).await?;
        if total == 0 {
            return Ok(WaitingSummary::default());
        }
        let refused = self.count(WaitingFilter::Refused).await?;
        let projection = doc! { "timestamp": 1 };
        let oldest_documents = self
            .find_documents(WaitingFilter::NotRefused, Some(1), Some(projection))
            .await?;
        let oldest_time = oldest_documents
            .first()
            .and_then(|document| document.get_datetime("timestamp").ok())
            .and_then(to_timestamp);
        Ok(WaitingSummary::new(
            total.saturating_sub(refused),
            oldest_time,
        ))
    }

    /// Counts the refunds that match `filter`.
    async fn count(&self, filter: WaitingFilter<'_>) -> Result<u64> {
        let timeout = self.connection.options.query_timeout;
        let count = |collation| {
            let collection = self.collection();
            let condition = filter.condition();
            async move {
                collection
                    .count_documents(condition)
                    .optional(collation, CountDocuments::collation)
                    .max_time(timeout)
                    .await
            }
        };
        self.connection.query(timeout, count).await
    }

    /// Returns the documents that match `filter`, in the [order](WaitingFilter::order) of the filter.
    ///
    /// Without a `limit`, all matching documents are returned. Without a `projection`, the documents
    /// have all members.
    ///
    /// # Errors
    /// The error of the query.
    async fn find_documents(
        &self,
        filter: WaitingFilter<'_>,
        limit: Option<i64>,
        projection: Option<Document>,
    ) -> Result<Vec<RawDocumentBuf>> {
        let options = FindOptions::builder()
            .sort(filter.order())
            .limit(limit)
            .projection(projection)
            .build();
        let condition = filter.condition();
        self.connection
            .find(&self.collection(), &condition, options)
            .await
    }

    /// Creates the indexes of the collection, once in this process.
    ///
    /// The store works without the indexes too, so an error is only logged. The next refund that
    /// begins to wait, or the next sweep, tries again.
    async fn create_indexes(&self) {
        if self.has_indexes.load(Ordering::Relaxed) {
            return;
        }
        let indexes = INDEXED_MEMBERS.map(|member| {
            let is_sparse = member == REFUSAL;
            let options = IndexOptions::builder()
                .sparse(is_sparse.then_some(true))
                .build();
            IndexModel::builder()
                .keys(doc! { member: 1_i32 })
                .options(options)
                .build()
        });
        let collection = self.collection();
        let create = async move { collection.create_indexes(indexes).await };
        match self.connection.run_as_write(create).await {
            Ok(_names) => self.has_indexes.store(true, Ordering::Relaxed),
            Err(error) => {
                tracing::debug!(error = %error.chain(), "the indexes of waiting refunds cannot be created");
            }
        }
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

/// Parses waiting refunds from `documents`, and sorts them by their arrival.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) if a document is not a waiting refund
fn parse_waiting_refunds(documents: &[RawDocumentBuf]) -> Result<Vec<WaitingRefund>> {
    let mut entries = Vec::with_capacity(documents.len());
    for document in documents {
        let message = "a document of the collection of waiting refunds is no refund";
        let entry = parse_waiting_refund(document)
            .ok_or_else(|| mongo_error(ErrorKind::Corrupt, message))?;
        entries.push(entry);
    }
    entries.sort_unstable_by_key(|entry| entry.sequence);
    Ok(entries)
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
    let refusal = document.get_str(REFUSAL).ok();
    columns.read(sequence, id, refusal).ok()
}

/// Reads what a sweep needs of a waiting refund; `None` if the document has no sequence number.
fn read_sweep_entry(document: &RawDocument) -> Option<SweepEntry> {
    let sequence = document.get_i64("_id").ok()?.cast_unsigned();
    let is_refused = document.get_str(REFUSAL).is_ok();
    let purchase_text = document.get_str("purchase").ok();
    Some(SweepEntry {
        sequence,
        // A refused refund waits for no purchase any more.
        purchase_id: purchase_text
            .filter(|_| !is_refused)
            .and_then(|text| PurchaseId::from_stored(text).ok()),
    })
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
