//! `Arc` and `Box` of a port are that port.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    CommitOutcome, DeadLetter, DeadLetters, Durability, InsertOutcome, Interruption, Lag, Page, PageRequest,
    Position, PurchaseQuery, PurchaseSink, PurchaseSource, PurchaseStore, Receipt, Selector, SourceEvent,
    Summary,
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
        impl<T: PurchaseSource + ?Sized> PurchaseSource for $pointer<T> {
            async fn next(&self) -> Result<SourceEvent> {
                (**self).next().await
            }

            async fn interruption(&self) -> Result<Interruption> {
                (**self).interruption().await
            }

            async fn commit(&self, positions: &[Position]) -> Result<Vec<CommitOutcome>> {
                (**self).commit(positions).await
            }

            async fn lag(&self) -> Result<Lag> {
                (**self).lag().await
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

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<T: DeadLetters + ?Sized> DeadLetters for $pointer<T> {
            async fn put(&self, letters: &[DeadLetter]) -> Result<()> {
                (**self).put(letters).await
            }

            async fn check(&self) -> Result<()> {
                (**self).check().await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
