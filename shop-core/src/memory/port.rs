//! The ports of the in-memory log: [`Log`], and what [`LogInfo`] contains.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::InMemoryLog;
use super::log::{InMemoryLogInner, InMemoryLogState};
use crate::Result;
use crate::lock::lock;
use crate::log::{
    Batch, DeadLetter, DeadLetterState, GroupMembers, Log, LogInfo, LogRecord, LogScan, LogSource,
    Offsets, ReasonKind, RecordEraser, RecordId, RecordPosition, RecordType, Resolution,
    ResolvedDeadLetter, ScanEnd,
};

/// Returns the index of the pending dead letter about the record with the id `id` at `offset`, if
/// there is one.
fn pending_index(state: &InMemoryLogState, offset: u64, id: RecordId) -> Option<usize> {
    // The offset is compared first: most dead letters differ in it, and to compute an id takes a
    // hash.
    state
        .dead_letters
        .iter()
        .position(|pending| pending.record.offset == offset && pending.record_id() == id)
}

impl InMemoryLogInner {
    /// Returns the records of the first partition that has records from its offset in `next_offsets`
    /// on, and moves this offset behind the records.
    ///
    /// Returns `None` if no partition contains further records.
    fn next_batch(&self, next_offsets: &mut Offsets) -> Option<Batch> {
        let state = lock(&self.state);
        next_offsets
            .iter_mut()
            .find_map(|(index, next_offset)| self.read_partition(&state, *index, next_offset))
    }

    /// Returns the records of the partition `index` from `next_offset` on, and moves `next_offset`
    /// behind the records. Returns `None` if the partition contains no further records.
    fn read_partition(
        &self,
        state: &InMemoryLogState,
        index: u32,
        next_offset: &mut u64,
    ) -> Option<Batch> {
        let partition = state.partitions.get(&index)?;
        let records = partition.records_from(*next_offset).to_vec();
        *next_offset = records.last()?.offset + 1;
        // A batch that is read outside of a group is of epoch 0.
        Some(Batch::new(self.partition(index, 0), records))
    }

    /// Returns an endless stream of the records from `start` on, which contains an offset for each
    /// partition.
    ///
    /// The stream waits for new records after it yielded all records of the log.
    fn follow(self: Arc<Self>, start: Offsets) -> BoxStream<'static, Result<Batch>> {
        let batches = stream::unfold((self, start), |(log, mut next_offsets)| async move {
            let batch = log.wait_for_batch(&mut next_offsets).await;
            Some((Ok(batch), (log, next_offsets)))
        });
        batches.boxed()
    }

    /// Waits until a partition contains records from its offset in `next_offsets` on, and returns
    /// them. Moves the offset behind the records.
    async fn wait_for_batch(&self, next_offsets: &mut Offsets) -> Batch {
        loop {
            // The waiter is registered before the records are read, so that an append between the
            // two wakes it.
            let mut change_notification = std::pin::pin!(self.changed.notified());
            change_notification.as_mut().enable();
            if let Some(batch) = self.next_batch(next_offsets) {
                return batch;
            }
            change_notification.await;
        }
    }
}

#[async_trait]
impl Log for InMemoryLog {
    async fn append(&self, record: LogRecord) -> Result<()> {
        self.shared.append(record);
        Ok(())
    }

    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>> {
        Ok(Arc::new(Self::source(self, group)))
    }

    async fn scan(&self, start: &Offsets, end: ScanEnd) -> Result<LogScan> {
        let state = lock(&self.shared.state);
        let spans = state.partitions.iter().map(|(index, partition)| {
            let end = partition.end();
            let scan_start = LogScan::start_offset(start, *index, partition.first_offset, end);
            (*index, (scan_start, end))
        });
        let mut scan = LogScan::new(
            Arc::clone(&self.shared.cluster),
            Arc::clone(&self.shared.topic),
            spans,
            stream::empty().boxed(),
        );
        scan.batches = match end {
            ScanEnd::Current => {
                let mut batches = Vec::new();
                for (index, mut next_offset) in scan.start.clone() {
                    let batch = self.shared.read_partition(&state, index, &mut next_offset);
                    batches.extend(batch.map(Ok));
                }
                stream::iter(batches).boxed()
            }
            ScanEnd::Never => Arc::clone(&self.shared).follow(scan.start.clone()),
        };
        Ok(scan)
    }

    async fn positions(&self, group: &str) -> Result<Offsets> {
        Ok(self.committed(group))
    }

    async fn put_dead_letters(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        let mut state = lock(&self.shared.state);
        for dead_letter in dead_letters {
            let id = dead_letter.record_id();
            let is_gap = dead_letter.reason.kind() == ReasonKind::Gap;
            // A record that was resolved is not dead-lettered again. A gap is, because it may have
            // been found again.
            let is_resolved = !is_gap && state.resolved.contains_key(&id);
            let is_pending = pending_index(&state, dead_letter.record.offset, id).is_some();
            if !is_resolved && !is_pending {
                state.dead_letters.push(dead_letter.clone());
            }
        }
        Ok(())
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
        let mut state_guard = lock(&self.shared.state);
        let state = &mut *state_guard;
        let mut resolved_count = 0;
        for dead_letter in dead_letters {
            let id = dead_letter.record_id();
            // Only pending dead letters are resolved.
            let Some(index) = pending_index(state, dead_letter.record.offset, id) else {
                continue;
            };
            state.dead_letters.remove(index);
            let resolved = ResolvedDeadLetter::new(id, dead_letter.id(record_type), resolution);
            state.resolved.insert(id, resolved);
            if resolution == Resolution::Replayed {
                self.shared
                    .append_unnotified(state, dead_letter.replay_record(record_type));
            }
            resolved_count += 1;
        }
        drop(state_guard);
        self.shared.changed.notify_waiters();
        Ok(resolved_count)
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    fn info(&self) -> LogInfo<'_> {
        LogInfo {
            members: Some(self),
            eraser: Some(self),
            ..LogInfo::default()
        }
    }
}

#[async_trait]
impl GroupMembers for InMemoryLog {
    async fn members(&self, group: &str) -> Result<Vec<String>> {
        let state = lock(&self.shared.state);
        // A group that does not exist has no members.
        let Some(group) = state.groups.get(group) else {
            return Ok(Vec::new());
        };
        let members = group.members().map(|member| format!("member {member}"));
        Ok(members.collect())
    }
}

#[async_trait]
impl RecordEraser for InMemoryLog {
    async fn erase(&self, records: &[RecordPosition]) -> Result<u64> {
        let mut state = lock(&self.shared.state);
        let mut erased_count = 0;
        for position in records {
            let partition = state.partitions.get_mut(&position.partition);
            let record = partition.and_then(|partition| partition.get_mut(position.offset));
            // A record that was deleted, or erased before, is passed over.
            if let Some(record) = record.filter(|record| !record.is_erased()) {
                record.erase();
                erased_count += 1;
            }
        }
        Ok(erased_count)
    }
}
