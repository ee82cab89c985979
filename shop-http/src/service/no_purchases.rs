//! What stands where purchases would, in a service that has none.

use std::sync::Arc;

use async_trait::async_trait;
use shop_core::ports::{InsertOutcome, Page, PageRequest, PurchaseQuery, PurchaseStore, Selector, Summary};
use shop_core::{Error, ErrorKind, Purchase, PurchaseId, Result};

/// A store that is always well and knows nothing of purchases. No route leads to it; with it none has to ask whether
/// there are any.
#[derive(Debug)]
pub(crate) struct NoPurchases;

fn none<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "there are no purchases here"))
}

#[async_trait]
impl PurchaseStore for NoPurchases {
    async fn insert(&self, _batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        none()
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl PurchaseQuery for NoPurchases {
    async fn page(&self, _selector: &Selector, _request: &PageRequest) -> Result<Page> {
        none()
    }

    async fn summary(&self, _selector: &Selector) -> Result<Summary> {
        none()
    }

    async fn get(&self, _id: &PurchaseId) -> Result<Option<Purchase>> {
        none()
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}
