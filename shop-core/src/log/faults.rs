//! Problems of a log that can be reached.

use super::Gap;

/// The problems of a log that can be reached, as currently known.
/// [`LogAdmin::faults`](super::LogAdmin::faults) returns them, for health checks and metrics.
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
}
