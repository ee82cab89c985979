//! Pending events of a collection: the members `outbox` of its documents.

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::options::{ReadConcern, WriteConcern};
use shop_core::outbox::{Backlog, OutboxEntry};
use shop_core::{Result, Timestamp};

use super::event::{self, NUMBER, Row};
use crate::mongo::connection::Connection;

/// The filter of documents with a pending event.
fn with_events() -> Document {
    doc! { NUMBER: { "$gt": 0 } }
}

/// The oldest entries that a majority has, at most `limit`.
pub(in crate::mongo) async fn pending(connection: &Connection, limit: usize) -> Result<Vec<OutboxEntry>> {
    // The server reads 0 as no limit.
    if limit == 0 {
        return Ok(Vec::new());
    }
    let time = connection.options.query_timeout;
    let find = || {
        let collection = connection.on_primary();
        async move {
            // Sorted by their oldest events, the first `limit` documents have the `limit` oldest events.
            let found =
                collection.find(with_events()).sort(doc! { NUMBER: 1 }).projection(doc! { "outbox": 1 });
            let found = found.limit(i64::try_from(limit).unwrap_or(i64::MAX)).max_time(time);
            found.read_concern(ReadConcern::majority()).await?.try_collect::<Vec<RawDocumentBuf>>().await
        }
    };
    let mut entries = Vec::new();
    for document in connection.query(time, find).await? {
        let row = bson::deserialize_from_slice::<Row>(document.as_bytes());
        entries.extend(row.map_err(|error| event::unreadable(&id(&document), error))?.entries()?);
    }
    entries.sort_by_key(|entry| entry.id);
    entries.truncate(limit);
    Ok(entries)
}

fn id(document: &RawDocumentBuf) -> Bson {
    document.get("_id").ok().flatten().and_then(|id| Bson::try_from(id).ok()).unwrap_or(Bson::Null)
}

/// Runs `update` on the documents that have one of these events. Writes with majority, because `pending` reads with
/// majority.
pub(in crate::mongo) async fn delete(connection: &Connection, ids: &[i64], update: Document) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let (collection, published) = (connection.collection.clone(), doc! { NUMBER: { "$in": ids } });
    let delete = async move {
        collection.update_many(published, update).write_concern(WriteConcern::majority()).await
    };
    connection.write(connection.options.insert_timeout, delete).await.map(drop)
}

/// The number of pending entries, and the time of the oldest.
pub(in crate::mongo) async fn backlog(connection: &Connection) -> Result<Backlog> {
    let time = connection.options.query_timeout;
    let count = || {
        let collection = connection.on_primary();
        let stages =
            [doc! { "$match": with_events() }, doc! { "$unwind": "$outbox" }, doc! { "$count": "entries" }];
        async move {
            let counted = collection.aggregate(stages).max_time(time);
            counted.await?.try_collect::<Vec<Document>>().await
        }
    };
    let (counted, oldest) = tokio::try_join!(connection.query(time, count), pending(connection, 1))?;
    let entries = counted.first().and_then(|counted| counted.get("entries"));
    let entries = entries.and_then(|entries| entries.as_i64().or(entries.as_i32().map(i64::from)));
    let oldest: Option<Timestamp> = oldest.first().map(|entry| entry.time);
    Ok(Backlog::new(entries.unwrap_or_default().unsigned_abs(), oldest))
}
