//! A source with faults in its batches, and scripted revocations while batches are in flight.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::call::{Call, Fault};
use super::script::Faults;
use crate::Result;
use crate::log::{
    Batch, CommitOffset, CommitOutcome, ControlEvent, Lag, LogSource, Partition, Revocation,
    RevocationCause, SourceEvent,
};

/// A source with scripted faults.
#[derive(Debug)]
pub(super) struct FaultySource {
    inner: Arc<dyn LogSource>,
    faults: Faults,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a scripted revocation is done.
    redelivers: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Events to return before anything new.
    queue: VecDeque<SourceEvent>,
    /// Batches that were delivered but not committed when the script revoked their partition.
    again: VecDeque<Batch>,
    partitions: BTreeMap<u32, PartitionState>,
}

#[derive(Debug, Default)]
struct PartitionState {
    /// The number of scripted revocations. Epochs exceed those of the log by this number.
    revoked: u64,
    /// Whether a scripted revocation is not done yet.
    is_revoking: bool,
    /// Batches delivered since the log assigned the partition, in the log's epochs.
    uncommitted: Vec<Batch>,
}

impl FaultySource {
    pub(super) fn new(inner: Arc<dyn LogSource>, faults: Faults) -> Self {
        Self {
            inner,
            faults,
            shared: Arc::default(),
        }
    }

    /// Applies faults to a batch. `None` if it is held back until its partition is assigned again.
    fn deliver(&self, mut batch: Batch) -> Option<Result<SourceEvent>> {
        let mut state = self.shared.state();
        let State {
            queue, partitions, ..
        } = &mut *state;
        let partition = partitions.entry(batch.partition.index).or_default();
        if partition.is_revoking {
            partition.uncommitted.push(batch);
            return None;
        }
        // A fault is consumed only together with a batch, not by a dropped `next` or a revocation.
        let fault = self.faults.take(Call::Next);
        if let (Some(Fault::Poison(value)), Some(first)) = (&fault, batch.records.first_mut()) {
            first.value = Some(value.clone());
        }
        partition.uncommitted.push(batch.clone());
        batch.partition.epoch += partition.revoked;
        match fault {
            Some(Fault::DeliverTwice) => queue.push_back(SourceEvent::Batch(batch.clone())),
            Some(Fault::Revoke(timeout)) => {
                partition.is_revoking = true;
                queue.push_back(SourceEvent::Revoked(
                    self.revocation(batch.partition.clone(), timeout),
                ));
            }
            Some(Fault::Refuse(error)) => {
                queue.push_back(SourceEvent::Batch(batch));
                return Some(Err(error));
            }
            _ => {}
        }
        Some(Ok(SourceEvent::Batch(batch)))
    }

    /// A scripted revocation. Batches that are not committed when it ends are redelivered in the
    /// next epoch.
    fn revocation(&self, partition: Partition, timeout: Duration) -> Revocation {
        let shared = Arc::clone(&self.shared);
        let index = partition.index;
        Revocation::new(
            vec![partition],
            RevocationCause::Rebalance,
            timeout,
            move || {
                let mut state = shared.state();
                let State {
                    again, partitions, ..
                } = &mut *state;
                let partition = partitions.entry(index).or_default();
                partition.is_revoking = false;
                partition.revoked += 1;
                again.extend(partition.uncommitted.drain(..));
                shared.redelivers.notify_one();
            },
        )
    }

    /// A revocation by the log, in the epochs of this source.
    fn revoked(&self, mut revocation: Revocation) -> Revocation {
        let mut state = self.shared.state();
        let State {
            queue,
            again,
            partitions,
        } = &mut *state;
        for partition in &mut revocation.partitions {
            let index = partition.index;
            let revoked = partitions.entry(index).or_default();
            revoked.uncommitted.clear();
            partition.epoch += revoked.revoked;
            again.retain(|batch| batch.partition.index != index);
            queue.retain(
                |event| !matches!(event, SourceEvent::Batch(batch) if batch.partition.index == index),
            );
        }
        drop(state);
        revocation
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revocations(&self, index: u32) -> u64 {
        self.state().revocations(index)
    }
}

impl State {
    /// The number of scripted revocations of partition `index`.
    fn revocations(&self, index: u32) -> u64 {
        self.partitions
            .get(&index)
            .map_or(0, |partition| partition.revoked)
    }
}

#[async_trait]
impl LogSource for FaultySource {
    async fn next(&self) -> Result<SourceEvent> {
        loop {
            let again = {
                let mut state = self.shared.state();
                if let Some(event) = state.queue.pop_front() {
                    return Ok(event);
                }
                state.again.pop_front()
            };
            let event = match again {
                Some(batch) => SourceEvent::Batch(batch),
                None => tokio::select! {
                    biased;
                    () = self.shared.redelivers.notified() => continue,
                    event = self.inner.next() => event?,
                },
            };
            let event = match event {
                SourceEvent::Batch(batch) => self.deliver(batch),
                // Not subject to faults.
                SourceEvent::Gap(mut gap) => {
                    gap.partition.epoch += self.shared.revocations(gap.partition.index);
                    Some(Ok(SourceEvent::Gap(gap)))
                }
                SourceEvent::Revoked(revocation) => {
                    Some(Ok(SourceEvent::Revoked(self.revoked(revocation))))
                }
                SourceEvent::Closed => Some(Ok(SourceEvent::Closed)),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        let scripted = {
            let mut state = self.shared.state();
            let place = state
                .queue
                .iter()
                .position(|event| matches!(event, SourceEvent::Revoked(_)));
            place.and_then(|place| state.queue.remove(place))
        };
        if let Some(SourceEvent::Revoked(revocation)) = scripted {
            return Ok(ControlEvent::Revoked(revocation));
        }
        Ok(match self.inner.next_control().await? {
            ControlEvent::Revoked(revocation) => ControlEvent::Revoked(self.revoked(revocation)),
            ControlEvent::Closed => ControlEvent::Closed,
        })
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        let mut of_log = positions.to_vec();
        {
            let state = self.shared.state();
            for CommitOffset { partition, .. } in &mut of_log {
                // An epoch that the script ended belongs to an earlier epoch of the log, too.
                let revoked = state.revocations(partition.index);
                partition.epoch = partition.epoch.wrapping_sub(revoked);
            }
        }
        let outcomes = self.inner.commit(&of_log).await?;
        let mut state = self.shared.state();
        for (position, outcome) in of_log.iter().zip(&outcomes) {
            let partition = state.partitions.get_mut(&position.partition.index);
            if let (Some(partition), CommitOutcome::Committed) = (partition, outcome) {
                for batch in &mut partition.uncommitted {
                    batch
                        .records
                        .retain(|record| record.offset >= position.next_offset);
                }
                partition
                    .uncommitted
                    .retain(|batch| !batch.records.is_empty());
            }
        }
        drop(state);
        Ok(outcomes)
    }

    async fn lag(&self) -> Result<Lag> {
        self.inner.lag().await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.inner.close(deadline).await
    }
}
