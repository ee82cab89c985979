//! Dead letters of the log in memory.

use std::sync::Arc;

use async_trait::async_trait;

use super::lock;
use super::log::Shared;
use crate::Result;
use crate::log::{DeadLetter, DeadLetters};

/// Keeps the dead letters of an [`InMemoryLog`](super::InMemoryLog), each once.
#[derive(Debug, Clone)]
pub struct InMemoryDeadLetters {
    log: Arc<Shared>,
}

impl InMemoryDeadLetters {
    pub(super) const fn new(log: Arc<Shared>) -> Self {
        Self { log }
    }

    /// All letters, in the order of partitions and offsets.
    #[must_use]
    pub fn all(&self) -> Vec<DeadLetter> {
        let mut letters = lock(&self.log.state).dead_letters.clone();
        letters.sort_by_key(place);
        letters
    }
}

/// What distinguishes letters of one log: partition and offset.
pub(super) const fn place(letter: &DeadLetter) -> (u32, u64) {
    (letter.partition.index, letter.record.offset)
}

#[async_trait]
impl DeadLetters for InMemoryDeadLetters {
    async fn put(&self, letters: &[DeadLetter]) -> Result<()> {
        let mut state = lock(&self.log.state);
        for letter in letters {
            if state.dead_letters.iter().all(|pending| place(pending) != place(letter)) {
                state.dead_letters.push(letter.clone());
            }
        }
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}
