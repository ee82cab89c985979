//! The port that manages the consumer groups of a log which keeps them itself.
//!
//! The groups of the embedded log are rows of its file, so this port lists and changes them. The
//! groups of Kafka are managed by its brokers, with Kafka's own tools.

use std::fmt::Debug;

use async_trait::async_trait;
use serde::Serialize;

use crate::{Result, Timestamp};

/// The consumer groups of a log, with the disk space that the log needs for them.
///
/// A log deletes no records that one of its groups has not consumed. A group that is no longer used
/// therefore keeps its records until it is forgotten.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `usage` lists the groups with their positions; `reset` and `forget` are a conflict while a
///   consumer of the group is active, and change where its next consumer starts
///   (`log_admin::groups_are_listed_reset_and_forgotten`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait LogGroups: Debug + Send + Sync + 'static {
    /// Returns the disk space and the groups of the log.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be read.
    async fn usage(&self) -> Result<LogUsage>;

    /// Deletes the position of `group`, and returns whether there was such a group.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) while a consumer of the group is active.
    async fn forget(&self, group: &str) -> Result<bool>;

    /// Sets the position of `group` to `next_offset`, and returns whether there is such a group.
    ///
    /// The next consumer of the group starts there. Records that the group consumed before are then
    /// consumed again, which duplicates nothing.
    ///
    /// # Errors
    /// See [`forget`](Self::forget).
    async fn reset(&self, group: &str, next_offset: u64) -> Result<bool>;
}

/// The disk space and the groups of a log that keeps its groups itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogUsage {
    /// The size of the log's files in bytes.
    pub bytes: u64,
    /// The free space in bytes on the disk that contains the log.
    pub free_bytes: u64,
    /// The timestamp of the oldest record, or `None` if the log contains no record.
    pub oldest: Option<Timestamp>,
    /// The offset that the log will assign to the next record.
    pub next_offset: u64,
    /// The positions of all groups, ordered by name. The log does not delete records that one of
    /// these groups has not consumed.
    pub groups: Vec<GroupPosition>,
}

impl LogUsage {
    /// Creates the usage of a log without groups.
    #[must_use]
    pub const fn new(
        bytes: u64,
        free_bytes: u64,
        oldest: Option<Timestamp>,
        next_offset: u64,
    ) -> Self {
        Self {
            bytes,
            free_bytes,
            oldest,
            next_offset,
            groups: Vec::new(),
        }
    }
}

/// The position of one consumer group in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupPosition {
    /// The name of the group.
    #[serde(rename = "group")]
    pub name: String,
    /// The offset of the next record that the group reads.
    pub next_offset: u64,
    /// The number of records from `next_offset` to the end of the log.
    pub behind: u64,
}

impl GroupPosition {
    /// Creates the position of the group `name`, which is `behind` records before the end of the
    /// log.
    #[must_use]
    pub const fn new(name: String, next_offset: u64, behind: u64) -> Self {
        Self {
            name,
            next_offset,
            behind,
        }
    }
}
