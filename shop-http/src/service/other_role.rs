//! The state of a role beside purchases, such as users or orders.
//!
//! `/health` and `/metrics` report each role in the same way, and `/readyz` checks its store. The
//! `accounts` feature describes its roles with the types of this module, so that the reports do not
//! depend on it.

use futures_util::future::BoxFuture;
use shop_core::ingest::IngestMonitor;
use shop_core::{ErrorKind, Result, Timestamp};

/// A role of a service beside purchases, as `/health`, `/readyz` and `/metrics` report it.
pub(crate) struct OtherRole<'a> {
    /// The name of the role in `/health` and in metrics.
    pub(crate) name: &'static str,
    /// The topic that the role consumes.
    pub(crate) subscribed_topic: &'a str,
    /// The ingest of the topic, if it runs in this process.
    pub(crate) ingest: Option<&'a IngestMonitor>,
    /// The outbox of the events of the role, if this process publishes them.
    pub(crate) outbox: Option<OutboxStatus<'a>>,
    /// Whether the store of the role is a file of this process.
    pub(crate) is_local: bool,
    /// The check of the store of the role, which runs when it is polled.
    pub(crate) check: BoxFuture<'a, Result<()>>,
}

/// The state of the outbox of a role, whose events a relay publishes.
pub(crate) struct OutboxStatus<'a> {
    /// The number of published events.
    pub(crate) published: u64,
    /// The kind of the error that keeps the relay from publishing, if there is one.
    pub(crate) waits_for: Option<ErrorKind>,
    /// The query for the number of pending events and the time of the oldest one.
    pub(crate) backlog: BoxFuture<'a, Result<(u64, Option<Timestamp>)>>,
}
