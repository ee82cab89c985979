//! The writer of the in-memory log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::lock;
use super::log::Shared;
use crate::ports::{Durability, PurchaseSink, Receipt};
use crate::record::encode;
use crate::{Error, ErrorKind, Purchase, Result};

/// Appends to an [`InMemoryLog`](super::InMemoryLog).
#[derive(Debug)]
pub struct InMemorySink {
    log: Arc<Shared>,
    closed: AtomicBool,
}

impl InMemorySink {
    pub(super) const fn new(log: Arc<Shared>) -> Self {
        Self {
            log,
            closed: AtomicBool::new(false),
        }
    }

    fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(
                Error::new(ErrorKind::Closed, "the sink is closed").with_origin("memory log")
            );
        }
        Ok(())
    }
}

#[async_trait]
impl PurchaseSink for InMemorySink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.open()?;
        let position = self.log.append(encode(purchase)?);
        Ok(Receipt::new(purchase.id, self.durability()).with_position(position))
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        if let Err(error) = self.check().await {
            return purchases.iter().map(|_| Err(error.clone())).collect();
        }
        let mut state = lock(&self.log.state);
        let published = purchases.iter().map(|purchase| {
            let position = self.log.append_to(&mut state, encode(purchase)?);
            Ok(Receipt::new(purchase.id, self.durability()).with_position(position))
        });
        let published = published.collect();
        drop(state);
        self.log.changed.notify_waiters();
        published
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn check(&self) -> Result<()> {
        self.open()
    }

    async fn close(&self, _deadline: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}
