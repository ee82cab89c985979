//! A source with the faults of a script.

use std::sync::Mutex;

use async_trait::async_trait;

use super::super::prelude::*;
use super::faulty::Faulty;
use crate::lock::lock;
use crate::log::{ControlEvent, Lag};

/// A source with scripted faults.
#[derive(Debug)]
pub(super) struct FaultySource {
    inner: Arc<Faulty<dyn LogSource>>,
    /// A batch to deliver without a fault before anything new.
    next_batch: Mutex<Option<Batch>>,
}

impl FaultySource {
    /// Wraps `source` so that it fails by the script of `faults`.
    pub(super) fn new(source: Arc<dyn LogSource>, faults: &Faults) -> Self {
        Self {
            inner: Faulty::new(source, faults),
            next_batch: Mutex::default(),
        }
    }

    /// Returns `batch` as an event, or the next fault in its place. A batch that is refused, or is to
    /// be delivered twice, is kept for the next call.
    fn deliver(&self, batch: Batch) -> Result<SourceEvent> {
        // A fault is taken only together with a batch, not by a dropped `next` or a revocation.
        match self.inner.faults.take(Call::Next) {
            Some(Fault::DeliverTwice) => *lock(&self.next_batch) = Some(batch.clone()),
            Some(Fault::Refuse(error)) => {
                *lock(&self.next_batch) = Some(batch);
                return Err(error);
            }
            _ => {}
        }
        Ok(SourceEvent::Batch(batch))
    }
}

#[async_trait]
impl LogSource for FaultySource {
    async fn next(&self) -> Result<SourceEvent> {
        if let Some(batch) = lock(&self.next_batch).take() {
            return Ok(SourceEvent::Batch(batch));
        }
        match self.inner.port.next().await? {
            SourceEvent::Batch(batch) => self.deliver(batch),
            // Not subject to faults.
            other => Ok(other),
        }
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        let event = self.inner.port.next_control().await?;
        if let ControlEvent::Revoked(revocation) = &event {
            let is_revoked = |batch: &mut Batch| revocation.partitions.contains(&batch.partition);
            drop(lock(&self.next_batch).take_if(is_revoked));
        }
        Ok(event)
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        match self.inner.faults.take(Call::Commit) {
            Some(Fault::LoseCommit) => Ok(vec![CommitOutcome::Committed; positions.len()]),
            fault => {
                let port = Arc::clone(&self.inner.port);
                let positions = positions.to_vec();
                let commit = async move { port.commit(&positions).await };
                Faulty::<dyn LogSource>::detachable(fault, commit).await
            }
        }
    }

    async fn lag(&self) -> Result<Lag> {
        self.inner.call(Call::Check, self.inner.port.lag()).await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.inner
            .call(Call::Close, self.inner.port.close(deadline))
            .await
    }
}
