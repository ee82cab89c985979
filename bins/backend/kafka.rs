//! The backend of a log on Kafka.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use shop_kafka::{KafkaLog, KafkaLogOptions, SaslMechanism};

use super::oauth::TokenEndpoint;
use super::port::{Backend, OpenPort, TopicLog, TopicSpec};
use crate::settings::Settings;
use crate::{CliError, Result};

/// The beginning of the errors of this backend.
const ABOUT: &str = "Kafka cannot be used with these settings";

/// The brokers of the settings.
pub(super) struct Kafka<'a> {
    pub(super) settings: &'a Settings,
    pub(super) brokers: &'a str,
    /// The log that was opened first. The logs of the other topics share its clients.
    pub(super) first_log: OnceLock<KafkaLog>,
}

#[async_trait]
impl Backend for Kafka<'_> {
    async fn log(&self, topic: TopicSpec<'_>) -> Result<OpenPort<TopicLog>> {
        let options = self.log_options(topic)?;
        let opened = match self.first_log.get() {
            Some(first_log) => first_log.open_topic(options),
            None => KafkaLog::open(options).await,
        };
        let log = opened.map_err(CliError::about(ABOUT))?;
        self.first_log.get_or_init(|| log.clone());

        // A check reports the topic that a service would create.
        let is_missing = self.settings.check_config
            && self.settings.kafka_create_topics
            && !log.exists().await?;

        let producing_log = log.clone();
        Ok(OpenPort {
            port: TopicLog::new(
                topic,
                Arc::new(log),
                Arc::new(move || Arc::new(producing_log.sink()) as _),
                ABOUT,
            ),
            name: format!("Kafka, topic {} at {}", topic.name, self.brokers),
            is_missing,
        })
    }
}

impl Kafka<'_> {
    /// Returns the options of the log of `topic`.
    ///
    /// # Errors
    /// The errors of [`TokenEndpoint::from_settings`].
    fn log_options(&self, topic: TopicSpec<'_>) -> Result<KafkaLogOptions> {
        let settings = self.settings;
        let mut options = KafkaLogOptions::new(self.brokers);
        topic.name.clone_into(&mut options.topic);
        options.client_id = settings
            .kafka_client_id
            .clone()
            .unwrap_or_else(|| format!("shop-{}", settings.service.name()));
        options.properties.clone_from(&settings.kafka_properties);
        options.infinite_retention = topic.is_events;
        options.partitions = settings.kafka_partitions;
        options.replication_factor = settings.kafka_replicas;
        options.create_topics = settings.kafka_create_topics && settings.serves();
        options
            .group_instance_id
            .clone_from(&settings.kafka_instance_id);

        options.username.clone_from(&settings.kafka_username);
        options.password.clone_from(&settings.kafka_password);
        if let Some(endpoint) = TokenEndpoint::from_settings(settings)? {
            options.oauth = Some(Arc::new(endpoint));
            options.mechanism = SaslMechanism::OauthBearer;
        }
        if let Some(mechanism) = settings.kafka_sasl_mechanism {
            options.mechanism = mechanism;
        }

        options.tls = settings.kafka_tls;
        options.ca_file.clone_from(&settings.kafka_ca_file);
        options.cert_file.clone_from(&settings.kafka_cert_file);
        options.key_file.clone_from(&settings.kafka_key_file);
        options.compression = settings.kafka_compression;
        if settings.check_config {
            // Kafka must respond before the time limit of the whole check ends.
            options.publish_timeout = Duration::from_millis(1_700);
        }
        Ok(options)
    }
}
