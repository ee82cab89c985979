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

/// A member of a consumer group on an [`InMemoryLog`](super::InMemoryLog), until it is closed or dropped.
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
        log.change_group(group, |group| group.join(member));
        Self {
            log,
            group: group.to_owned(),
            member,
        }
    }

    /// Makes this source lose its membership, as after a missed session timeout. It joins the group
    /// again by itself.
    #[doc(hidden)]
    pub fn lose_membership(&self) {
        self.log
            .change_group(&self.group, |group| group.expel(self.member));
    }

    /// Leaves the group, upon which other members get the partitions.
    fn leave(&self) {
        self.log
            .change_group(&self.group, |group| group.leave(self.member));
    }

    /// Returns the next event of this member, if there is one. Without `has_room`, records and gaps
    /// are not returned.
    ///
    /// # Errors
    /// If there is no event, returns the time at which to poll again at the latest, which is the
    /// end of a revocation.
    fn poll_once(&self, has_room: bool) -> Result<SourceEvent, Option<Instant>> {
        let mut state = lock(&self.log.state);
        let InMemoryLogState {
            partitions, groups, ..
        } = &mut *state;
        let Some(group) = groups
            .get_mut(&self.group)
            .filter(|group| group.has(self.member))
        else {
            return Ok(SourceEvent::Closed);
        };
        let next_timeout = group.expire(Instant::now());
        if let Some((revoked, cause)) = group.take_event(self.member) {
            return Ok(SourceEvent::Revoked(self.revocation(revoked, cause)));
        }
        // The first partition with a record behind the position of this member.
        let readable = group
            .readable(self.member)
            .find_map(|(index, epoch, fetch)| {
                let held = partitions.get(&index)?;
                let fetch = fetch.unwrap_or(held.first);
                (fetch < held.end()).then_some((index, epoch, fetch, held))
            });
        let Some((index, epoch, fetch, held)) = readable.filter(|_| has_room) else {
            return Err(next_timeout);
        };
        let (event, next) = self.read(self.log.partition(index, epoch), held, fetch);
        group.advance(self.member, index, next);
        Ok(event)
    }

    /// Waits for the next event of this member. Without `has_room`, it waits for revocations and
    /// the end only.
    async fn wait(&self, has_room: bool) -> SourceEvent {
        loop {
            // The waiter is registered before the state is polled, so that a change between the two
            // wakes it.
            let changed = self.log.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.poll_once(has_room) {
                Ok(event) => return event,
                Err(None) => changed.await,
                Err(Some(until)) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = tokio::time::sleep_until(until) => {}
                },
            }
        }
    }

    /// What comes at offset `fetch`, and the offset after it.
    fn read(
        &self,
        partition: Partition,
        held: &PartitionRecords,
        fetch: u64,
    ) -> (SourceEvent, u64) {
        if fetch < held.first {
            let gap = Gap::new(partition, fetch, held.first, GapCause::Deleted);
            return (SourceEvent::Gap(gap), held.first);
        }
        let batch = self.cut(held.from(fetch));
        let next = fetch + batch.len() as u64;
        (SourceEvent::Batch(Batch::new(partition, batch)), next)
    }

    /// Returns the first of `records`, up to the limits of one batch.
    ///
    /// A batch contains at least one record, even if the record is larger than the limit in bytes.
    fn cut(&self, records: &[LogRecord]) -> Vec<LogRecord> {
        let options = &self.log.options;
        let mut bytes = 0;
        let fits = |record: &&LogRecord| {
            let first = bytes == 0;
            bytes += record.size();
            first || bytes <= options.batch_bytes
        };
        records
            .iter()
            .take(options.batch_records)
            .take_while(fits)
            .cloned()
            .collect()
    }

    /// Makes the event of a revocation, which ends when its receiver gives up the partitions or
    /// drops the event.
    fn revocation(&self, revoked: Vec<(u32, u64)>, cause: RevocationCause) -> Revocation {
        let partitions = revoked
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
            move || log.change_group(&group, |group| group.give_up(member, &revoked)),
        )
    }
}

#[async_trait]
impl LogSource for InMemorySource {
    async fn next(&self) -> Result<SourceEvent> {
        Ok(self.wait(true).await)
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        loop {
            match self.wait(false).await {
                SourceEvent::Revoked(revocation) => return Ok(ControlEvent::Revoked(revocation)),
                SourceEvent::Closed => return Ok(ControlEvent::Closed),
                // `poll_once` returns no records and gaps without room, so these do not occur.
                SourceEvent::Batch(_) | SourceEvent::Gap(_) => {}
            }
        }
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        let outcomes = self.log.change_group(&self.group, |group| {
            positions
                .iter()
                .map(|at| group.commit(self.member, at))
                .collect()
        });
        Ok(outcomes)
    }

    async fn lag(&self) -> Result<Lag> {
        let state = lock(&self.log.state);
        let group = state.groups.get(&self.group);
        let behind = |(index, ..): (u32, u64, Option<u64>)| {
            let (first, end) = state
                .partitions
                .get(&index)
                .map_or((0, 0), |held| (held.first, held.end()));
            let next = group
                .and_then(|group| group.committed.get(&index))
                .copied()
                .unwrap_or_default();
            // A committed position beyond the end of the partition is no lag.
            (index, end.saturating_sub(next.max(first)))
        };
        let records = group
            .into_iter()
            .flat_map(|group| group.readable(self.member))
            .map(behind)
            .collect();
        Ok(Lag::new(
            Arc::clone(&self.log.topic),
            self.group.clone(),
            records,
        ))
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self, _deadline: Duration) -> Result<()> {
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
