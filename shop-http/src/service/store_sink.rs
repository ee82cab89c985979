//! A store as a sink, for management's own POST, which bypasses the log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shop_core::ports::{Durability, InsertOutcome, PurchaseSink, PurchaseStore, Receipt};
use shop_core::{Error, ErrorKind, Purchase, Result};

/// Writes purchases straight into a store. Conflicts are detected at once.
#[derive(Debug, Clone)]
pub struct StoreSink {
    pub(super) store: Arc<dyn PurchaseStore>,
    /// The durability of a stored purchase.
    pub(super) durability: Durability,
}

impl From<StoreSink> for Arc<dyn PurchaseSink> {
    fn from(sink: StoreSink) -> Self {
        Arc::new(sink)
    }
}

#[async_trait]
impl PurchaseSink for StoreSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        let (kind, message) = match self.store.insert_one(purchase.clone()).await? {
            InsertOutcome::Inserted | InsertOutcome::Duplicate => {
                return Ok(Receipt::new(purchase.id, self.durability));
            }
            InsertOutcome::Unknown(error) => return Err(error),
            InsertOutcome::Conflict => {
                (ErrorKind::Conflict, "the id is taken by a purchase with other content".to_owned())
            }
            InsertOutcome::Rejected(reason) => (ErrorKind::Invalid, reason.to_string()),
            _ => (ErrorKind::Internal, "the store returned an unknown outcome".to_owned()),
        };
        Err(Error::new(kind, message))
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    async fn check(&self) -> Result<()> {
        self.store.check().await
    }

    async fn close(&self, _deadline: Duration) -> Result<()> {
        Ok(())
    }
}
