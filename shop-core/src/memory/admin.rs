//! The dead letters and the administrative port of the in-memory log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::InMemoryLog;
use super::log::{InMemoryLogInner, InMemoryLogState};
use crate::Result;
use crate::lock::lock;
use crate::log::{
    Batch, DeadLetter, DeadLetterState, DeadLetters, LogAdmin, LogRecord, LogTail, Offsets,
    Partition, ReasonKind, RecordId, RecordPosition, RecordType, Resolution, ResolvedDeadLetter,
};

/// The dead letters of an [`InMemoryLog`], without duplicates.
#[derive(Debug, Clone)]
pub struct InMemoryDeadLetters {
    pub(super) log: Arc<InMemoryLogInner>,
}

impl InMemoryDeadLetters {
    /// Returns all pending dead letters, ordered by partition and offset.
    #[must_use]
    pub fn all(&self) -> Vec<DeadLetter> {
        let mut dead_letters = lock(&self.log.state).dead_letters.clone();
        dead_letters.sort_by_key(DeadLetter::position);
        dead_letters
    }
}

/// Returns the index of the pending dead letter about the record `id`, which is at `offset`.
fn pending_index(state: &InMemoryLogState, offset: u64, id: RecordId) -> Option<usize> {
    // The offset is compared first, because most dead letters differ in it and the id of a record
    // takes a hash.
    state
        .dead_letters
        .iter()
        .position(|pending| pending.record.offset == offset && pending.record_id() == id)
}

#[async_trait]
impl DeadLetters for InMemoryDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        let mut state = lock(&self.log.state);
        for dead_letter in dead_letters {
            let id = dead_letter.record_id();
            let is_gap = dead_letter.reason.kind() == ReasonKind::Gap;
            let is_resolved = !is_gap && state.resolved.contains_key(&id);
            if !is_resolved && pending_index(&state, dead_letter.record.offset, id).is_none() {
                state.dead_letters.push(dead_letter.clone());
            }
        }
        Ok(())
    }

    async fn contains(&self, record: &LogRecord, partition: &Partition) -> Result<bool> {
        let state = lock(&self.log.state);
        let id = RecordId::new(record, partition);
        Ok(state.resolved.contains_key(&id) || pending_index(&state, record.offset, id).is_some())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl InMemoryLogInner {
    /// Returns the records of one partition from its offset in `next_offsets` on, and moves this
    /// offset behind the records.
    ///
    /// Returns `None` if no partition contains further records.
    fn next_batch(&self, next_offsets: &mut Offsets) -> Option<Batch> {
        let state = lock(&self.state);
        next_offsets.iter_mut().find_map(|(index, next_offset)| {
            let records = state
                .partitions
                .get(index)?
                .records_from(*next_offset)
                .to_vec();
            *next_offset = records.last()?.offset + 1;
            Some(Batch::new(self.partition(*index, 0), records))
        })
    }
}

#[async_trait]
impl LogAdmin for InMemoryLog {
    async fn scan(&self) -> Result<BoxStream<'static, Result<Batch>>> {
        let mut partitions = lock(&self.shared.state).partitions.clone();
        partitions.retain(|_, partition| !partition.records.is_empty());
        let shared = Arc::clone(&self.shared);
        let batches = partitions.into_iter().map(move |(index, partition)| {
            Ok(Batch::new(shared.partition(index, 0), partition.records))
        });
        Ok(stream::iter(batches).boxed())
    }

    async fn tail(&self, start: &Offsets) -> Result<LogTail> {
        let spans: Vec<_> = lock(&self.shared.state)
            .partitions
            .iter()
            .map(|(index, partition)| {
                let end = partition.end();
                let first = LogTail::start_offset(start, *index, partition.first_offset, end);
                (*index, (first, end))
            })
            .collect();
        let mut tail = LogTail::new(
            Arc::clone(&self.shared.cluster),
            Arc::clone(&self.shared.topic),
            spans,
            stream::empty().boxed(),
        );
        let reader = (Arc::clone(&self.shared), tail.start.clone());
        let batches = stream::unfold(reader, |(shared, mut next_offsets)| async move {
            loop {
                // The waiter is registered before the records are read, so that an append between
                // the two wakes it.
                let mut changed = std::pin::pin!(shared.changed.notified());
                changed.as_mut().enable();
                if let Some(batch) = shared.next_batch(&mut next_offsets) {
                    return Some((Ok(batch), (Arc::clone(&shared), next_offsets)));
                }
                changed.await;
            }
        });
        tail.batches = batches.boxed();
        Ok(tail)
    }

    async fn positions(&self, group: &str) -> Result<Offsets> {
        Ok(self.committed(group))
    }

    async fn members(&self, group: &str) -> Result<Vec<String>> {
        let state = lock(&self.shared.state);
        let Some(group) = state.groups.get(group) else {
            return Ok(Vec::new());
        };
        let members = group.members().map(|member| format!("member {member}"));
        Ok(members.collect())
    }

    fn first_offset(&self) -> u64 {
        0
    }

    async fn find(&self, index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>> {
        let state = lock(&self.shared.state);
        let partition = state.partitions.get(&index);
        let next_record = partition.and_then(|partition| partition.records_from(offset).first());
        let record = next_record.filter(|record| record.offset == offset);
        Ok(record.map(|record| (self.shared.partition(index, 0), record.clone())))
    }

    fn retention(&self) -> Option<Duration> {
        None
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        let state = lock(&self.shared.state);
        let pending = state.dead_letters.clone().into_iter();
        let resolved = state.resolved.clone().into_values();
        let states = pending
            .map(DeadLetterState::Pending)
            .chain(resolved.map(DeadLetterState::Resolved));
        Ok(stream::iter(states.map(Ok)).boxed())
    }

    /// Resolves the given dead letters that are pending. Replayed records become visible at once.
    async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        resolution.check(dead_letters)?;
        let mut guard = lock(&self.shared.state);
        let state = &mut *guard;
        let mut count = 0;
        for dead_letter in dead_letters {
            let id = dead_letter.record_id();
            let Some(index) = pending_index(state, dead_letter.record.offset, id) else {
                continue;
            };
            state.dead_letters.remove(index);
            let resolved = ResolvedDeadLetter::new(id, dead_letter.id(record_type), resolution);
            state.resolved.insert(id, resolved);
            if resolution == Resolution::Replayed {
                self.shared
                    .append_to(state, dead_letter.replay_record(record_type));
            }
            count += 1;
        }
        drop(guard);
        self.shared.changed.notify_waiters();
        Ok(count)
    }

    async fn erase(&self, records: &[RecordPosition]) -> Result<u64> {
        let mut state = lock(&self.shared.state);
        let mut count = 0;
        for position in records {
            let partition = state.partitions.get_mut(&position.partition);
            let record = partition.and_then(|partition| partition.get_mut(position.offset));
            if let Some(record) = record.filter(|record| !record.is_erased()) {
                record.erase();
                count += 1;
            }
        }
        Ok(count)
    }
}
