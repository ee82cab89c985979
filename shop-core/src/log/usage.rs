//! The size of a log, and its groups.

use serde::Serialize;

use crate::Timestamp;
use crate::json::optional_text;

/// The disk space and the groups of a log that manages both itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogUsage {
    /// The size of its files in bytes.
    pub bytes: u64,
    /// The bytes that are available to it on its disk.
    pub free_bytes: u64,
    /// The timestamp of its oldest record, if it has one.
    #[serde(with = "optional_text")]
    pub oldest: Option<Timestamp>,
    /// The offset of the next record.
    pub next_offset: u64,
    /// All groups, ordered by name. Records that one of them has not consumed are not deleted.
    pub groups: Vec<GroupPosition>,
}

impl LogUsage {
    /// The usage of a log without groups.
    #[must_use]
    pub const fn new(bytes: u64, free_bytes: u64, oldest: Option<Timestamp>, next_offset: u64) -> Self {
        Self { bytes, free_bytes, oldest, next_offset, groups: Vec::new() }
    }
}

/// The position of a group in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupPosition {
    /// The name of the group.
    #[serde(rename = "group")]
    pub name: String,
    /// The offset of the next record that it reads.
    pub next_offset: u64,
    /// The number of records from there to the end of the log.
    pub behind: u64,
}

impl GroupPosition {
    /// The group `name`, `behind` records before the end.
    #[must_use]
    pub const fn new(name: String, next_offset: u64, behind: u64) -> Self {
        Self { name, next_offset, behind }
    }
}
