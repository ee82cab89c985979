//! The check of a topic: finds or creates the topic, and reads its settings.
//!
//! The thread of [`topic_monitor`](crate::topic_monitor) calls [`Topic::refresh`] for each topic.
//! All requests block this thread.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::admin::{ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use shop_core::{Error, ErrorKind, Result};

use super::Topic;
use super::description::{TopicDescription, TopicSettings, setting};
use crate::client::lock;
use crate::error::{from_code, kafka_error};
use crate::number::int32;
use crate::topic_monitor::TopicAdmin;

/// The maximum time to wait for the leaders of a new topic.
const LEADER_TIMEOUT: Duration = Duration::from_secs(4);
/// The pause between two attempts to find the leaders of a topic or to read its settings.
const LEADER_POLL_INTERVAL: Duration = Duration::from_millis(20);

impl Topic {
    /// Checks whether the topic exists, creates a missing topic if that is permitted, reads its
    /// settings, and updates the state. Blocks.
    pub(crate) fn refresh(&self, admin: &TopicAdmin) {
        match self.check(admin) {
            Ok(description) => {
                admin.health.clear_denied();
                self.set_state(Ok(description));
            }
            Err(error) => {
                // An event such as a rejected login explains why no broker responded.
                admin.deliver_events();
                self.record_failure(admin.health.explain(error));
            }
        }
    }

    /// Finds or creates the topic, and waits for up to [`LEADER_TIMEOUT`] until its settings can be
    /// read. Blocks.
    ///
    /// After the timeout, a topic with at least one leader is returned without its settings,
    /// because the partitions with a leader are served.
    ///
    /// # Errors
    /// - the error of [`create`](Self::create) if the topic is missing
    /// - [`Denied`](ErrorKind::Denied) if the topic is compacted
    /// - a retryable error if no partition has a leader in time, or if the brokers do not respond
    fn check(&self, admin: &TopicAdmin) -> Result<TopicDescription> {
        let existing = admin.describe(&self.name)?;
        let is_new = existing.is_none();
        if is_new {
            self.create(admin)?;
        }

        let mut description = existing.unwrap_or_default();
        let deadline = Instant::now() + LEADER_TIMEOUT;
        loop {
            let has_timed_out = Instant::now() >= deadline;
            // The leaders of a new topic are elected shortly after its creation, and not every
            // broker knows the topic yet. So a new topic is awaited until all its partitions have
            // leaders.
            let awaits_all_leaders = is_new && !has_timed_out;
            if description.has_leaders(awaits_all_leaders) {
                match self.read_settings(admin, &description) {
                    Ok(settings) => {
                        description.settings = settings;
                        return Ok(description);
                    }
                    Err(error) if !error.is_retryable() => return Err(error),
                    Err(error) if has_timed_out => {
                        // The partitions with a leader serve, whatever their settings are.
                        tracing::warn!(kafka.topic = &*self.name, error = %error.chain(), "the topic's settings cannot be read yet");
                        return Ok(description);
                    }
                    Err(_retryable) => {}
                }
            } else if has_timed_out {
                return Err(from_code(RDKafkaErrorCode::LeaderNotAvailable));
            }

            // The poll is the pause between two attempts. Without an assignment, it returns no
            // record.
            drop(admin.metadata_client.poll(LEADER_POLL_INTERVAL));
            description = admin.describe(&self.name)?.unwrap_or_default();
        }
    }

    /// Reads the settings of the topic. Blocks.
    ///
    /// Returns the settings of the last check if the brokers do not respond. Returns empty settings
    /// if the user may not read them.
    ///
    /// # Errors
    /// - [`Denied`](ErrorKind::Denied) if the topic is compacted, which would delete purchases
    /// - a retryable error if the brokers do not respond and no settings are known
    fn read_settings(
        &self,
        admin: &TopicAdmin,
        description: &TopicDescription,
    ) -> Result<TopicSettings> {
        let last_settings = self.description().map(|last| last.settings);
        let config = match self.describe_settings(admin, &description.leaders) {
            Ok(config) => {
                *lock(&self.settings_read_at) = Some(Instant::now());
                config
            }
            Err(error) if error.is_retryable() => return last_settings.ok_or(error),
            Err(error) => {
                if last_settings.is_none() {
                    tracing::warn!(kafka.topic = &*self.name, error = %error.chain(), "make sure that the topic's cleanup.policy, which cannot be read, is delete");
                }
                None
            }
        };

        // An unreadable configuration is accepted, with the warning above.
        let Some(config) = config else {
            return Ok(TopicSettings::unreadable());
        };
        self.check_cleanup_policy(&config)?;
        if let Some(text) = setting(&config, "max.message.bytes")
            && let Ok(bytes) = text.parse()
        {
            admin.health.batch_limit.set_topic_limit(&self.name, bytes);
        }
        Ok(TopicSettings::from_config(&config))
    }

