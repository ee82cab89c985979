//! The ports, each with a script of faults before it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::script::outlive;
use super::{Call, Fault, Faults};
use crate::log::{
    Batch, CommitOffset, CommitOutcome, ControlEvent, DeadLetter, DeadLetters, Lag, LogSource, SourceEvent,
};
use crate::ports::{
    Durability, InsertOutcome, Page, PageRequest, PurchaseQuery, PurchaseSink, PurchaseStore, Receipt,
    Selector, Summary,
};
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result};

#[derive(Debug)]
pub(super) struct FaultySink {
    pub(super) inner: Arc<dyn PurchaseSink>,
    pub(super) faults: Faults,
}

#[async_trait]
impl PurchaseSink for FaultySink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.faults.around(Call::Publish, self.inner.publish(purchase)).await
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn check(&self) -> Result<()> {
        self.faults.around(Call::Check, self.inner.check()).await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.inner.close(deadline).await
    }
}

#[derive(Debug)]
pub(super) struct FaultySource {
    inner: Arc<dyn LogSource>,
    faults: Faults,
    /// Batches that come again before anything new.
    again: Mutex<VecDeque<Batch>>,
}

impl FaultySource {
    pub(super) const fn new(inner: Arc<dyn LogSource>, faults: Faults) -> Self {
        Self { inner, faults, again: Mutex::new(VecDeque::new()) }
    }

    fn again(&self) -> std::sync::MutexGuard<'_, VecDeque<Batch>> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LogSource for FaultySource {
    async fn next(&self) -> Result<SourceEvent> {
        if let Some(batch) = self.again().pop_front() {
            return Ok(SourceEvent::Batch(batch));
        }
        // The fault is taken when there is a batch to suffer it: a `next` that is dropped while it waits uses
        // none up, and neither does a revocation.
        let event = self.inner.next().await?;
        let SourceEvent::Batch(mut batch) = event else { return Ok(event) };
        match self.faults.take(Call::Next) {
            Some(Fault::DeliverTwice) => self.again().push_back(batch.clone()),
            Some(Fault::Poison(value)) => {
                if let Some(first) = batch.records.first_mut() {
                    first.value = Some(value);
                }
            }
            Some(Fault::Refuse(error)) => {
                self.again().push_back(batch);
                return Err(error);
            }
            _ => {}
        }
        Ok(SourceEvent::Batch(batch))
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        self.inner.next_control().await
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        match self.faults.take(Call::Commit) {
            Some(Fault::LoseCommit) => Ok(vec![CommitOutcome::Committed; positions.len()]),
            Some(Fault::CompleteAfterTimeout(time)) => {
                let (inner, positions) = (Arc::clone(&self.inner), positions.to_vec());
                Err(outlive(time, async move { inner.commit(&positions).await }))
            }
            fault => self.faults.suffer(fault, self.inner.commit(positions)).await,
        }
    }

    async fn lag(&self) -> Result<Lag> {
        self.faults.around(Call::Check, self.inner.lag()).await
    }

    async fn check(&self) -> Result<()> {
        self.faults.around(Call::Check, self.inner.check()).await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.inner.close(deadline).await
    }
}

#[derive(Debug)]
pub(super) struct FaultyStore {
    pub(super) inner: Arc<dyn PurchaseStore>,
    pub(super) faults: Faults,
}

impl FaultyStore {
    async fn insert_half(&self, batch: &[Purchase]) -> Result<Vec<InsertOutcome>> {
        let half: Arc<[Purchase]> = batch.iter().step_by(2).cloned().collect();
        let inserted = self.inner.insert(half).await?;
        let left_out = || Error::new(ErrorKind::Unavailable, "left out on purpose").with_origin("fault");
        let outcomes = inserted.into_iter().flat_map(|known| [known, InsertOutcome::Unknown(left_out())]);
        Ok(outcomes.take(batch.len()).collect())
    }
}

#[async_trait]
impl PurchaseStore for FaultyStore {
    async fn insert(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        match self.faults.take(Call::Insert) {
            Some(Fault::PartialInsert) => self.insert_half(&batch).await,
            Some(Fault::CompleteAfterTimeout(time)) => {
                let inner = Arc::clone(&self.inner);
                Err(outlive(time, async move { inner.insert(batch).await }))
            }
            fault => self.faults.suffer(fault, self.inner.insert(batch)).await,
        }
    }

    async fn check(&self) -> Result<()> {
        self.faults.around(Call::Check, self.inner.check()).await
    }
}

#[derive(Debug)]
pub(super) struct FaultyQuery {
    pub(super) inner: Arc<dyn PurchaseQuery>,
    pub(super) faults: Faults,
}

#[async_trait]
impl PurchaseQuery for FaultyQuery {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        self.faults.around(Call::Query, self.inner.page(selector, request)).await
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        self.faults.around(Call::Query, self.inner.summary(selector)).await
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        self.faults.around(Call::Query, self.inner.get(id)).await
    }

    async fn check(&self) -> Result<()> {
        self.faults.around(Call::Check, self.inner.check()).await
    }
}

#[derive(Debug)]
pub(super) struct FaultyDeadLetters {
    pub(super) inner: Arc<dyn DeadLetters>,
    pub(super) faults: Faults,
}

#[async_trait]
impl DeadLetters for FaultyDeadLetters {
    async fn put(&self, letters: &[DeadLetter]) -> Result<()> {
        match self.faults.take(Call::PutDeadLetters) {
            Some(Fault::CompleteAfterTimeout(time)) => {
                let (inner, letters) = (Arc::clone(&self.inner), letters.to_vec());
                Err(outlive(time, async move { inner.put(&letters).await }))
            }
            fault => self.faults.suffer(fault, self.inner.put(letters)).await,
        }
    }

    async fn check(&self) -> Result<()> {
        self.faults.around(Call::Check, self.inner.check()).await
    }
}
