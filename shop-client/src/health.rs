//! The state of a service, as `/health` reports it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use shop_core::api::StuckBody;

use crate::{Result, ShopClient, Timestamp};

/// The state of a service. Members that it does not report are `None`: those of roles that it does not have, and all
/// but the status for a caller without the right to inspect.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// `degraded` when a part is unavailable or an operator is needed, `unhealthy` without a store, else `healthy` or
    /// `ok`.
    pub status: String,
    /// The parts that requests need, and whether each works: of `log`, `store`, `listings`, `ingest`, `users` and
    /// `orders` those that the service has.
    #[serde(default)]
    pub parts: BTreeMap<String, bool>,
    /// The ingest of purchases.
    pub ingest: Option<IngestHealth>,
    /// The role of users.
    pub users: Option<EntityHealth>,
    /// The role of orders.
    pub orders: Option<EntityHealth>,
}

/// The state of an ingest.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct IngestHealth {
    /// The name of the [phase](shop_core::ingest::Phase).
    pub phase: String,
    /// Records stored since the start of the process.
    pub inserted: u64,
    /// Records that were stored before.
    pub duplicates: u64,
    /// Records that became dead letters.
    pub dead_lettered: u64,
    /// The pending dead letters of the log, if they were counted.
    pub dead_letters_waiting: Option<u64>,
    /// The refunds in the store whose purchase is not there, if there are any.
    pub waiting_refunds: Option<WaitingRefundsHealth>,
    /// Records that the log no longer had.
    pub lost_records: u64,
    /// The gaps of the log whose dead letters are pending.
    pub gaps: Option<GapsHealth>,
    /// Records that are being stored.
    pub in_flight: u64,
    /// The records after the committed positions, if known.
    pub lag: Option<u64>,
    /// For how long another producer's transaction has been open, in seconds.
    pub open_transaction_seconds: Option<u64>,
    /// The age in the log of the oldest record of the last batch when it was stored, in milliseconds.
    pub freshness_ms: Option<u64>,
    /// The failing parts, with the kind of each error.
    pub waiting_for: BTreeMap<String, String>,
    /// The oldest record that the store does not accept.
    pub stuck: Option<StuckBody>,
    /// Why it has stopped.
    pub stopped_because: Option<String>,
}

/// The refunds that wait in a store for their purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct WaitingRefundsHealth {
    /// The number of refunds.
    pub count: u64,
    /// The time of the oldest one.
    pub oldest: Option<Timestamp>,
}

/// The gaps of a log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct GapsHealth {
    /// The number of lost records.
    pub records: u64,
    /// Some of the gaps: their topic, partition, offsets, count and cause.
    pub pending: Vec<Value>,
}

/// The state of the role of users or of orders.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct EntityHealth {
    /// Whether the store responds.
    pub store: bool,
    /// The number of unpublished events, if known.
    pub outbox: Option<u64>,
    /// The kind of error that keeps events in the outbox.
    pub outbox_waits_for: Option<String>,
    /// The ingest of the other role's events.
    pub events: Option<IngestHealth>,
}

impl ShopClient {
    /// The state of the service, for people and dashboards, by `GET /health`. A state that is not healthy is a result,
    /// not an error. Beside an admin listener, only that one has this path.
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
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and others when the service does not respond. It is not retried.
    pub async fn health(&self) -> Result<Health> {
        let details = [("details", "true".to_owned())];
        self.report(
            "health",
            "health",
            &details,
            "there is no such path at this address: check it",
        )
        .await
    }
}
