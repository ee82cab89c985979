//! The reader of the in-memory log: one member of a consumer group.
//!
//! No task runs in the background. A caller that waits for an event polls the shared state of the
//! log, and is woken by each change of the log, or when the next revocation times out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::group::MemberId;
use super::log::{InMemoryLogInner, InMemoryLogState, PartitionRecords};
use crate::Result;
use crate::lock::lock;
use crate::log::{
    Batch, CommitOffset, CommitOutcome, ControlEvent, Gap, GapCause, Lag, LogRecord, LogSource,
    Partition, Revocation, RevocationCause, SourceEvent,
};

/// The events that a caller can accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AcceptedEvents {
    /// Batches and gaps, revocations, and the end of the source.
    All,
    /// Revocations and the end of the source.
    Control,
}

/// A member of a consumer group on an [`InMemoryLog`](super::InMemoryLog), until it is closed or
/// dropped.
#[derive(Debug)]
pub struct InMemorySource {
    log: Arc<InMemoryLogInner>,
    group: String,
    member: MemberId,
}

impl InMemorySource {
    /// Joins the consumer group `group` of `log` as a new member. The partitions are rebalanced.
    pub(super) fn join(log: Arc<InMemoryLogInner>, group: &str) -> Self {
        let member = {
            let mut state = lock(&log.state);
            state.last_member += 1;
            state.last_member
        };
        log.update_group(group, |group| group.join(member));
        Self {
            log,
            group: group.to_owned(),
            member,
        }
    }

    /// Makes this source lose its membership, as after a missed session timeout. It joins the group
    /// again by itself.
    pub fn lose_membership(&self) {
        self.log
            .update_group(&self.group, |group| group.evict(self.member));
    }

    /// Leaves the group, upon which other members get the partitions.
    fn leave(&self) {
        self.log
            .update_group(&self.group, |group| group.leave(self.member));
    }

    /// Returns the next of the `accepted_events` of this member, without waiting for one. Takes
    /// partitions whose revocation timed out from their owners first.
    ///
    /// # Errors
    /// If there is no event, returns the end of the next revocation, at which the caller must poll
    /// again. Returns `None` if no revocation is running.
    fn poll_once(&self, accepted_events: AcceptedEvents) -> Result<SourceEvent, Option<Instant>> {
        let mut state = lock(&self.log.state);
        let InMemoryLogState {
            partitions, groups, ..
        } = &mut *state;
        let Some(group) = groups
            .get_mut(&self.group)
            .filter(|group| group.has_member(self.member))
        else {
            return Ok(SourceEvent::Closed);
        };
        let next_revocation_end = group.expire_revocations(Instant::now());
        if let Some((revoked, cause)) = group.take_event(self.member) {
            return Ok(SourceEvent::Revoked(self.create_revocation(revoked, cause)));
        }
        if accepted_events == AcceptedEvents::Control {
            return Err(next_revocation_end);
        }

        // The first partition with a record behind the position of this member.
        let next_partition = group.readable(self.member).find_map(|(index, owned)| {
            let records = partitions.get(index)?;
            let offset = owned.fetch_offset.unwrap_or(records.first_offset);
            let has_record = offset < records.end();
            has_record.then(|| (self.log.partition(*index, owned.epoch), offset, records))
        });
        let Some((partition, offset, records)) = next_partition else {
            return Err(next_revocation_end);
        };

        let index = partition.index;
        let (event, next_offset) = self.read_event(partition, records, offset);
        group.set_fetch_offset(self.member, index, next_offset);
        Ok(event)
    }

    /// Waits for the next of the `accepted_events` of this member.
    async fn wait_for_event(&self, accepted_events: AcceptedEvents) -> SourceEvent {
        loop {
            // The waiter is registered before the state is polled, so that a change between the two
            // wakes it.
            let change_notification = self.log.changed.notified();
            tokio::pin!(change_notification);
            change_notification.as_mut().enable();
            match self.poll_once(accepted_events) {
                Ok(event) => return event,
                Err(None) => change_notification.await,
                Err(Some(revocation_end)) => tokio::select! {
                    biased;
                    () = change_notification => {}
                    () = tokio::time::sleep_until(revocation_end) => {}
                },
            }
        }
    }

