//! The transactional outbox: a service writes a row and its event in one atomic write, and a
//! [`Relay`] publishes the event to the log and then deletes it from the outbox.
//!
//! No crash and no outage loses an event, and no event is published for a row that was not written.
//!
//! ```text
//! row + event ─▶ database ─▶ relay ─▶ log ─▶ consumers (at least once)
//!                    ▲         │
//!                    └─ delete ┘
//! ```
//!
//! Events are published at least once. The events of one key are published in order: each event
//! only when the previous one is durable. Relays of several processes may share one database. Each
//! relay publishes the events that it reads, so an event may be published again after a later event
//! of its key. Consumers deduplicate events by their content, as for any at-least-once delivery.
//!
//! An event that the log rejects blocks the events of its key, and delays each round by the timeout
//! of one append. If all events of a batch are rejected, the relay makes no progress.
//!
//! To use the outbox in your own service, implement [`Outbox`] for your database, test your
//! implementation with `outbox_suite!` of the conformance kit, and run a relay in your service.

mod relay;
#[cfg(test)]
mod relay_test;

use std::fmt::Debug;

use async_trait::async_trait;
use shop_core::log::LogRecord;
use shop_core::{Result, Timestamp};

pub use relay::{Relay, RelayMonitor, RelayOptions, RelayStatus};

/// The pending events of a database.
///
/// The writes of the rows add the entries, which is not part of this port.
///
/// ```
/// use std::sync::{Mutex, PoisonError};
///
/// use shop_accounts::outbox::{Backlog, Outbox, OutboxEntry};
/// use shop_core::{Result, async_trait};
/// use tokio::sync::Notify;
///
/// /// Your database: the statement that each method runs is in its comment.
/// #[derive(Debug, Default)]
/// struct Refunds {
///     outbox: Mutex<Vec<OutboxEntry>>,
///     /// The notification after each commit that has written an entry.
///     written: Notify,
/// }
///
/// #[async_trait]
/// impl Outbox for Refunds {
///     /// `SELECT id, created_at, key, headers, value FROM outbox ORDER BY id LIMIT ?`
///     async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
///         let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
///         Ok(outbox.iter().take(limit).cloned().collect())
///     }
///
///     /// `DELETE FROM outbox WHERE id IN (…)`
///     async fn delete(&self, ids: &[i64]) -> Result<()> {
///         let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
///         outbox.retain(|entry| !ids.contains(&entry.id));
///         Ok(())
///     }
///
///     /// `SELECT count(*), min(created_at) FROM outbox`
///     async fn backlog(&self) -> Result<Backlog> {
///         let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
///         Ok(Backlog::new(outbox.len() as u64, outbox.first().map(|entry| entry.time)))
///     }
///
///     async fn wait_for_entries(&self) {
///         self.written.notified().await;
///     }
/// }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - Written events are pending, in the order of the writes, with key, headers and value unchanged
///   (`outbox::entries_keep_their_order`).
/// - Entries of one key are pending in the order in which their writes were committed, even if
///   several writes were open at once (`outbox::open_writes_of_a_key_keep_their_order`). A sequence
///   violates this rule, because it assigns ids in the order of the writes. Lock the key from
///   before an entry gets its id until the commit.
/// - An entry is pending from its commit on, even if greater ids of other keys were published
///   before (`outbox::a_late_commit_is_not_skipped`). `pending` must not remember how far it was
///   read.
/// - The id of an entry is greater than the ids of all earlier entries, including deleted ones,
///   even if the outbox was empty in between: ids are never reused
///   (`outbox::an_id_is_never_reused`). A database that assigns the greatest existing id plus one
///   violates this rule. SQLite needs `AUTOINCREMENT`.
/// - `pending` returns at most the requested number of entries, oldest first
///   (`outbox::entries_keep_their_order`).
/// - Deleted entries are no longer pending, and deleting again is harmless
///   (`outbox::deleted_entries_stay_deleted`).
/// - `backlog` counts the pending entries (`outbox::deleted_entries_stay_deleted`).
/// - `wait_for_entries` completes when this process has written an entry since the previous call
///   (`outbox::a_write_notifies_the_relay`).
/// - A [`Relay`] publishes all entries and leaves none pending. Under faults and restarts of the
///   relay, every event is published at least once, and events of one key in order
///   (`outbox::a_relay_under_faults_loses_nothing`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait Outbox: Debug + Send + Sync + 'static {
    /// Returns the oldest pending entries, at most `limit`, in the order of their ids. A relay
    /// calls it in each round.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) and other transient errors.
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>>;

    /// Deletes entries whose events were published. The rows that the events are about stay.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) and other transient errors. Some entries
    /// may be deleted nevertheless.
    async fn delete(&self, ids: &[i64]) -> Result<()>;

    /// Returns the number and age of pending entries, for metrics and health checks.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) and other transient errors.
    async fn backlog(&self) -> Result<Backlog>;

    /// Waits until this process may have written an entry since the previous call.
    ///
    /// Entries of other processes may complete the wait too. If they do not, the relay finds them
    /// by polling.
    ///
    /// # Cancel safety
    /// Dropping the future loses no notification.
    async fn wait_for_entries(&self);
}

/// A pending event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxEntry {
    /// The id of the entry. Ids ascend with each write and are never reused: entries are deleted by
    /// id, so a reused id would delete a later entry.
    pub id: i64,
    /// The time when the entry was written.
    pub time: Timestamp,
    /// The record to publish: key, headers and value. The offset and the timestamp are ignored,
    /// because the log assigns them.
    pub record: LogRecord,
}

impl OutboxEntry {
    /// Creates an entry from its values in a database.
    #[must_use]
    pub const fn new(id: i64, time: Timestamp, record: LogRecord) -> Self {
        Self { id, time, record }
    }
}

/// The number and age of pending entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Backlog {
    /// The number of pending entries.
    pub entries: u64,
    /// The time when the oldest entry was written, or `None` if there are no entries.
    pub oldest: Option<Timestamp>,
}

impl Backlog {
    /// Creates a backlog of `entries` entries, of which the oldest was written at `oldest`.
    #[must_use]
    pub const fn new(entries: u64, oldest: Option<Timestamp>) -> Self {
        Self { entries, oldest }
    }
}
