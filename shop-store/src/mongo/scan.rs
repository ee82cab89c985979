//! Reads the whole collection in the order of `_id`, which every collection has an index for.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::FindOptions;
use shop_core::ports::{ScanBatch, ScanPosition, UnreadableEntry};
use shop_core::{ErrorKind, Result};

use super::connection::Connection;
use super::document::name;
use super::error::mongo_error;
use super::{document, erase};

/// Number of documents in a slice.
const SLICE: usize = 1_000;
/// The timeout of a slice of documents whose `_id` is not a purchase id. The server looks at all documents for it.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(600);

/// Where a slice begins. A comparison matches values of the same type only, so a scan has a range of the index for texts,
/// another for `ObjectId`s, and then looks at what is in neither.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Position {
    /// After this `_id`, among those of its type.
    Purchases(Bson),
    /// After this number of documents whose `_id` is not a purchase id. There are few of them, or none.
    Others(u64),
}

impl Position {
    /// The beginning of the collection.
    pub(super) fn start() -> Self {
        Self::Purchases(Bson::String(String::new()))
    }
}

/// The condition of the ids after `id`, of its type.
pub(super) fn ids_after(id: &Bson) -> Document {
    doc! { "_id": { "$gt": id } }
}

/// Reads the next slice. Returns where the one after it begins, if there may be one.
pub(super) async fn slice(
    connection: &Connection,
    from: &Position,
) -> Result<(Vec<RawDocumentBuf>, Option<Position>)> {
    let first_object_id = Bson::ObjectId(ObjectId::from_bytes([0; 12]));
    // Documents are selected here and not by the server where possible, so every call costs the same.
    let (filter, skip, timeout) = match from {
        Position::Purchases(after) => (ids_after(after), 0, connection.options.insert_timeout),
        Position::Others(skip) => {
            let purchases = ["".into(), first_object_id.clone()].map(|first| ids_after(&first));
            (doc! { "$nor": purchases.to_vec() }, *skip, OTHERS_TIMEOUT)
        }
    };
    let options =
        FindOptions::builder().sort(doc! { "_id": 1 }).skip(skip).limit(SLICE as i64).max_time(timeout);
    let documents = connection.find(&connection.collection, &filter, options.build()).await?;
    let last = documents.last().filter(|_| documents.len() == SLICE).and_then(|last| document::raw_id(last));
    let next = match (from, last) {
        (Position::Purchases(_), Some(last)) => Some(Position::Purchases(last)),
        (Position::Purchases(Bson::String(_)), None) => Some(Position::Purchases(first_object_id)),
        (Position::Purchases(_), None) => Some(Position::Others(0)),
        (Position::Others(skip), Some(_)) => Some(Position::Others(skip + documents.len() as u64)),
        (Position::Others(_), None) => None,
    };
    Ok((documents, next))
}

/// The next part of a scan, see [`PurchaseQuery::scan_batch`](shop_core::ports::PurchaseQuery::scan_batch).
pub(super) async fn batch(connection: &Connection, after: Option<&ScanPosition>) -> Result<ScanBatch> {
    let from = after.map_or(Ok(Position::start()), parse)?;
    let (documents, next) = slice(connection, &from).await?;
    let (mut purchases, mut unreadable) = (Vec::with_capacity(documents.len()), Vec::new());
    for document in documents.into_iter().filter(|document| !erase::is_mark(document)) {
        match document::purchase(&document) {
            Ok(purchase) => purchases.push(purchase),
            Err(error) => unreadable.push(UnreadableEntry::new(name(&document), error)),
        }
    }
    let next = next.as_ref().and_then(text).map(ScanPosition::new);
    Ok(ScanBatch::new(purchases, next).with_unreadable(unreadable))
}

/// A position as text: a letter for its type, and its value.
fn text(position: &Position) -> Option<String> {
    Some(match position {
        Position::Purchases(Bson::String(id)) => format!("s{id}"),
        Position::Purchases(Bson::ObjectId(id)) => format!("o{id}"),
        Position::Purchases(_) => return None,
        Position::Others(skip) => format!("n{skip}"),
    })
}

fn parse(position: &ScanPosition) -> Result<Position> {
    let text = position.as_str();
    let parsed = match text.split_at_checked(1) {
        Some(("s", id)) => Some(Position::Purchases(Bson::String(id.to_owned()))),
        Some(("o", id)) => ObjectId::parse_str(id).ok().map(|id| Position::Purchases(Bson::ObjectId(id))),
        Some(("n", skip)) => skip.parse().ok().map(Position::Others),
        _ => None,
    };
    parsed.ok_or_else(|| mongo_error(ErrorKind::Invalid, "the position does not belong to this store"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_parsed_from_their_text() {
        let ids = [Bson::String("order-17 ä".to_owned()), Bson::ObjectId(ObjectId::from_bytes([7; 12]))];
        let positions = ids.map(Position::Purchases).into_iter().chain([Position::Others(9)]);
        for position in positions {
            assert_eq!(parse(&ScanPosition::new(text(&position).unwrap())).unwrap(), position);
        }
        for foreign in ["", "x", "oo", "n-1", "ä"] {
            assert_eq!(parse(&ScanPosition::new(foreign)).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
