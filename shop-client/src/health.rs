//! The state of a service, as `/health` reports it.
//!
//! [`ShopClient::health`] reads the state into a [`Health`], which contains the states of the parts
//! and of the roles of the service. Most members may be absent from the JSON, because not every
//! service reports them. An absent member is `None`, empty or 0.

use std::collections::BTreeMap;

use serde::Deserialize;
use shop_api::{EntityHealth, IngestHealth};

use crate::{Result, ShopClient};

/// The state of a service.
///
/// Members that the service does not report are `None`. These are the members of roles that the
/// service does not provide, and for a caller without the right to inspect, all members but the
/// status.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// The state in one word: `degraded` if a part is unavailable or an operator is needed,
    /// `unhealthy` without a store, and otherwise `healthy` or `ok`.
    pub status: String,
    /// The parts that requests need, and whether each of them works. A service reports some of the
    /// parts `log`, `store`, `listings`, `ingest`, `users` and `orders`, and `reader` if no process
    /// reads the log.
    #[serde(default)]
    pub parts: BTreeMap<String, bool>,
    /// What the service has noticed about its parts beside the checks, by part and name of the
    /// reason, in sentences for operators.
    #[serde(default)]
    pub reasons: BTreeMap<String, BTreeMap<String, String>>,
    /// The state of the ingest of purchases.
    pub ingest: Option<IngestHealth>,
    /// The state of the role of users.
    pub users: Option<EntityHealth>,
    /// The state of the role of orders.
    pub orders: Option<EntityHealth>,
}

impl ShopClient {
    /// Reads the state of the service, for people and dashboards, by `GET /health`.
    ///
    /// A state that is not healthy is a result, not an error. If there is an admin listener, only
    /// the admin listener serves this path.
    ///
    /// ```no_run
    /// # async fn example(client: shop_client::ShopClient) -> Result<(), shop_client::Error> {
    /// let health = client.health().await?;
    /// println!("{}, lag {:?}", health.status, health.ingest.and_then(|ingest| ingest.lag));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns [`Unavailable`](crate::ErrorKind::Unavailable) and other kinds if the service does
    /// not respond. The request is not retried.
    pub async fn health(&self) -> Result<Health> {
        let call_name = "health";
        self.request_report(
            call_name,
            "health",
            &[("details", "true".to_owned())],
            "there is no such path at this address: check it",
        )
        .await
    }
}
