//! The backend of a log on Kafka.

use std::sync::Arc;
use std::time::Duration;

use shop_kafka::{KafkaLog, KafkaLogOptions};
use shop_store::StoreInspection;

use super::Backends;
use super::oauth::TokenEndpoint;
use super::port::{ABOUT_KAFKA, OpenPort, TopicSpec};
use crate::settings::{KafkaSettings, Settings};
use crate::{CliError, Result};

/// Opens the log of `topic` on Kafka.
///
/// # Errors
/// The errors of the options and, for a check of the configuration, of Kafka.
pub(super) async fn open(
    backends: &Backends<'_>,
    kafka: &KafkaSettings,
    topic: TopicSpec<'_>,
) -> Result<OpenPort<KafkaLog>> {
    let settings = backends.settings;
    let name = format!("Kafka, topic {} at {}", topic.name, kafka.options.brokers);
    let creates_topics = kafka.options.create_topics;
    let options = log_options(settings, kafka, topic)?;
    let opened = match backends.first_log.get() {
        Some(first_log) => first_log.open_topic(options),
        None => KafkaLog::open(options).await,
    };
    let log = opened.map_err(CliError::about(ABOUT_KAFKA))?;
    // A check reports the same cause for each topic only if each is opened by itself.
    if settings.serves() {
        backends.first_log.get_or_init(|| log.clone());
    }

    // A check reports the topic that a service would create.
    let is_missing = settings.process.check_config && creates_topics && !log.exists().await?;
    Ok(OpenPort {
        port: log,
        name,
        is_missing,
        inspection: StoreInspection::default(),
    })
}

/// Returns the options of the log of `topic`.
///
/// # Errors
/// The errors of [`TokenEndpoint::new`].
fn log_options(
    settings: &Settings,
    kafka: &KafkaSettings,
    topic: TopicSpec<'_>,
) -> Result<KafkaLogOptions> {
    let mut options = kafka.options.clone();
    topic.name.clone_into(&mut options.topic);
    options.infinite_retention = topic.is_events;
    options.create_topics &= settings.serves();

    if let Some(endpoint) = &kafka.token_endpoint {
        options.oauth = Some(Arc::new(TokenEndpoint::new(endpoint)?));
    }
    if settings.process.check_config {
        // Kafka must respond before the time limit of the whole check ends.
        options.publish_timeout = Duration::from_millis(1_700);
    }
    Ok(options)
}
