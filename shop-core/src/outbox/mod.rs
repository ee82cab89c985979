//! The outbox: whoever writes a row of its own that others are to hear of, writes the event beside it, in one atomic
//! write. A [`Relay`] publishes what lies there and then forgets it, so that no crash and no outage of the log loses
//! an event, and none is told that did not happen.
//!
//! ```text
//! row + event ─▶ database ─▶ relay ─▶ log ─▶ whoever hears of it, twice at times
//!                    ▲         │
//!                    └─ forget ┘
//! ```
//!
//! An event is published at least once. Of one key they are published in their order: the next one only when the one
//! before is durable. Relays of several processes may work on one database; they publish twice what both find at a
//! time, so that an event may come again behind a later one of its key. Who minds that tells them apart by what they say,
//! as everybody must who reads what is told at least once.
//!
//! An event that the log does not take holds up those of its key, and in each round the others for as long as an append
//! may take; as many of them as a batch has hold up everything.
//!
//! To use it in a service of your own, implement [`Outbox`] where your rows are, prove it with
//! `outbox_suite!` of the conformance kit, and run a relay beside your service.

mod relay;
#[cfg(test)]
mod relay_test;

use std::fmt::Debug;

use async_trait::async_trait;

use crate::log::LogRecord;
use crate::{Result, Timestamp};

pub use relay::{Relay, RelayMonitor, RelayOptions, RelayStatus};

/// What lies in a database to be published.
///
/// Entries are put in by whatever writes their rows: that is not of this port.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - What was written is pending, in the order of the writes, with key, headers and value as they were given
///   (`outbox::entries_keep_their_order`).
/// - Each entry has a greater id than all before it, those that were forgotten among them, even when the outbox was empty
///   in between: an id is never used again (`outbox::an_id_is_never_used_again`). A database that numbers rows by the
///   greatest one that it has does not keep that; SQLite does with `AUTOINCREMENT`.
/// - `pending` gives at most as many as were asked for, the oldest ones (`outbox::the_oldest_come_first`).
/// - What was forgotten is pending no more, and forgetting again is harmless (`outbox::deleted_entries_stay_deleted`).
/// - `backlog` counts what is pending (`outbox::the_backlog_counts`).
/// - `changed` completes when something was written in this process after the call before
///   (`outbox::a_write_notifies_the_relay`).
/// - A [`Relay`] publishes all of it, and then nothing is pending (`outbox::a_relay_empties_it`).
/// - Whatever fails on the way, and wherever a relay ends, every event is published at least once, and of one key none
///   before the one ahead of it (`outbox::a_relay_under_faults_loses_nothing`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Outbox: Debug + Send + Sync + 'static {
    /// The oldest entries, at most so many.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and the like.
    async fn pending(&self, most: usize) -> Result<Vec<OutboxEntry>>;

    /// Drops the entries with these ids, which were published. Their rows stay.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and the like: some may be dropped all the same.
    async fn delete(&self, ids: &[i64]) -> Result<()>;

    /// How much is pending.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and the like.
    async fn backlog(&self) -> Result<Backlog>;

    /// Waits until this process may have written an entry. What others write is found by looking now and then.
    ///
    /// # Cancel safety
    /// Dropping the future loses no wake-up.
    async fn wait_for_entries(&self);
}

/// An event that waits to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxEntry {
    /// What tells it from others. It grows with each write, and is never used again: a relay may forget an entry only
    /// by its id, and forgets another one that has the same.
    pub id: i64,
    /// When it was written.
    pub time: Timestamp,
    /// What is to be published: key, headers and value. Its offset and time are not looked at, the log sets them.
    pub record: LogRecord,
}

impl OutboxEntry {
    /// An entry as a database has it.
    #[must_use]
    pub const fn new(id: i64, time: Timestamp, record: LogRecord) -> Self {
        Self { id, time, record }
    }
}

/// How much waits to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Backlog {
    /// The number of entries.
    pub entries: u64,
    /// When the oldest of them was written.
    pub oldest: Option<Timestamp>,
}

impl Backlog {
    /// So many entries, the oldest of them from this time.
    #[must_use]
    pub const fn new(entries: u64, oldest: Option<Timestamp>) -> Self {
        Self { entries, oldest }
    }
}
