//! The state of a role beside purchases.

use futures_util::future::BoxFuture;
use shop_core::ingest::IngestMonitor;
use shop_core::{ErrorKind, Result, Timestamp};

/// A role of a service beside purchases, for `/health` and `/metrics`.
pub(crate) struct OtherRole<'a> {
    /// The name in `/health` and in metrics.
    pub(crate) name: &'static str,
    /// The topic that it consumes.
    pub(crate) subscribed_topic: &'a str,
    pub(crate) ingest: Option<&'a IngestMonitor>,
    /// The outbox of its events, if this process publishes them.
    pub(crate) outbox: Option<OutboxStatus<'a>>,
    /// Whether its store is a file of this process.
    pub(crate) is_local: bool,
    /// Checks whether its store is healthy.
    pub(crate) check: BoxFuture<'a, Result<()>>,
}

/// The outbox of a role, whose events a relay publishes.
pub(crate) struct OutboxStatus<'a> {
    /// The number of published events.
    pub(crate) published: u64,
    /// The error because of which events stay.
    pub(crate) waits_for: Option<ErrorKind>,
    /// Counts the pending events, and finds the time of the oldest.
    pub(crate) backlog: BoxFuture<'a, Result<(u64, Option<Timestamp>)>>,
}
