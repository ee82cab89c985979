//! `Arc` and `Box` of a port are that port.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Durability, InsertOutcome, Page, PageRequest, PurchaseQuery, PurchaseSink, PurchaseStore, Receipt,
    Selector, Summary,
};
use crate::{Purchase, PurchaseId, Result};

macro_rules! forward {
    ($pointer:ident) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<T: PurchaseSink + ?Sized> PurchaseSink for $pointer<T> {
            async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
                (**self).publish(purchase).await
            }

            fn durability(&self) -> Durability {
                (**self).durability()
            }

            async fn check(&self) -> Result<()> {
                (**self).check().await
            }

            async fn close(&self, deadline: Duration) -> Result<()> {
                (**self).close(deadline).await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<T: PurchaseStore + ?Sized> PurchaseStore for $pointer<T> {
            async fn insert(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
                (**self).insert(batch).await
            }

            async fn check(&self) -> Result<()> {
                (**self).check().await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<T: PurchaseQuery + ?Sized> PurchaseQuery for $pointer<T> {
            async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
                (**self).page(selector, request).await
            }

            async fn summary(&self, selector: &Selector) -> Result<Summary> {
                (**self).summary(selector).await
            }

            async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
                (**self).get(id).await
            }

            async fn check(&self) -> Result<()> {
                (**self).check().await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
