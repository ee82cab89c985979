//! The outbox of a service's rows.

use async_trait::async_trait;
use shop_core::Result;
use shop_core::entity::Entity;
use shop_core::outbox::{Backlog, Outbox, OutboxEntry};

use super::rows::EmbeddedRows;
use crate::embedded::outbox::table;

#[async_trait]
impl<E: Entity> Outbox for EmbeddedRows<E> {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.file.read(move |connection| table::pending(connection, limit)).await
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        let ids = ids.to_vec();
        self.file.write(move |connection| table::delete(connection, &ids)).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.file.read(table::backlog).await
    }

    async fn wait_for_entries(&self) {
        self.changed.notified().await;
    }
}
