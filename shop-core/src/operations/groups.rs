//! Operations on the consumer groups of a log that keeps them itself, such as the embedded log.

use super::Operations;
use crate::log::{LogGroups, LogUsage};
use crate::{Error, ErrorKind, Result};

/// Where the next consumer of a group starts, after [`Operations::reset_group`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupStart {
    /// At the first record of the log.
    First,
    /// At this offset.
    Offset(u64),
    /// Behind the last record of the log.
    End,
}

impl Operations {
    /// Returns the groups of the log, and its disk space.
    ///
    /// # Errors
    /// - the errors of the log
    /// - [`Unsupported`](ErrorKind::Unsupported) without a log, or if a server keeps its groups, as
    ///   with Kafka
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn log_usage(&self) -> Result<LogUsage> {
        self.log_groups()?.usage().await
    }

    /// Deletes the position of `group`, so that the log keeps no records for it. Returns whether there
    /// was such a group.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) while a consumer of the group is active
    /// - the errors of the log
    /// - [`Unsupported`](ErrorKind::Unsupported) without a log, or if a server keeps its groups, as
    ///   with Kafka
    ///
    /// # Cancel safety
    /// Dropping the future leaves the group forgotten or not.
    pub async fn forget_group(&self, group: &str) -> Result<bool> {
        let groups = self.log_groups()?;
        let usage = groups.usage().await?;
        if !contains_group(&usage, group) {
            return Ok(false);
        }
        groups.forget(group).await
    }

    /// Sets the position of `group`, at which its next consumer starts.
    ///
    /// Returns the offset of the first record that it will read, or `None` if there is no such group.
    /// Records that the group consumed before are then consumed again, which duplicates nothing.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) for an offset behind the end of the log
    /// - [`Conflict`](ErrorKind::Conflict) while a consumer of the group is active
    /// - the errors of the log
    /// - [`Unsupported`](ErrorKind::Unsupported) without a log, or if a server keeps its groups, as
    ///   with Kafka
    ///
    /// # Cancel safety
    /// Dropping the future leaves the group at its old or its new position.
    pub async fn reset_group(&self, group: &str, start: GroupStart) -> Result<Option<u64>> {
        let groups = self.log_groups()?;
        let usage = groups.usage().await?;
        let end = usage.next_offset;
        let offset = match start {
            GroupStart::First => self.backend.require_log()?.info().first_offset,
            GroupStart::Offset(offset) if offset > end => {
                let message = format!("{offset} is behind the end of the log, {end}");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            GroupStart::Offset(offset) => offset,
            GroupStart::End => end,
        };
        if !contains_group(&usage, group) {
            return Ok(None);
        }
        let was_reset = groups.reset(group, offset).await?;
        if !was_reset {
            return Ok(None);
        }

        // The log moves a position before its first record to this record, so the position is read
        // again.
        let usage = groups.usage().await?;
        let reset_group = usage.groups.iter().find(|entry| entry.name == group);
        Ok(Some(reset_group.map_or(offset, |entry| entry.next_offset)))
    }

    /// Returns the port of the groups of the log.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) without a log, or if a server keeps its groups.
    fn log_groups(&self) -> Result<&dyn LogGroups> {
        self.backend.require_log()?.info().groups.ok_or_else(|| {
            let message = "the groups of this log are not known";
            Error::new(ErrorKind::Unsupported, message)
        })
    }
}

/// Returns whether the log has the group `group`.
///
/// The callers check this before they change a group, because the log would create a lock file for
/// a group that does not exist.
fn contains_group(usage: &LogUsage, group: &str) -> bool {
    usage.groups.iter().any(|entry| entry.name == group)
}
