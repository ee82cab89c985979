//! The dead letters of the in-memory log.

use std::sync::Arc;

use async_trait::async_trait;

use super::lock;
use super::log::{Shared, State};
use crate::Result;
use crate::log::{DeadLetter, DeadLetters, LogRecord, Partition, ReasonKind, RecordId};

/// The dead letters of an [`InMemoryLog`](super::InMemoryLog), without duplicates.
#[derive(Debug, Clone)]
pub struct InMemoryDeadLetters {
    log: Arc<Shared>,
}

impl InMemoryDeadLetters {
    pub(super) const fn new(log: Arc<Shared>) -> Self {
        Self { log }
    }

    /// All dead letters, ordered by partition and offset.
    #[must_use]
    pub fn all(&self) -> Vec<DeadLetter> {
        let mut dead_letters = lock(&self.log.state).dead_letters.clone();
        dead_letters.sort_by_key(DeadLetter::position);
        dead_letters
    }
}

/// The index of the pending dead letter about the record `id`, which is at `offset`.
pub(super) fn pending_index(state: &State, offset: u64, id: RecordId) -> Option<usize> {
    // Most differ without a hash.
    state.dead_letters.iter().position(|pending| pending.record.offset == offset && pending.record_id() == id)
}

#[async_trait]
impl DeadLetters for InMemoryDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        let mut state = lock(&self.log.state);
        for dead_letter in dead_letters {
            let (id, is_gap) = (dead_letter.record_id(), dead_letter.reason.kind() == ReasonKind::Gap);
            let is_resolved = !is_gap && state.resolved.contains_key(&id);
            if !is_resolved && pending_index(&state, dead_letter.record.offset, id).is_none() {
                state.dead_letters.push(dead_letter.clone());
            }
        }
        Ok(())
    }

    async fn contains(&self, record: &LogRecord, partition: &Partition) -> Result<bool> {
        let (state, id) = (lock(&self.log.state), RecordId::new(record, partition));
        Ok(state.resolved.contains_key(&id) || pending_index(&state, record.offset, id).is_some())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}
