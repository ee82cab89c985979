//! Inserts documents whose id is not stored yet, with one outcome for each document.
//!
//! The index of `_id` rejects a document whose id is stored. The stored document is then read and
//! compared with the rejected one: a mark means that the purchase was erased, the same content is a
//! repetition, and any other content is a conflict.

use std::collections::HashMap;

use bson::{Bson, RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use mongodb::options::ReadConcern;
use serde::Deserialize;
use shop_core::log::Reason;
use shop_core::ports::InsertOutcome;
use shop_core::{Error, ErrorKind, Outcome, Purchase, PurchaseId, Result};

use super::connection::MongoConnection;
use super::document;
use super::error::{DocumentError, mongo_error};
use crate::refunds::StoredRow;

/// The maximum number of documents in a command.
///
/// With the longest texts, the command stays below the server's limit of 16 MiB.
pub(super) const MAX_DOCUMENTS: usize = 4_000;
/// The time in milliseconds for which the server waits until the write is on a majority of the
/// servers. It is below the client's timeout, so that the server reports the error.
pub(super) const WRITE_TIMEOUT: i32 = 10_000;

/// Inserts the purchases of `batch` whose id is not stored yet, and returns one outcome for each
/// purchase.
///
/// A batch above [`MAX_DOCUMENTS`] is sent as several commands.
///
/// # Errors
/// - the error of the first command that fails, after which no further command is sent
/// - [`Internal`](ErrorKind::Internal) if the server reports an error for a document that was not
///   sent
pub(super) async fn insert_batch(
    connection: &MongoConnection,
    batch: &[Purchase],
) -> Result<Vec<InsertOutcome>> {
    let mut outcomes = Vec::with_capacity(batch.len());
    for chunk in batch.chunks(MAX_DOCUMENTS) {
        let command = encode_insert(connection.collection.name(), chunk);
        let database = connection.database.clone();
        let run_command = async move {
            let reply = database.run_raw_command(command).await?;
            Ok(bson::deserialize_from_document::<InsertReply>(reply)?)
        };
        let reply = connection.write(run_command).await?;
        outcomes.extend(reply_outcomes(connection, chunk, reply).await?);
    }
    Ok(outcomes)
}

/// Returns the command that inserts `purchases` into `collection`, unordered, with majority and
/// journal.
///
/// Unlike `insert_many`, this builds no map of all ids, but it too copies each document.
fn encode_insert(collection: &str, purchases: &[Purchase]) -> RawDocumentBuf {
    let mut documents = RawArrayBuf::new();
    for purchase in purchases {
        documents.push(document::purchase_document(purchase));
    }
    let write_concern = rawdoc! { "w": "majority", "j": true, "wtimeout": WRITE_TIMEOUT };
    rawdoc! {
        "insert": collection,
        "ordered": false,
        "writeConcern": write_concern,
        "documents": documents,
    }
}

/// The server's reply to an insert. It contains only the errors: a document without an error was
/// inserted.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct InsertReply {
    write_errors: Vec<WriteError>,
    write_concern_error: Option<ConcernError>,
}

/// The server's error for one document, identified by its index in the command.
#[derive(Deserialize)]
struct WriteError {
    index: usize,
    code: i32,
    #[serde(rename = "errmsg", default)]
    message: String,
}

/// The server's error for a command that was applied, but not confirmed by a majority in time.
#[derive(Deserialize)]
struct ConcernError {
    code: i32,
}

impl InsertReply {
    /// Checks that all documents of the command are stored durably. Documents whose id exists
    /// already are accepted.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable) if a majority did not confirm the documents, so
    ///   they may be rolled back, or if the server cannot store a document now
    /// - [`Invalid`](ErrorKind::Invalid) if the server rejected a document
    pub(super) fn check_durable(&self) -> Result<()> {
        if let Some(concern) = &self.write_concern_error {
            return Err(not_durable_error(concern));
        }
        for error in &self.write_errors {
            match DocumentError::from_code(error.code) {
                DocumentError::Duplicate => {}
                DocumentError::Transient => return Err(transient_error(error)),
                DocumentError::Final => return Err(rejected_error(error)),
            }
        }
        Ok(())
    }
}

