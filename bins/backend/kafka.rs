//! The log on Kafka.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use shop_kafka::{KafkaLog, KafkaLogOptions, SaslMechanism};

use super::oauth::TokenEndpoint;
use super::port::{Backend, OpenPort, TopicLog, TopicSpec};
use crate::settings::Settings;
use crate::{CliError, Result};

const ABOUT: &str = "Kafka cannot be used with these settings";

pub(super) struct Kafka<'a> {
    pub(super) settings: &'a Settings,
    pub(super) brokers: &'a str,
    /// The log of the first topic, whose clients the others use too.
    pub(super) first: OnceLock<KafkaLog>,
}

#[async_trait]
impl Backend for Kafka<'_> {
    async fn log(&self, topic: TopicSpec<'_>) -> Result<OpenPort<TopicLog>> {
        let options = self.options(topic)?;
        let log = match self.first.get() {
            Some(first) => first.open_topic(options),
            None => KafkaLog::open(options).await,
        };
        let log = log.map_err(CliError::about(ABOUT))?;
        self.first.get_or_init(|| log.clone());
        let may_create = self.settings.check_config && self.settings.kafka_create_topics;
        let to_be_made = may_create && !log.exists().await?;
        let sinks = log.clone();
        Ok(OpenPort {
            port: TopicLog::new(
                topic,
                Arc::new(log),
                Arc::new(move || Arc::new(sinks.sink()) as _),
                ABOUT,
            ),
            name: format!("Kafka, topic {} at {}", topic.name, self.brokers),
            to_be_made,
        })
    }
}

impl Kafka<'_> {
    fn options(&self, topic: TopicSpec<'_>) -> Result<KafkaLogOptions> {
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
        options.oauth =
            TokenEndpoint::from_settings(settings)?.map(|endpoint| Arc::new(endpoint) as _);
        if options.oauth.is_some() {
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
            // Within the time of the whole check.
            options.publish_timeout = Duration::from_millis(1_700);
        }
        Ok(options)
    }
}
