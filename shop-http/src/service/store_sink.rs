//! A store as a sink: what management's own POST goes through, past the log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shop_core::ports::{Durability, InsertOutcome, PurchaseSink, PurchaseStore, PurchaseStoreExt, Receipt};
use shop_core::{Error, ErrorKind, Purchase, Result};

/// Puts purchases straight into a store. Here a conflict is known at once.
#[derive(Debug)]
pub(crate) struct StoreSink {
    pub(crate) store: Arc<dyn PurchaseStore>,
    /// What a stored purchase survives.
    pub(crate) durability: Durability,
}

#[async_trait]
impl PurchaseSink for StoreSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        match self.store.insert_one(purchase.clone()).await? {
            InsertOutcome::Inserted | InsertOutcome::Duplicate => {
                Ok(Receipt::new(purchase.id, self.durability))
            }
            InsertOutcome::Conflict => {
                Err(Error::new(ErrorKind::Conflict, "the id is taken by a purchase with other content"))
            }
            InsertOutcome::Rejected(reason) => Err(Error::new(ErrorKind::Invalid, reason.to_string())),
            InsertOutcome::Unknown(error) => Err(error),
            _ => Err(Error::new(
                ErrorKind::Internal,
                "the store answered with an outcome that is not known here",
            )),
        }
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
