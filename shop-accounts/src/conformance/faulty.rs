//! An outbox with the faults of a script.

use std::sync::Arc;

use async_trait::async_trait;
use shop_core::Result;
use shop_core::conformance::fault::{Call, Faults, Faulty};

use crate::outbox::{Backlog, Outbox, OutboxEntry};

/// Wraps `outbox` so that its calls fail as the script `faults` says.
#[must_use]
pub fn faulty_outbox(outbox: Arc<dyn Outbox>, faults: &Faults) -> Arc<dyn Outbox> {
    Faulty::new(outbox, faults)
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Outbox for Faulty<dyn Outbox> {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.call(Call::Pending, self.port.pending(limit)).await
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        self.call(Call::Delete, self.port.delete(ids)).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.call(Call::Query, self.port.backlog()).await
    }

    async fn wait_for_entries(&self) {
        self.port.wait_for_entries().await;
    }
}
