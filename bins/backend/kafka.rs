//! The backend of a log on Kafka.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use shop_kafka::{KafkaLog, KafkaLogOptions, SaslMechanism};
use shop_store::StoreInspection;

use super::oauth::TokenEndpoint;
use super::port::{Backend, OpenPort, TopicLog, TopicSpec};
use crate::settings::Settings;
use crate::{CliError, Result};

/// The beginning of the errors of this backend.
const ABOUT: &str = "Kafka cannot be used with these settings";

/// The brokers of the settings.
pub(super) struct Kafka<'a> {
    pub(super) settings: &'a Settings,
    /// The options of a log in general.
    pub(super) options: KafkaLogOptions,
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
        let is_missing =
            self.settings.check_config && self.options.create_topics && !log.exists().await?;

        let producing_log = log.clone();
        Ok(OpenPort {
            port: TopicLog::new(topic, log, move || Arc::new(producing_log.sink()), ABOUT),
            name: format!("Kafka, topic {} at {}", topic.name, self.options.brokers),
            is_missing,
            inspection: StoreInspection::default(),
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
        let mut options = self.options.clone();
        topic.name.clone_into(&mut options.topic);
        options.client_id = settings
            .kafka_client_id
            .clone()
            .unwrap_or_else(|| format!("shop-{}", settings.service.name()));
        options.properties.clone_from(&settings.kafka_properties);
        options.infinite_retention = topic.is_events;
        options.create_topics &= settings.serves();

        if let Some(endpoint) = TokenEndpoint::from_settings(settings)? {
            options.oauth = Some(Arc::new(endpoint));
            options.mechanism = settings
                .kafka
                .kafka_sasl_mechanism
                .unwrap_or(SaslMechanism::OauthBearer);
        }
        if settings.check_config {
            // Kafka must respond before the time limit of the whole check ends.
            options.publish_timeout = Duration::from_millis(1_700);
        }
        Ok(options)
    }
}