    /// Reads the event at `offset` of `partition`: a batch, or a gap if the records at `offset` were
    /// deleted. Returns the event, and the first offset after the event.
    fn read_event(
        &self,
        partition: Partition,
        records: &PartitionRecords,
        offset: u64,
    ) -> (SourceEvent, u64) {
        let first_offset = records.first_offset;
        if offset < first_offset {
            let gap = Gap::new(partition, offset, first_offset, GapCause::Deleted);
            return (SourceEvent::Gap(gap), first_offset);
        }
        let batch = self.first_batch(records.records_from(offset));
        let next_offset = offset + batch.len() as u64;
        (
            SourceEvent::Batch(Batch::new(partition, batch)),
            next_offset,
        )
    }

    /// Returns the first of `records`, up to the limits of one batch.
    ///
    /// A batch contains at least one record, even if the record is larger than the limit in bytes.
    fn first_batch(&self, records: &[LogRecord]) -> Vec<LogRecord> {
        let options = &self.log.options;
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        for record in records.iter().take(options.batch_records) {
            batch_bytes += record.size();
            if batch_bytes > options.batch_bytes && !batch.is_empty() {
                break;
            }
            batch.push(record.clone());
        }
        batch
    }

    /// Creates the revocation of `revoked_partitions`, each an index and an epoch.
    ///
    /// The member gives up the partitions when the receiver of the revocation drops it, or calls
    /// [`Revocation::done`]. Partitions that the member already lost are not given up again.
    fn create_revocation(
        &self,
        revoked_partitions: Vec<(u32, u64)>,
        cause: RevocationCause,
    ) -> Revocation {
        let partitions = revoked_partitions
            .iter()
            .map(|(index, epoch)| self.log.partition(*index, *epoch))
            .collect();
        let log = Arc::clone(&self.log);
        let group = self.group.clone();
        let member = self.member;
        Revocation::new(
            partitions,
            cause,
            self.log.options.revocation_timeout,
            move || log.update_group(&group, |group| group.give_up(member, &revoked_partitions)),
        )
    }
}

#[async_trait]
impl LogSource for InMemorySource {
    async fn next(&self) -> Result<SourceEvent> {
        Ok(self.wait_for_event(AcceptedEvents::All).await)
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        loop {
            match self.wait_for_event(AcceptedEvents::Control).await {
                SourceEvent::Revoked(revocation) => return Ok(ControlEvent::Revoked(revocation)),
                SourceEvent::Closed => return Ok(ControlEvent::Closed),
                // `poll_once` returns control events only, so these do not occur.
                SourceEvent::Batch(_) | SourceEvent::Gap(_) | SourceEvent::PartitionEnd(_) => {}
            }
        }
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        let outcomes = self.log.update_group(&self.group, |group| {
            positions
                .iter()
                .map(|position| group.commit(self.member, position))
                .collect()
        });
        Ok(outcomes)
    }

    /// Returns the lag of each partition of this member. The lag of a partition without a committed
    /// position begins at its first offset.
    async fn lag(&self) -> Result<Lag> {
        let state = lock(&self.log.state);
        let group = state.groups.get(&self.group);
        let partition_lag = |(index, _owned): (&u32, _)| {
            // A partition that does not exist is empty.
            let (first_offset, end) = state
                .partitions
                .get(index)
                .map_or((0, 0), |records| (records.first_offset, records.end()));
            let committed_offset = group
                .and_then(|group| group.committed.get(index))
                .copied()
                .unwrap_or_default();
            // A committed position beyond the end of the partition is no lag.
            (
                *index,
                end.saturating_sub(committed_offset.max(first_offset)),
            )
        };
        let records = group
            .into_iter()
            .flat_map(|group| group.readable(self.member))
            .map(partition_lag)
            .collect();
        Ok(Lag::new(
            Arc::clone(&self.log.topic),
            self.group.clone(),
            records,
        ))
    }

    async fn close(&self, _timeout: Duration) -> Result<()> {
        self.leave();
        Ok(())
    }
}

impl Drop for InMemorySource {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::memory::InMemoryLog;

    #[tokio::test]
    async fn a_position_beyond_the_end_is_no_lag() {
        let log = InMemoryLog::default();
        let source = log.source("group");
        drop(log.append(LogRecord::new(0, Timestamp::MIN, None)));
        let SourceEvent::Batch(batch) = source.next().await.unwrap() else {
            panic!("a batch")
        };
        source
            .commit(&[CommitOffset::new(batch.partition, 7)])
            .await
            .unwrap();
        assert_eq!(source.lag().await.unwrap().total(), 0);
    }
}
