//! The outbox of users and orders: each document has one event.

use async_trait::async_trait;
use bson::doc;
use shop_core::Result;
use shop_core::entity::Entity;
use shop_core::outbox::{Backlog, Outbox, OutboxEntry};

use super::rows::MongoRows;
use crate::mongo::outbox::pending;

#[async_trait]
impl<E: Entity> Outbox for MongoRows<E> {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        pending::pending(&self.rows.connection, limit).await
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        pending::delete(&self.rows.connection, ids, doc! { "$unset": { "outbox": "" } }).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        pending::backlog(&self.rows.connection).await
    }

    async fn wait_for_entries(&self) {
        self.rows.changed.notified().await;
    }
}
