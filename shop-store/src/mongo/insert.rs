//! Inserts documents whose id is not stored yet, with one outcome for each document.
//!
//! The index of `_id` rejects a document whose id is stored. The stored document is then read and
//! compared with the rejected one: a mark means that the purchase was erased, the same content is a
//! repetition, and any other content is a conflict.

use std::collections::HashMap;
use std::time::Duration;

use bson::{Bson, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::Collection;
use shop_core::log::Reason;
use shop_core::ports::InsertOutcome;
use shop_core::{Purchase, PurchaseId, Result};

use super::connection::MongoConnection;
use super::document;
use super::refusal::{Refusal, RefusalCause};
use super::write::Write;
use crate::refunds::StoredRow;

/// Inserts the purchases of `batch` whose id is not stored yet, and returns one outcome for each
/// purchase.
///
/// A purchase whose id exists already is compared with the stored document, which takes another
/// query.
///
/// # Errors
/// The errors of [`MongoConnection::send_write`]. Some purchases may have been inserted.
pub(super) async fn insert_batch(
    connection: &MongoConnection,
    batch: &[Purchase],
) -> Result<Vec<InsertOutcome>> {
    let documents = batch.iter().map(document::purchase_document).collect();
    let reply = connection
        .send_write(&connection.collection, Write::Insert(documents))
        .await?;

    let mut outcomes = vec![InsertOutcome::Inserted; batch.len()];
    // The refusals of purchases whose id, or whose value in another unique index, exists already.
    let mut duplicates = Vec::new();
    for refusal in reply.refusals {
        let outcome = match refusal.cause {
            // The outcome depends on the stored document, which is read below.
            RefusalCause::DuplicateId | RefusalCause::DuplicateKey { .. } => {
                duplicates.push(refusal);
                continue;
            }
            RefusalCause::Validator | RefusalCause::Content => rejected_outcome(&refusal),
            RefusalCause::Server => InsertOutcome::Unknown(refusal.retryable_error()),
        };
        outcomes[refusal.position] = outcome;
    }

    if !duplicates.is_empty() {
        let ids: Vec<PurchaseId> = duplicates
            .iter()
            .map(|refusal| batch[refusal.position].id)
            .collect();
        let stored_rows = find_stored_rows(connection, &ids).await?;
        for refusal in duplicates {
            let sent = &batch[refusal.position];
            let stored = stored_rows.get(&sent.id);
            outcomes[refusal.position] = duplicate_outcome(sent, stored, &refusal);
        }
    }
    Ok(outcomes)
}

/// Reads the rows with these ids, as far as a majority of the servers has them. The result contains no
/// entry for an id that is not stored.
pub(super) async fn find_stored_rows(
    connection: &MongoConnection,
    ids: &[PurchaseId],
) -> Result<HashMap<PurchaseId, StoredRow>> {
    let find = find_by_ids(
        connection.on_primary(),
        ids,
        connection.options.query_timeout,
    );
    // The query explains the duplicates of an insert, so it runs like the insert, and does not queue
    // behind listings.
    let documents = connection.run_as_write(find).await?;

    let mut stored_rows = HashMap::with_capacity(documents.len());
    for document in &documents {
        // The default collation of the collection applies to the query, so it may have matched another
        // `_id` too, which is not readable here.
        if let Ok(id) = document::read_id(document) {
            stored_rows.insert(id, connection.reader.read_stored_row(document));
        }
    }
    Ok(stored_rows)
}

/// Returns the call that reads the documents with these ids from `collection`. The connection sets its
/// read concern, which is at least a majority.
///
/// Like every read by `_id`, the query names no collation, so that it uses the index of `_id`.
fn find_by_ids(
    collection: Collection<RawDocumentBuf>,
    ids: &[PurchaseId],
    timeout: Duration,
) -> impl Future<Output = mongodb::error::Result<Vec<RawDocumentBuf>>> + Send + use<> {
    let id_values: Vec<Bson> = ids.iter().map(document::id_value).collect();
    // The server answers with 101 documents by default. This size gets all documents in one response.
    // It is one more than the ids, so that the server closes the cursor at once.
    let batch_size = u32::try_from(ids.len() + 1).unwrap_or(u32::MAX);
    async move {
        collection
            .find(doc! { "_id": { "$in": id_values } })
            .batch_size(batch_size)
            .max_time(timeout)
            .await?
            .try_collect()
            .await
    }
}

/// Decides the outcome of the purchase `sent`, which the server refused as a duplicate.
///
/// `stored` is the content of the document with the same id, if it was found. Without it, another
/// unique index may contain the values of the purchase.
fn duplicate_outcome(
    sent: &Purchase,
    stored: Option<&StoredRow>,
    refusal: &Refusal,
) -> InsertOutcome {
    match (stored, &refusal.cause) {
        (Some(stored), _) => stored.compare(sent),
        (None, RefusalCause::DuplicateKey { index: Some(_) }) => rejected_outcome(refusal),
        // The document is not visible to a majority yet, or was deleted meanwhile. A retry decides.
        (None, _) => InsertOutcome::Unknown(refusal.retryable_error()),
    }
}

/// Returns the outcome of a purchase that the server will refuse again, so that a retry is useless.
fn rejected_outcome(refusal: &Refusal) -> InsertOutcome {
    Reason::refused(refusal.rejection())
        .map_or_else(InsertOutcome::Unknown, InsertOutcome::Rejected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server_fixture::purchases;

    #[test]
    fn a_duplicate_that_is_not_found_is_retried_unless_another_index_has_it() {
        let purchase = &purchases(1)[0];
        let missing = |index: &str| {
            let message = format!("E11000 duplicate key error collection: a.b{index}");
            let report = bson::doc! { "index": 0, "code": 11_000, "errmsg": message };
            let report = bson::deserialize_from_document(report).unwrap();
            duplicate_outcome(purchase, None, &Refusal::new(0, &report, "a.b"))
        };
        for retried in [" index: _id_ dup key: { _id: 1 }", " dup key: { _id: 1 }"] {
            assert!(matches!(missing(retried), InsertOutcome::Unknown(_)));
        }
        let by_name = missing(" index: name_1 dup key: { name: 1 }");
        assert!(matches!(by_name, InsertOutcome::Rejected(_)));
    }
}