/// Converts the server's reply to one outcome for each purchase of `batch`.
///
/// A purchase whose id exists already is compared with the stored document, which takes another
/// query.
async fn reply_outcomes(
    connection: &MongoConnection,
    batch: &[Purchase],
    reply: InsertReply,
) -> Result<Vec<InsertOutcome>> {
    let mut outcomes = vec![InsertOutcome::Inserted; batch.len()];
    // Without a majority, documents that were inserted may be rolled back.
    if let Some(concern) = reply.write_concern_error {
        outcomes.fill(InsertOutcome::Unknown(not_durable_error(&concern)));
    }

    // The errors of documents whose id, or whose value in another unique index, exists already.
    let mut duplicates = Vec::new();
    for error in reply.write_errors {
        let Some(outcome) = outcomes.get_mut(error.index) else {
            let message = "MongoDB reported an error for a document that was not sent";
            return Err(mongo_error(ErrorKind::Internal, message));
        };
        match DocumentError::from_code(error.code) {
            DocumentError::Duplicate => duplicates.push(error),
            DocumentError::Final => *outcome = final_outcome(&error),
            DocumentError::Transient => *outcome = InsertOutcome::Unknown(transient_error(&error)),
        }
    }

    if !duplicates.is_empty() {
        let ids: Vec<PurchaseId> = duplicates
            .iter()
            .map(|error| batch[error.index].id)
            .collect();
        let stored_rows = find_stored_rows(connection, &ids).await?;
        for error in duplicates {
            let sent = &batch[error.index];
            outcomes[error.index] = duplicate_outcome(sent, stored_rows.get(&sent.id), &error);
        }
    }
    Ok(outcomes)
}

/// Reads the documents with these ids, as far as they are on a majority of the servers.
///
/// The result contains no entry for an id that is not stored.
pub(super) async fn find_stored_rows(
    connection: &MongoConnection,
    ids: &[PurchaseId],
) -> Result<HashMap<PurchaseId, StoredRow>> {
    let id_values: Vec<Bson> = ids.iter().map(document::id_value).collect();
    let collection = connection.on_primary();
    let timeout = connection.options.query_timeout;
    // The default batch contains 101 documents. This size gets all documents in one response.
    let batch_size = u32::try_from(ids.len() + 1).unwrap_or(u32::MAX);
    let find = async move {
        collection
            .find(doc! { "_id": { "$in": id_values } })
            .batch_size(batch_size)
            .read_concern(ReadConcern::majority())
            .max_time(timeout)
            .await?
            .try_collect::<Vec<RawDocumentBuf>>()
            .await
    };
    let documents = connection.write(find).await?;

    let mut stored_rows = HashMap::with_capacity(documents.len());
    for document in &documents {
        if let Ok(id) = document::read_id(document) {
            stored_rows.insert(id, document::read_stored_row(document));
        }
    }
    Ok(stored_rows)
}

/// Decides the outcome of a purchase that the server rejected as a duplicate.
///
/// `stored` is the content of the document with the same id, if it was found.
fn duplicate_outcome(
    sent: &Purchase,
    stored: Option<&StoredRow>,
    error: &WriteError,
) -> InsertOutcome {
    match stored {
        Some(stored) => stored.compare(sent),
        None if is_of_another_index(&error.message) => final_outcome(error),
        // The document is not visible to a majority yet, or was deleted meanwhile. A retry decides.
        None => InsertOutcome::Unknown(transient_error(error)),
    }
}

/// Returns whether the message of a duplicate names a unique index other than the index of `_id`.
/// Only an operator can have created such an index.
fn is_of_another_index(message: &str) -> bool {
    let Some((_, after_label)) = message.split_once(" index: ") else {
        return false;
    };
    let index_name = after_label.split_whitespace().next();
    index_name.is_some_and(|name| name != "_id_")
}

