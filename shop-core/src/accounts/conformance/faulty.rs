//! An outbox with the faults of a script.

use std::sync::Arc;

use async_trait::async_trait;

use crate::Result;
use crate::accounts::outbox::{Backlog, Outbox, OutboxEntry};
use crate::conformance::fault::faulty::{Faulty, faulty};
use crate::conformance::fault::{Call, Faults};

impl Faults {
    /// Wraps `outbox` so that its calls fail as this script says.
    #[must_use]
    pub fn outbox(&self, outbox: Arc<dyn Outbox>) -> Arc<dyn Outbox> {
        Faulty::new(outbox, self)
    }
}

faulty!(Outbox {
    Pending: pending(limit: usize) -> Vec<OutboxEntry>;
    Delete: delete(ids: &[i64]) -> ();
    Query: backlog() -> Backlog;
}
    async fn wait_for_entries(&self) {
        self.port.wait_for_entries().await;
    }
);
