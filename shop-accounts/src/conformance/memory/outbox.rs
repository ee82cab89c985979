//! An in-memory outbox.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use shop_core::log::LogRecord;
use shop_core::{Clock, Result, SystemClock, lock};
use tokio::sync::Notify;

use crate::outbox::{Backlog, Outbox, OutboxEntry};

/// An in-memory outbox of pending events.
///
/// Clones share the entries.
#[derive(Debug, Clone, Default)]
pub struct InMemoryOutbox {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<Entries>,
    /// Wakes the relay when an entry was written.
    relay_wakeup: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    /// The id of the last entry, even if it was deleted.
    last_id: i64,
    pending: BTreeMap<i64, OutboxEntry>,
}

impl InMemoryOutbox {
    /// Adds the event `record` with the next id and the present time, and wakes the relay.
    pub fn write(&self, record: LogRecord) {
        let mut entries = lock(&self.shared.entries);
        entries.last_id += 1;
        let id = entries.last_id;
        entries
            .pending
            .insert(id, OutboxEntry::new(id, SystemClock.now(), record));
        drop(entries);
        self.shared.relay_wakeup.notify_one();
    }

    /// Deletes the events with this key.
    pub(super) fn delete_key(&self, key: &[u8]) {
        lock(&self.shared.entries)
            .pending
            .retain(|_id, entry| entry.record.key.as_deref() != Some(key));
    }
}

#[async_trait]
impl Outbox for InMemoryOutbox {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        Ok(lock(&self.shared.entries)
            .pending
            .values()
            .take(limit)
            .cloned()
            .collect())
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        let mut entries = lock(&self.shared.entries);
        for id in ids {
            entries.pending.remove(id);
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog> {
        let entries = lock(&self.shared.entries);
        let oldest = entries.pending.values().next().map(|entry| entry.time);
        Ok(Backlog::new(entries.pending.len() as u64, oldest))
    }

    async fn wait_for_entries(&self) {
        self.shared.relay_wakeup.notified().await;
    }
}
