//! The dead letters of the in-memory log.

use std::sync::Arc;

use async_trait::async_trait;

use super::lock;
use super::log::Shared;
use crate::Result;
use crate::log::{DeadLetter, DeadLetters, LogRecord, Partition};

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
        dead_letters.sort_by_key(place);
        dead_letters
    }
}

/// The identity of a dead letter: partition and offset.
pub(super) const fn place(dead_letter: &DeadLetter) -> (u32, u64) {
    (dead_letter.partition.index, dead_letter.record.offset)
}

#[async_trait]
impl DeadLetters for InMemoryDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        let mut state = lock(&self.log.state);
        for dead_letter in dead_letters {
            if state.dead_letters.iter().all(|pending| place(pending) != place(dead_letter)) {
                state.dead_letters.push(dead_letter.clone());
            }
        }
        Ok(())
    }

    async fn contains(&self, record: &LogRecord, partition: &Partition) -> Result<bool> {
        let (state, wanted) = (lock(&self.log.state), (partition.index, record.offset));
        Ok(state.resolved.contains_key(&wanted)
            || state.dead_letters.iter().any(|pending| place(pending) == wanted))
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}