    /// Checks that the brokers do not compact the topic.
    ///
    /// The log of another program is not checked: that program decides how its topic is cleaned up.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied) if the topic is compacted, which would delete purchases.
    fn check_cleanup_policy(&self, config: &ConfigResource) -> Result<()> {
        let policy = setting(config, "cleanup.policy").unwrap_or_default();
        if !policy.contains("compact") || self.options.foreign {
            return Ok(());
        }
        let message = format!(
            "the topic {} has cleanup.policy={policy}, which deletes all but the last record of a user: \
             set cleanup.policy=delete",
            self.name
        );
        Err(kafka_error(ErrorKind::Denied, message))
    }

    /// Requests the settings of the topic from its leaders, one after the other until one responds.
    /// Blocks. Returns `None` if the response contains no settings.
    ///
    /// # Errors
    /// The error of the first leader that refuses the request, or else of the last leader. Without
    /// any leader, a retryable error.
    fn describe_settings(
        &self,
        admin: &TopicAdmin,
        leaders: &BTreeSet<i32>,
    ) -> Result<Option<ConfigResource>> {
        let mut last_error = from_code(RDKafkaErrorCode::LeaderNotAvailable);
        for leader in leaders {
            match self.request_settings(admin, *leader) {
                Ok(config) => return Ok(config),
                Err(error) if error.is_retryable() => last_error = error,
                Err(error) => return Err(error),
            }
        }
        Err(last_error)
    }

    /// Requests the settings of the topic from one broker. Blocks.
    ///
    /// Every broker knows the settings. A request without a broker id would wait for the controller
    /// of the cluster.
    fn request_settings(
        &self,
        admin: &TopicAdmin,
        broker_id: i32,
    ) -> Result<Option<ConfigResource>> {
        let topic = ResourceSpecifier::Topic(&self.name);
        let resources = admin.request(|client, options| {
            client.describe_configs([&topic], &options.broker_id(broker_id))
        })?;
        // The response contains one resource, because the request names one topic.
        resources.into_iter().next().transpose().map_err(from_code)
    }

    /// Creates the topic, unless another client creates it at the same time. Blocks.
    ///
    /// # Errors
    /// - the error of [`missing_error`](Self::missing_error) if topics are not created here: by the
    ///   options, for the log of another program, or with OAUTHBEARER
    /// - the error of [`creation_error`](Self::creation_error) if the brokers reject the new topic
    /// - the error of the request if the brokers do not respond
    fn create(&self, admin: &TopicAdmin) -> Result<()> {
        let is_foreign = self.options.foreign && *self.name == *self.options.topic;
        if !self.options.create_topics || is_foreign || self.options.oauth.is_some() {
            return Err(self.missing_error());
        }

        // The value -1 selects the default of the cluster.
        let replication =
            TopicReplication::Fixed(self.options.replication_factor.map_or(-1, int32));
        let mut new_topic = NewTopic::new(&self.name, int32(self.partition_count), replication);
        for (name, value) in &self.config {
            new_topic = new_topic.set(name, value);
        }

        let results =
            admin.request(|client, options| client.create_topics([&new_topic], &options))?;
        for result in results {
            match result {
                Ok(_) => {
                    tracing::info!(kafka.topic = %self.name, partitions = self.partition_count, "topic created");
                }
                // Another client created the topic concurrently.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(self.creation_error(code)),
            }
        }
        Ok(())
    }

    /// Creates the error of a missing topic that an operator must create. [`is_missing`] recognizes
    /// the error.
    pub(super) fn missing_error(&self) -> Error {
        let reason = if self.options.oauth.is_some() {
            "OAUTHBEARER"
        } else {
            "SHOP_KAFKA_CREATE_TOPICS"
        };
        let message = format!(
            "the topic {} is missing, and is not created here ({reason}): create it with {} partitions",
            self.name, self.partition_count
        );
        kafka_error(ErrorKind::Unavailable, message).with_source(MISSING)
    }

    /// Converts the code with which the brokers rejected the creation of the topic to an error.
    ///
    /// A transient error stays retryable, and any other error becomes [`Denied`](ErrorKind::Denied):
    /// an operator must act, and no caller can.
    fn creation_error(&self, code: RDKafkaErrorCode) -> Error {
        let error = from_code(code);
        if error.is_retryable() {
            return error;
        }
        let message = format!(
            "the topic {} is missing and could not be created: create it with {} partitions, or grant CREATE on it",
            self.name, self.partition_count
        );
        kafka_error(ErrorKind::Denied, message).with_source(error)
    }
}

/// The source of the error of a missing topic that is not created here.
const MISSING: RDKafkaErrorCode = RDKafkaErrorCode::UnknownTopicOrPartition;

/// Returns whether `error` is the error of a missing topic, see [`Topic::missing_error`].
pub(super) fn is_missing(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    source.and_then(|source| source.downcast_ref()) == Some(&MISSING)
}
