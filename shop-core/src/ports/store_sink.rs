//! A store as a sink, without a log in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{Durability, InsertOutcome, PurchaseSink, PurchaseStore, Receipt};
use crate::{Error, ErrorKind, Outcome, Purchase, PurchaseId, Result};

/// Writes purchases straight into a store. They are listed as soon as they are published, and conflicts are detected at
/// once.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::InMemoryStore;
/// use shop_core::ports::{Durability, StoreSink};
/// use shop_core::{NewPurchase, Shop};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// let store = InMemoryStore::new();
/// let shop = Shop::of(StoreSink::new(Arc::new(store.clone()), Durability::Memory), store.clone());
/// shop.buy(NewPurchase::of("u1").named("ada").priced("29.99")?).await?;
/// assert_eq!(store.all().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct StoreSink {
    store: Arc<dyn PurchaseStore>,
    durability: Durability,
    closed: Arc<AtomicBool>,
}

impl StoreSink {
    /// A sink over `store`, where a stored purchase has this durability.
    #[must_use]
    pub fn new(store: Arc<dyn PurchaseStore>, durability: Durability) -> Self {
        Self {
            store,
            durability,
            closed: Arc::default(),
        }
    }

    fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed"));
        }
        Ok(())
    }
}

impl InsertOutcome {
    /// The receipt for the purchase `id` that was inserted with this outcome, where a stored purchase has this
    /// durability.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict), [`Erased`](ErrorKind::Erased) or [`Invalid`](ErrorKind::Invalid) if it is not
    /// stored; the error of an unknown outcome.
    #[doc(hidden)]
    pub fn into_receipt(self, id: PurchaseId, durability: Durability) -> Result<Receipt> {
        let (kind, message) = match self {
            Self::Inserted | Self::Waiting => return Ok(Receipt::new(id, durability)),
            Self::Duplicate => {
                return Ok(Receipt {
                    is_duplicate: true,
                    ..Receipt::new(id, durability)
                });
            }
            Self::Unknown(error) => return Err(error),
            Self::Erased => return Err(super::idempotent::erased()),
            Self::Conflict => (
                ErrorKind::Conflict,
                "the id is taken by a purchase with other content".to_owned(),
            ),
            Self::Rejected(reason) => (ErrorKind::Invalid, reason.to_string()),
        };
        Err(Error::new(kind, message).with_outcome(Outcome::NotApplied))
    }
}

#[async_trait]
impl PurchaseSink for StoreSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.open()?;
        self.store
            .insert_one(purchase.clone())
            .await?
            .into_receipt(purchase.id, self.durability)
    }

    /// Inserts all of them as one batch.
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let inserted = async {
            self.open()?;
            self.store.insert(purchases.into()).await
        };
        match inserted.await {
            Ok(outcomes) => {
                // A store of others may miscount.
                let missing = || {
                    InsertOutcome::Unknown(Error::new(ErrorKind::Internal, "an outcome is missing"))
                };
                let outcomes = outcomes.into_iter().chain(std::iter::repeat_with(missing));
                purchases
                    .iter()
                    .zip(outcomes)
                    .map(|(purchase, outcome)| outcome.into_receipt(purchase.id, self.durability))
                    .collect()
            }
            Err(error) => purchases.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn is_storing(&self) -> bool {
        true
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    async fn check(&self) -> Result<()> {
        self.open()?;
        self.store.check().await
    }

    async fn close(&self, _timeout: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}
