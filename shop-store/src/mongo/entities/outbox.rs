//! The outbox: events that are not published yet.

use async_trait::async_trait;
use bson::{Binary, DateTime, Document, doc};
use mongodb::options::WriteConcern;
use serde::Deserialize;
use shop_core::entity::Entity;
use shop_core::log::{Headers, LogRecord};
use shop_core::outbox::{Backlog, Outbox, OutboxEntry};
use shop_core::{Bytes, Result, Timestamp};

use super::event::NUMBER;
use super::rows::{MongoRows, Rows};
use super::unreadable;

/// The filter of rows with a pending event.
fn pending() -> Document {
    doc! { NUMBER: { "$gt": 0 } }
}

/// A row with a pending event.
#[derive(Debug, Deserialize)]
struct Pending {
    #[serde(rename = "_id")]
    id: i64,
    outbox: Event,
}

#[derive(Debug, Deserialize)]
struct Event {
    time: DateTime,
    key: Option<Binary>,
    headers: Binary,
    value: Option<Binary>,
}

impl Pending {
    fn time(&self) -> Result<Timestamp> {
        let millis = self.outbox.time.timestamp_millis();
        Timestamp::from_millis(millis).map_err(|error| unreadable(self.id, error))
    }

    fn entry(self) -> Result<OutboxEntry> {
        let (id, time) = (self.id, self.time()?);
        let bytes = |binary: Binary| Bytes::from(binary.bytes);
        let Event { key, headers, value, .. } = self.outbox;
        let headers = Headers::from_bytes(bytes(headers)).map_err(|error| unreadable(id, error))?;
        let record = LogRecord::new(0, Timestamp::MIN, value.map(bytes));
        Ok(OutboxEntry::new(id, time, record.with_key(key.map(bytes)).with_headers(headers)))
    }
}

impl Rows {
    async fn pending(&self, limit: usize) -> Result<Vec<Pending>> {
        // The server reads 0 as no limit.
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.find_all(self.connection.collection.name(), pending(), doc! { NUMBER: 1 }, limit).await
    }

    /// Writes with majority, because `pending` reads with majority.
    async fn delete_events(&self, ids: &[i64]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let (collection, published) = (self.connection.collection.clone(), doc! { "_id": { "$in": ids } });
        let delete_events = async move {
            let update = collection.update_many(published, doc! { "$unset": { "outbox": "" } });
            update.write_concern(WriteConcern::majority()).await
        };
        self.connection.write(self.connection.options.insert_timeout, delete_events).await.map(drop)
    }

    async fn backlog(&self) -> Result<Backlog> {
        let (collection, time) = (&self.connection.collection, self.connection.options.query_timeout);
        let count = || {
            let collection = collection.clone();
            async move { collection.count_documents(pending()).max_time(time).await }
        };
        let (entries, oldest) = tokio::try_join!(self.connection.query(time, count), self.pending(1))?;
        Ok(Backlog::new(entries, oldest.first().map(Pending::time).transpose()?))
    }
}

#[async_trait]
impl<E: Entity> Outbox for MongoRows<E> {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.rows.pending(limit).await?.into_iter().map(Pending::entry).collect()
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        self.rows.delete_events(ids).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.rows.backlog().await
    }

    async fn wait_for_entries(&self) {
        self.rows.changed.notified().await;
    }
}