/// Creates the error of a document that was inserted, but may be rolled back.
fn not_durable_error(concern: &ConcernError) -> Error {
    let message = format!(
        "MongoDB did not confirm the write by a majority (code {})",
        concern.code
    );
    mongo_error(ErrorKind::Unavailable, message)
}

/// Returns the outcome of a document that the server will reject again, so that a retry is useless.
fn final_outcome(error: &WriteError) -> InsertOutcome {
    Reason::refused(rejected_error(error))
        .map_or_else(InsertOutcome::Unknown, InsertOutcome::Rejected)
}

/// Creates the error of a document that the server rejected for its content.
fn rejected_error(error: &WriteError) -> Error {
    let message = format!(
        "MongoDB rejected the document: {} (code {})",
        error.message, error.code
    );
    mongo_error(ErrorKind::Invalid, message)
}

/// Creates the error of a document that was not written now, and that a retry may write.
fn transient_error(error: &WriteError) -> Error {
    let message = format!(
        "MongoDB cannot store the document now: {} (code {})",
        error.message, error.code
    );
    mongo_error(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server_fixture::purchases;

    const DUPLICATE: i32 = 11000;
    const VALIDATION: i32 = 121;
    const NOT_PRIMARY: i32 = 10107;
    const BY_ID: &str =
        "E11000 duplicate key error collection: shop.purchases index: _id_ dup key: { _id: 1 }";
    const BY_NAME: &str =
        "E11000 duplicate key error collection: shop.purchases index: name_1 dup key: { name: 1 }";

    fn error((code, message): (i32, &str)) -> WriteError {
        WriteError {
            index: 0,
            code,
            message: message.to_owned(),
        }
    }

    /// A reply with these errors, written to a majority or not.
    fn reply(errors: &[(i32, &str)], is_durable: bool) -> InsertReply {
        let write_concern_error = (!is_durable).then_some(ConcernError { code: 64 });
        InsertReply {
            write_errors: errors.iter().copied().map(error).collect(),
            write_concern_error,
        }
    }

    #[test]
    fn check_accepts_duplicates_only() {
        for (errors, is_durable, expected) in [
            (&[][..], true, Ok(())),
            (&[(DUPLICATE, BY_ID), (DUPLICATE, BY_ID)], true, Ok(())),
            (&[(DUPLICATE, BY_ID)], false, Err(ErrorKind::Unavailable)),
            (
                &[(DUPLICATE, BY_ID), (NOT_PRIMARY, "")],
                true,
                Err(ErrorKind::Unavailable),
            ),
            (
                &[(DUPLICATE, BY_ID), (VALIDATION, "")],
                true,
                Err(ErrorKind::Invalid),
            ),
        ] {
            let checked = reply(errors, is_durable).check_durable();
            assert_eq!(checked.map_err(|error| error.kind()), expected);
        }
    }

    #[test]
    fn a_duplicate_that_is_not_found_is_retried_unless_another_index_has_it() {
        let purchase = &purchases(1)[0];
        let missing = |message| duplicate_outcome(purchase, None, &error((DUPLICATE, message)));
        assert!(matches!(missing(BY_ID), InsertOutcome::Unknown(_)));
        assert!(matches!(missing(BY_NAME), InsertOutcome::Rejected(_)));
    }

    #[test]
    fn the_largest_insert_fits_into_a_command() {
        let longest = |characters| "\u{1f6d2}".repeat(characters);
        let mut purchase = purchases(1).remove(0);
        purchase.user_id = longest(128).parse().unwrap();
        purchase.user_name = longest(256).parse().unwrap();
        purchase.details.item = Some(longest(256).parse().unwrap());
        purchase.details.reference = Some(longest(128).parse().unwrap());
        let command = encode_insert("purchases", &vec![purchase; MAX_DOCUMENTS]);
        // maxBsonObjectSize, which limits the command as a whole.
        let size = command.as_bytes().len();
        assert!(size < 16 << 20, "{size}");
    }
}
