//! Reads the whole collection in the order of `_id`, which every collection has an index for.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::FindOptions;
use shop_core::ports::{Cursor, ScanBatch, UnreadableEntry};
use shop_core::{ErrorKind, Result};

use super::connection::MongoConnection;
use super::document;
use super::error::mongo_error;

/// The maximum number of documents in a slice.
const SLICE: usize = 1_000;
/// The timeout of a slice of documents whose `_id` is neither a text nor an `ObjectId`. The server
/// examines all documents to find them.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(600);

/// The position at the beginning of the collection.
///
/// A position is a letter and a value. A scan passes through three ranges of the collection:
///
/// | position | next documents |
/// |---|---|
/// | `s` and a text | those with a text as `_id`, after this text |
/// | `o` and an `ObjectId` | those with an `ObjectId` as `_id`, after this `ObjectId` |
/// | `n` and a number | those with another `_id`, after this number of them; there are few or none
/// |
pub(super) const START: &str = "s";
/// The position at the first document with an `ObjectId`.
pub(super) const OBJECT_IDS: &str = "o000000000000000000000000";

/// Returns the condition of the documents in the range of position `from`, and the number of them
/// to skip.
///
/// A comparison in MongoDB matches values of the same type only. So texts and `ObjectId`s are two
/// ranges of the index.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if `from` is not a position of this store.
pub(super) fn filter(from: &str) -> Result<(Document, u64)> {
    let filter = match from.split_at_checked(1) {
        Some(("s", id)) => Some((doc! { "_id": { "$gt": id } }, 0)),
        Some(("o", id)) => ObjectId::parse_str(id)
            .ok()
            .map(|id| (doc! { "_id": { "$gt": id } }, 0)),
        Some(("n", skip)) => {
            let others = doc! { "$nor": [filter(START)?.0, filter(OBJECT_IDS)?.0] };
            skip.parse().ok().map(|skip| (others, skip))
        }
        _ => None,
    };
    filter.ok_or_else(|| {
        mongo_error(
            ErrorKind::Invalid,
            "the position does not belong to this store",
        )
    })
}

/// Reads the slice of documents at position `from`.
///
/// Returns the documents, and the position of the next slice; `None` at the end of the collection.
///
/// # Errors
/// - [`Invalid`](ErrorKind::Invalid) if `from` is not a position of this store
/// - the error of the query otherwise
pub(super) async fn slice(
    connection: &MongoConnection,
    from: &str,
) -> Result<(Vec<RawDocumentBuf>, Option<String>)> {
    // Documents are selected here and not by the server where possible, so every call costs the same.
    let (filter, skip) = filter(from)?;
    let is_others = from.starts_with('n');
    let timeout = if is_others {
        OTHERS_TIMEOUT
    } else {
        connection.options.insert_timeout
    };
    let options = FindOptions::builder()
        .sort(doc! { "_id": 1 })
        .skip(skip)
        .limit(SLICE as i64)
        .max_time(timeout);
    let documents = connection
        .find(&connection.collection, &filter, options.build())
        .await?;
    // A slice that is not full ends its range.
    let last = documents
        .last()
        .filter(|_| documents.len() == SLICE)
        .and_then(|last| document::value(last, "_id"));
    let next = match last {
        Some(_) if is_others => Some(format!("n{}", skip + SLICE as u64)),
        Some(Bson::String(id)) => Some(format!("s{id}")),
        Some(id) => id.as_object_id().map(|id| format!("o{id}")),
        None if is_others => None,
        None => Some(
            if from.starts_with('s') {
                OBJECT_IDS
            } else {
                "n0"
            }
            .to_owned(),
        ),
    };
    Ok((documents, next))
}

/// Reads the next part of a scan, see
/// [`PurchaseQuery::scan_batch`](shop_core::ports::PurchaseQuery::scan_batch).
///
/// Erasure marks are not part of the batch. Documents that are not purchases are reported as
/// unreadable.
pub(super) async fn batch(
    connection: &MongoConnection,
    after: Option<&Cursor>,
) -> Result<ScanBatch> {
    let (documents, next) = slice(connection, after.map_or(START, Cursor::as_str)).await?;
    let mut purchases = Vec::with_capacity(documents.len());
    let mut unreadable = Vec::new();
    for document in documents
        .into_iter()
        .filter(|document| !document::is_mark(document))
    {
        match document::purchase(&document) {
            Ok(purchase) => purchases.push(purchase),
            Err(error) => unreadable.push(UnreadableEntry::new(document::name(&document), error)),
        }
    }
    Ok(ScanBatch::new(purchases, next.map(Cursor::from_text)).with_unreadable(unreadable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_another_store_are_invalid() {
        for foreign in ["", "x", "oo", "n-1", "ä"] {
            assert_eq!(filter(foreign).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
