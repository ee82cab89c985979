//! What the brokers tell about a topic: its partitions and its settings.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::ConfigResource;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use shop_core::Result;

use crate::client::{ClientHealth, Context};
use crate::error::{from_code, from_kafka};
use crate::number::unsigned;

/// The description of an existing topic by the brokers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TopicDescription {
    /// The partitions without a leader, which accept no records. The other partitions accept
    /// records.
    pub(crate) leaderless: Vec<u32>,
    /// The smallest number of replicas of a partition.
    pub(super) replicas: usize,
    /// The brokers that lead a partition. The set is empty if a new topic is listed without
    /// partitions.
    pub(super) leaders: BTreeSet<i32>,
    pub(crate) settings: TopicSettings,
}

/// The settings of a topic, as far as they can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    /// Whether a broker answered the request for the settings, even with a refusal.
    are_read: bool,
    /// The setting `min.insync.replicas`: how many replicas must have a record before it is
    /// acknowledged.
    pub(super) min_in_sync: Option<usize>,
    /// Whether a replica that lacks acknowledged records may become the leader.
    elects_uncleanly: bool,
    /// The setting `retention.ms`; `None` if it is unlimited or cannot be read.
    pub(crate) retention: Option<Duration>,
}

impl TopicDescription {
    /// Returns whether every partition has a leader and the settings were read.
    pub(crate) fn is_complete(&self) -> bool {
        self.leaderless.is_empty() && self.settings.are_read
    }

    /// Returns whether at least one partition has a leader, or every partition if `awaits_all` is
    /// set.
    pub(super) fn has_leaders(&self, awaits_all: bool) -> bool {
        !self.leaders.is_empty() && (self.leaderless.is_empty() || !awaits_all)
    }

    /// Returns the minimum number of brokers that store a record when it is acknowledged, or `None`
    /// if the setting was not read.
    pub(super) fn guaranteed_replicas(&self) -> Option<u32> {
        let min_in_sync = self.settings.min_in_sync?;
        // `min.insync.replicas` may be above the number of replicas. Brokers then apply the smaller
        // number.
        u32::try_from(min_in_sync.min(self.replicas)).ok()
    }

    /// Returns a sentence for each setting with which acknowledged records can be lost, with the
    /// value to set instead.
    pub(crate) fn weak_settings(&self) -> Vec<String> {
        let mut weak = Vec::new();
        if self.settings.elects_uncleanly {
            weak.push("unclean.leader.election.enable is true: a replica that lacks acknowledged records may become the leader; set it to false".to_owned());
        }
        if self.replicas == 1 {
            weak.push("the topic has one replica: what is acknowledged is lost with its disk; reassign its partitions with three".to_owned());
        } else if self.settings.min_in_sync == Some(1) {
            let replicas = self.replicas;
            weak.push(format!("min.insync.replicas is 1 beside {replicas} replicas: a record may be acknowledged that one broker has; set it to 2"));
        }
        weak
    }

    /// Finds the topic `name` in `metadata`, and describes it without its settings.
    ///
    /// Returns `None` if the topic is missing. A topic whose leaders are not elected yet is
    /// described without partitions.
    ///
    /// # Errors
    /// The error that the brokers report for the topic.
    pub(crate) fn from_metadata(metadata: &Metadata, name: &str) -> Result<Option<Self>> {
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Ok(None);
            }
            Some(RDKafkaErrorCode::LeaderNotAvailable) => return Ok(Some(Self::default())),
            Some(code) => return Err(from_code(code)),
        }

        let partitions = topic.partitions();
        let replica_counts = partitions
            .iter()
            .map(|partition| partition.replicas().len());
        let mut description = Self {
            replicas: replica_counts.min().unwrap_or_default(),
            ..Self::default()
        };
        for partition in partitions {
            // The leader's id is -1 for a leaderless partition.
            if partition.leader() < 0 {
                description.leaderless.push(unsigned(partition.id()));
            } else {
                description.leaders.insert(partition.leader());
            }
        }
        Ok(Some(description))
    }
}

impl TopicSettings {
    /// Returns the settings of a topic whose configuration the user may not read.
    pub(super) fn unreadable() -> Self {
        Self {
            are_read: true,
            ..Self::default()
        }
    }

    /// Reads the settings from the configuration of a topic. A setting that is missing or cannot be
    /// parsed counts as unknown.
    pub(super) fn from_config(config: &ConfigResource) -> Self {
        Self {
            are_read: true,
            elects_uncleanly: setting(config, "unclean.leader.election.enable") == Some("true"),
            min_in_sync: setting(config, "min.insync.replicas")
                .and_then(|count| count.parse().ok()),
            // The value -1 means no limit. It is not an unsigned number, so it becomes `None`.
            retention: setting(config, "retention.ms")
                .and_then(|millis| millis.parse().ok())
                .map(Duration::from_millis),
        }
    }
}

/// Returns the value of the setting `name` in the configuration of a topic.
pub(super) fn setting<'a>(config: &'a ConfigResource, name: &str) -> Option<&'a str> {
    config.get(name)?.value.as_deref()
}

/// Checks that the brokers respond to `consumer`, and that at least one partition of `topic` has a
/// leader. Blocks.
///
/// # Errors
/// - the error of the metadata request
/// - a retryable error if no partition has a leader
/// - the error of an unknown topic if the topic is missing
pub(crate) fn check_served<C>(
    consumer: &BaseConsumer<Context<C>>,
    health: &ClientHealth,
    topic: &str,
    timeout: Duration,
) -> Result<()>
where
    Context<C>: ConsumerContext,
{
    let metadata = consumer
        .fetch_metadata(Some(topic), timeout)
        .map_err(from_kafka)?;
    health.clear_denied();

    match TopicDescription::from_metadata(&metadata, topic)? {
        Some(description) if !description.leaders.is_empty() => Ok(()),
        Some(_) => Err(from_code(RDKafkaErrorCode::LeaderNotAvailable)),
        None => Err(from_code(RDKafkaErrorCode::UnknownTopic)),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};

    use super::*;

    #[test]
    fn settings_are_unknown_if_they_are_missing_or_not_numbers() {
        for (name, value, expected) in [
            ("cleanup.policy", "delete", TopicSettings::unreadable()),
            ("retention.ms", "-1", TopicSettings::unreadable()),
            ("min.insync.replicas", "", TopicSettings::unreadable()),
            (
                "retention.ms",
                "60000",
                TopicSettings {
                    retention: Some(Duration::from_secs(60)),
                    ..TopicSettings::unreadable()
                },
            ),
            (
                "min.insync.replicas",
                "2",
                TopicSettings {
                    min_in_sync: Some(2),
                    ..TopicSettings::unreadable()
                },
            ),
            (
                "unclean.leader.election.enable",
                "true",
                TopicSettings {
                    elects_uncleanly: true,
                    ..TopicSettings::unreadable()
                },
            ),
        ] {
            let entry = ConfigEntry {
                name: name.to_owned(),
                value: Some(value.to_owned()),
                source: ConfigSource::DynamicTopic,
                is_read_only: false,
                is_default: false,
                is_sensitive: false,
            };
            let config = ConfigResource {
                specifier: OwnedResourceSpecifier::Topic("purchases".to_owned()),
                entries: vec![entry],
            };
            assert_eq!(
                TopicSettings::from_config(&config),
                expected,
                "{name}={value}"
            );
        }
    }
}
