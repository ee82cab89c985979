//! The status of a topic: how far its group is, and what needs an operator.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Operations;
use crate::inspect::{GroupProgress, LogInspection};
use crate::log::{Gap, LogExt as _, ReasonKind};
use crate::{Clock as _, Result, SystemClock, Timestamp};

/// The state of a topic, and the progress of its group.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TopicStatus {
    /// The name of the topic.
    pub topic: String,
    /// The group whose ingest consumes the topic.
    pub group: String,
    /// The number of offsets that the group has not consumed, of all partitions.
    pub lag: u64,
    /// The progress of the group in each partition.
    pub partitions: Vec<GroupProgress>,
    /// How long the log keeps a record that no group has read; `None` if the time is unlimited or
    /// unknown. In JSON, `retention_seconds`.
    #[serde(rename = "retention_seconds", serialize_with = "as_seconds")]
    pub retention: Option<Duration>,
    /// The number of pending dead letters by the kind of their reason.
    #[serde(serialize_with = "by_name")]
    pub dead_letters: BTreeMap<ReasonKind, u64>,
    /// The ranges of records that the log lost, and whose dead letters are pending.
    pub gaps: Vec<Gap>,
}

impl TopicStatus {
    /// Returns a sentence for each loss and delay that needs an operator: a gap, and records that
    /// were unread for more than half of the retention.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for gap in &self.gaps {
            findings.push(format!("lost records: {gap}"));
        }

        // The alert ShopRetentionNear uses the same limit.
        if let Some(age) = self.partitions.iter().filter_map(unread_age).max()
            && let Some(retention) = self.retention
            && age > retention / 2
        {
            findings.push(format!(
                "{}: records have been unread for {}, half of the retention",
                self.topic,
                format_age(age)
            ));
        }
        findings
    }
}

/// A topic with records that nobody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadTopic {
    /// The name of the topic.
    pub topic: String,
    /// The group that has not consumed the records, and has no member.
    pub group: String,
    /// The number of offsets that the group has not consumed, of all partitions.
    pub lag: u64,
    /// The time of the oldest of the records.
    pub oldest: Timestamp,
}

impl fmt::Display for UnreadTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "nobody reads the topic {}: the group {} has no active member, and {} records are unread, the oldest of {}",
            self.topic, self.group, self.lag, self.oldest
        )
    }
}

impl Operations {
    /// Returns the topic if no process consumes it: it has records that the group has not consumed,
    /// and the group has no member.
    ///
    /// A group is without a member for a moment when its only member restarts. A caller should
    /// therefore report the topic only if a second call returns it, too.
    ///
    /// # Errors
    /// - the errors of the log. The error is [`Denied`](crate::ErrorKind::Denied) if the process has
    ///   no right to describe the group.
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) without a log or a group, or if the log does
    ///   not know the members of a group
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn unread_topic(&self) -> Result<Option<UnreadTopic>> {
        let log = self.backend.require_log()?;
        let group = self.backend.require_group()?;
        let partitions = GroupProgress::read(group, &**log).await?;

        // A lag alone is no proof of an unread record: the last offsets of a partition may contain
        // no record.
        let oldest_unread_times = partitions
            .iter()
            .filter_map(|partition| partition.oldest_unread);
        let Some(oldest_unread_time) = oldest_unread_times.min() else {
            return Ok(None);
        };

        let has_members = !log.members(group).await?.is_empty();
        if has_members {
            return Ok(None);
        }
        Ok(Some(UnreadTopic {
            topic: self.backend.topic.clone(),
            group: group.to_owned(),
            lag: partitions.iter().map(|partition| partition.lag).sum(),
            oldest: oldest_unread_time,
        }))
    }

    /// Reads the state of the topic, all its pending dead letters, and the progress of the group.
    ///
    /// Waits for at most a second for the oldest unread record of each partition. Sets no other
    /// time limit.
    ///
    /// # Errors
    /// - the errors of the log
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) without a log or a group
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn status(&self) -> Result<TopicStatus> {
        let log = self.backend.require_log()?;
        let group = self.backend.require_group()?;
        let partitions = GroupProgress::read(group, &**log).await?;
        let inspection = LogInspection::read(&**log).await?;

        Ok(TopicStatus {
            topic: self.backend.topic.clone(),
            group: group.to_owned(),
            lag: partitions.iter().map(|partition| partition.lag).sum(),
            partitions,
            retention: inspection.retention,
            dead_letters: inspection.dead_letters,
            gaps: inspection.gaps,
        })
    }
}

/// Returns the age of the oldest unread record of a partition, if the record was read in time.
#[must_use]
pub fn unread_age(partition: &GroupProgress) -> Option<Duration> {
    Some(SystemClock.now().saturating_since(partition.oldest_unread?))
}

/// Formats a duration in the largest unit that fits into it at least twice, such as `7d`.
#[must_use]
pub fn format_age(age: Duration) -> String {
    let seconds = age.as_secs();
    for (unit_seconds, unit) in [(86_400, 'd'), (3_600, 'h'), (60, 'm')] {
        if seconds >= 2 * unit_seconds {
            return format!("{}{unit}", seconds / unit_seconds);
        }
    }
    format!("{seconds}s")
}

/// Serializes counts by the names of their reasons.
fn by_name<S: Serializer>(
    counts: &BTreeMap<ReasonKind, u64>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let members = counts.iter();
    serializer.collect_map(members.map(|(reason, count)| (reason.as_str(), count)))
}

/// Serializes the whole seconds of a duration.
fn as_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    duration
        .map(|duration| duration.as_secs())
        .serialize(serializer)
}
