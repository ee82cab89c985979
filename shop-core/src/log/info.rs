//! What a log tells about itself, [`LogInfo`], and the ports of what only some logs can do:
//! [`GroupMembers`] and [`RecordEraser`] here, and [`LogGroups`].

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::{Gap, LogGroups, RecordPosition};
use crate::Result;

/// The properties of a log, its problems as currently known, and what it can do beyond
/// [`Log`](super::Log).
///
/// A log around another one returns the [`info`](super::Log::info) of the inner one, and so loses
/// none of it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LogInfo<'a> {
    /// The offset of the first record of a new partition. If a scan of a partition starts at a
    /// greater offset, retention deleted records.
    pub first_offset: u64,
    /// The time for which the log keeps a record that no group has read. `None` if the log keeps a
    /// record until it is read, if the retention is unlimited, or if it is unknown.
    pub retention: Option<Duration>,
    /// The problems of the log while it can be reached.
    pub faults: LogFaults,
    /// Reports the members of groups; `None` if the log does not know them.
    pub members: Option<&'a dyn GroupMembers>,
    /// Lists and changes the groups; `None` if a server manages them.
    pub groups: Option<&'a dyn LogGroups>,
    /// Erases single records; `None` if the log deletes records only by its retention.
    pub eraser: Option<&'a dyn RecordEraser>,
}

/// The problems of a log that can be reached, as currently known.
/// [`LogInfo`] contains them, for health checks and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogFaults {
    /// The partitions that accept no records now, such as `purchases-3`: they have no leader, or
    /// records for them were not acknowledged in time. The other partitions work.
    pub unavailable: Vec<String>,
    /// The records that the log acknowledged to this process, and lost before anybody read them.
    pub lost: Vec<Gap>,
    /// The settings of the log with which acknowledged records can be lost, each with the setting
    /// that prevents this.
    pub weak_settings: Vec<String>,
    /// What is wrong with whole files of an embedded log or store, one sentence for each: the file
    /// is a copy whose pages are being checked, is damaged, or was overwritten while it was open.
    pub files: Vec<String>,
}

/// The members of the consumer groups of a log.
#[async_trait]
pub trait GroupMembers: Debug + Send + Sync + 'static {
    /// Returns the names of the members of `group`, in all processes. On Kafka, these are the client
    /// ids, also of members that belong to another program.
    ///
    /// A member reads the log now, or waits for its turn.
    ///
    /// # Errors
    /// - [`Denied`](crate::ErrorKind::Denied) without the right to describe the group
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached
    async fn members(&self, group: &str) -> Result<Vec<String>>;
}

/// A log that erases single records, before its retention deletes them.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `erase` deletes key, headers and value of records; their positions stay, and ingest skips
///   them (`log_admin::an_erased_record_keeps_its_position`).
#[async_trait]
pub trait RecordEraser: Debug + Send + Sync + 'static {
    /// Deletes key, headers and value of the records at these positions, whether or not a group has
    /// read them. The offsets stay occupied.
    ///
    /// Returns the number of records that were not erased before.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be written; retrying is
    /// safe.
    ///
    /// # Cancel safety
    /// Dropping the future may leave some of the records erased.
    async fn erase(&self, records: &[RecordPosition]) -> Result<u64>;
}
