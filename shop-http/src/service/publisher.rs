//! The sink of a service, with time-outs and measurements.

use std::sync::Arc;
use std::time::Duration;

use shop_core::ports::{Durability, PurchaseSink, Receipt};
use shop_core::{Purchase, Result, async_trait};
use tokio::time::Instant;

use crate::metrics::Publishing;
use crate::options::HttpOptions;
use crate::service::recent::LastPurchases;
use crate::service::within;

/// Publishes to a port in time, and measures it.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(super) port: Arc<dyn PurchaseSink>,
    pub(super) publishing: Publishing,
    pub(super) options: Arc<HttpOptions>,
    /// The last purchases that this process acknowledged, if listings wait for them.
    pub(super) recent: Option<LastPurchases>,
}

#[async_trait]
impl PurchaseSink for Publisher {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        let begun = Instant::now();
        let published = within(self.options.publish_timeout, self.port.publish(purchase)).await;
        self.publishing.ended(begun, std::slice::from_ref(&published));
        let receipt = published?;
        if let Some(recent) = &self.recent {
            recent.remember(purchase, &receipt);
        }
        Ok(receipt)
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let begun = Instant::now();
        // The sink may wait for room as long as for the publish itself.
        let timeout = self.options.publish_timeout.saturating_mul(2);
        let published = within(timeout, async { Ok(self.port.publish_many(purchases).await) }).await;
        let results = published.unwrap_or_else(|error| vec![Err(error); purchases.len()]);
        self.publishing.ended(begun, &results);
        if let Some(recent) = &self.recent {
            let all = purchases.iter().zip(&results);
            recent.remember_all(all.filter_map(|(purchase, result)| Some((purchase, result.as_ref().ok()?))));
        }
        results
    }

    fn durability(&self) -> Durability {
        self.port.durability()
    }

    async fn check(&self) -> Result<()> {
        self.port.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.port.close(deadline).await
    }
}
