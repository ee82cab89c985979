//! A source with faults in its batches.

use std::sync::Mutex;

use async_trait::async_trait;

use super::super::prelude::*;
use crate::lock::lock;
use crate::log::{ControlEvent, Lag};

/// A source with scripted faults.
#[derive(Debug)]
pub(super) struct FaultySource {
    inner: Arc<dyn LogSource>,
    faults: Faults,
    /// A batch to deliver without a fault before anything new.
    next_batch: Mutex<Option<Batch>>,
}

impl FaultySource {
    pub(super) fn new(inner: Arc<dyn LogSource>, faults: Faults) -> Self {
        Self {
            inner,
            faults,
            next_batch: Mutex::default(),
        }
    }

    /// Delivers `batch` with the next fault.
    fn deliver(&self, mut batch: Batch) -> Result<SourceEvent> {
        // A fault is consumed only together with a batch, not by a dropped `next` or a revocation.
        match self.faults.take(Call::Next) {
            Some(Fault::Poison(value)) => batch.records[0].value = Some(value),
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
        match self.inner.next().await? {
            SourceEvent::Batch(batch) => self.deliver(batch),
            // Not subject to faults.
            other => Ok(other),
        }
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        let event = self.inner.next_control().await?;
        if let ControlEvent::Revoked(revocation) = &event {
            let is_revoked = |batch: &mut Batch| revocation.partitions.contains(&batch.partition);
            drop(lock(&self.next_batch).take_if(is_revoked));
        }
        Ok(event)
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        self.inner.commit(positions).await
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
