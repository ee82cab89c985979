//! The state of a service, as `/health` reports it.
//!
//! [`ShopClient::health`] reads the state into a [`Health`], which contains the states of the parts
//! and of the roles of the service. The structs are read from JSON. Most members may be absent from
//! the JSON, because not every service has them, and are then `None`, empty or 0.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use shop_core::api::StuckBody;

use crate::{Result, ShopClient, Timestamp};

/// The state of a service.
///
/// Members that the service does not report are `None`. These are the members of roles that the
/// service does not have, and for a caller without the right to inspect, all members but the
/// status.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// The state in one word: `degraded` if a part is unavailable or an operator is needed,
    /// `unhealthy` without a store, and otherwise `healthy` or `ok`.
    pub status: String,
    /// The parts that requests need, and whether each of them works. A service has some of the
    /// parts `log`, `store`, `listings`, `ingest`, `users` and `orders`.
    #[serde(default)]
    pub parts: BTreeMap<String, bool>,
    /// The state of the ingest of purchases.
    pub ingest: Option<IngestHealth>,
    /// The state of the role of users.
    pub users: Option<EntityHealth>,
    /// The state of the role of orders.
    pub orders: Option<EntityHealth>,
}

/// The state of an ingest.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct IngestHealth {
    /// The name of the [phase](shop_core::ingest::Phase).
    pub phase: String,
    /// The number of records that were stored since the start of the process.
    pub inserted: u64,
    /// The number of records that had been stored before.
    pub duplicates: u64,
    /// The number of records that became dead letters.
    pub dead_lettered: u64,
    /// The number of pending dead letters of the log, if they were counted.
    pub dead_letters_waiting: Option<u64>,
    /// The refunds in the store whose purchase is not there, if there are any.
    pub waiting_refunds: Option<WaitingRefundsHealth>,
    /// The number of records that the log no longer contained.
    pub lost_records: u64,
    /// The gaps of the log whose dead letters are pending.
    pub gaps: Option<GapsHealth>,
    /// The number of records that are being stored.
    pub in_flight: u64,
    /// The number of records after the committed positions, if it is known.
    pub lag: Option<u64>,
    /// The time for which a transaction of another producer has been open, in seconds.
    pub open_transaction_seconds: Option<u64>,
    /// The age in the log of the oldest record of the last batch when the batch was stored, in
    /// milliseconds.
    pub freshness_ms: Option<u64>,
    /// The failing parts, with the kind of the error of each part.
    pub waiting_for: BTreeMap<String, String>,
    /// The oldest record that the store does not accept.
    pub stuck: Option<StuckBody>,
    /// The reason why the ingest has stopped.
    pub stopped_because: Option<String>,
}

/// The refunds that wait in a store for their purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct WaitingRefundsHealth {
    /// The number of refunds.
    pub count: u64,
    /// The time of the oldest refund.
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
    /// The number of unpublished events, if it is known.
    pub outbox: Option<u64>,
    /// The kind of error that keeps events in the outbox.
    pub outbox_waits_for: Option<String>,
    /// The state of the ingest of the other role's events.
    pub events: Option<IngestHealth>,
}

impl ShopClient {
    /// Reads the state of the service, for people and dashboards, by `GET /health`.
    ///
    /// A state that is not healthy is a result, not an error. Beside an admin listener, only the
    /// admin listener has this path.
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
        self.request_report(
            "health",
            "health",
            &[("details", "true".to_owned())],
            "there is no such path at this address: check it",
        )
        .await
    }
}
