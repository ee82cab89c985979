//! What is wrong with a log that can be reached.

use super::Gap;

/// What is wrong with a log that can be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogFaults {
    /// The partitions that take no records now, such as `purchases-3`: they have no leader, or records for them were
    /// not acknowledged in time. The others serve.
    pub unavailable: Vec<String>,
    /// Records that the log had acknowledged to this process, and then lost before anybody read them.
    pub lost: Vec<Gap>,
    /// Settings of the log with which acknowledged records can be lost, each with what to set instead.
    pub weak_settings: Vec<String>,
}
