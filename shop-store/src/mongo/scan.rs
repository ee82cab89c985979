//! Reads the whole collection in the order of `_id`, which is indexed in every collection.
//!
//! The server selects documents by `_id` alone, and this module tells purchases from other
//! documents. So every slice of texts or `ObjectId`s costs the same. Only the last range, of other
//! ids, makes the server examine all documents.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::FindOptions;
use shop_core::ports::{Cursor, ScanBatch, UnreadableEntry};
use shop_core::{ErrorKind, Result};

use super::connection::{MongoConnection, is_cut_off};
use super::document;
use super::error::mongo_error;

/// The maximum number of documents in a slice.
const SLICE_SIZE: usize = 1_000;
/// The timeout of a slice of documents whose `_id` is neither a text nor an `ObjectId`. The server
/// examines all documents to find them.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(600);

/// The position at the beginning of the collection.
///
/// A position is a letter and a value. A scan passes through three ranges of the collection:
///
/// | position | next documents |
/// |---|---|
/// | `s` and a text | with a text as `_id`, after this text |
/// | `o` and an `ObjectId` | with an `ObjectId` as `_id`, after this `ObjectId` |
/// | `n` and a number | with another `_id`, after this number of documents; there are few or none |
pub(super) const FIRST_POSITION: &str = "s";
/// The position at the first document with an `ObjectId`.
pub(super) const FIRST_OBJECT_ID: &str = "o000000000000000000000000";
/// The position at the first document whose `_id` is neither a text nor an `ObjectId`.
const FIRST_OTHER: &str = "n0";

/// Reads the next batch of a scan, see
/// [`PurchaseQuery::scan_batch`](shop_core::ports::PurchaseQuery::scan_batch).
///
/// Erasure marks are not part of the batch. Documents that are not purchases are reported as
/// unreadable.
pub(super) async fn read_scan_batch(
    connection: &MongoConnection,
    after: Option<&Cursor>,
) -> Result<ScanBatch> {
    let position = after.map_or(FIRST_POSITION, Cursor::as_str);
    let (documents, next_position) = read_slice(connection, position).await?;

    let mut purchases = Vec::with_capacity(documents.len());
    let mut unreadable = Vec::new();
    for document in documents {
        if document::is_mark(&document) {
            continue;
        }
        match connection.reader.read_purchase(&document) {
            Ok(purchase) => purchases.push(purchase),
            Err(reason) => {
                unreadable.push(UnreadableEntry::new(document::id_text(&document), reason));
            }
        }
    }

    let next = next_position.map(Cursor::from_text);
    Ok(ScanBatch::new(purchases, next).with_unreadable(unreadable))
}

/// Reads the slice of documents at `position`.
///
/// Returns the documents, and the position of the next slice; `None` at the end of the collection.
///
/// # Errors
/// - [`Invalid`](ErrorKind::Invalid) if `position` is not a position of this store
/// - the error of the query
pub(super) async fn read_slice(
    connection: &MongoConnection,
    position: &str,
) -> Result<(Vec<RawDocumentBuf>, Option<String>)> {
    let (filter, skip) = slice_filter(position)?;
    let timeout = if is_in_last_range(position) {
        OTHERS_TIMEOUT
    } else {
        connection.options.insert_timeout
    };
    let options = FindOptions::builder()
        .sort(doc! { "_id": 1 })
        .skip(skip)
        .limit(SLICE_SIZE as i64)
        .max_time(timeout);
    let documents = connection.find_limited(&filter, options.build()).await?;

    let next = next_position(position, skip, &documents);
    Ok((documents, next))
}

/// Returns the filter of the documents in the range of `position`, and the number of documents to
/// skip.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if `position` is not a position of this store.
pub(super) fn slice_filter(position: &str) -> Result<(Document, u64)> {
    let message = "the position does not belong to this store";
    parse_position(position).ok_or_else(|| mongo_error(ErrorKind::Invalid, message))
}

/// Parses a position to the filter of its range, and the number of documents to skip. Returns `None`
/// for any other text.
///
/// A comparison in MongoDB matches values of the same type only. So texts and `ObjectId`s are two
/// ranges of the index.
fn parse_position(position: &str) -> Option<(Document, u64)> {
    match position.split_at_checked(1)? {
        ("s", text) => Some((doc! { "_id": { "$gt": text } }, 0)),
        ("o", hex) => {
            let object_id = ObjectId::parse_str(hex).ok()?;
            Some((doc! { "_id": { "$gt": object_id } }, 0))
        }
        ("n", skip) => {
            let texts = parse_position(FIRST_POSITION)?.0;
            let object_ids = parse_position(FIRST_OBJECT_ID)?.0;
            Some((doc! { "$nor": [texts, object_ids] }, skip.parse().ok()?))
        }
        _ => None,
    }
}

/// Returns whether `position` is in the range of documents whose `_id` is neither a text nor an
/// `ObjectId`.
fn is_in_last_range(position: &str) -> bool {
    position.starts_with('n')
}

/// Returns the position behind `documents`, the slice at `position` after `skip` documents; `None` at
/// the end of the collection.
fn next_position(position: &str, skip: u64, documents: &[RawDocumentBuf]) -> Option<String> {
    let last_id = match documents.last() {
        Some(last) if documents.len() == SLICE_SIZE || is_cut_off(documents) => {
            document::member_value(last, "_id")
        }
        // A slice that is not full ends its range.
        _ => None,
    };
    match last_id {
        Some(_) if is_in_last_range(position) => {
            Some(format!("n{}", skip + documents.len() as u64))
        }
        Some(Bson::String(text)) => Some(format!("s{text}")),
        Some(id) => id.as_object_id().map(|id| format!("o{id}")),
        None if is_in_last_range(position) => None,
        None if position.starts_with('s') => Some(FIRST_OBJECT_ID.to_owned()),
        None => Some(FIRST_OTHER.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_another_store_are_invalid() {
        for foreign in ["", "x", "oo", "n-1", "ä"] {
            assert_eq!(
                slice_filter(foreign).unwrap_err().kind(),
                ErrorKind::Invalid
            );
        }
    }
}
