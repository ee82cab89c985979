//! The backend of a log on Kafka.

use std::sync::Arc;
use std::time::Duration;

use shop_kafka::{KafkaLog, KafkaLogOptions};
use shop_store::StoreInspection;

use super::Backends;
use super::oauth::TokenEndpoint;
use super::open_port::ABOUT_KAFKA;
use super::{OpenPort, TopicSpec};
use crate::settings::{KafkaSettings, Settings};
use crate::{CliError, Result};

/// How long a check of the configuration waits for Kafka. It is shorter than the time limit of the
/// check of a part, so that the error of Kafka is reported.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1_700);

/// Opens the log of `topic` on Kafka.
///
/// # Errors
/// An error if the options are not valid. When the configuration is checked, also the errors of Kafka.
pub(super) async fn open(
    backends: &Backends<'_>,
    kafka: &KafkaSettings,
    topic: TopicSpec<'_>,
) -> Result<OpenPort<KafkaLog>> {
    let settings = backends.settings;
    let name = format!("Kafka, topic {} at {}", topic.name, kafka.options.brokers);
    let creates_topics = kafka.options.create_topics;
    let options = log_options(settings, kafka, topic)?;
    let result = match backends.shared_log.get() {
        Some(shared_log) => shared_log.open_topic(options),
        None => KafkaLog::open(options).await,
    };
    let log = result.map_err(CliError::about(ABOUT_KAFKA))?;
    // Only a service shares the clients. A check opens each topic by itself, so that it reports the
    // cause of a failure for each topic.
    if settings.serves() {
        backends.shared_log.get_or_init(|| log.clone());
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
    // A command and a check create no topic.
    if !settings.serves() {
        options.create_topics = false;
    }

    if let Some(endpoint) = &kafka.token_endpoint {
        options.oauth = Some(Arc::new(TokenEndpoint::new(endpoint)?));
    }
    if settings.process.check_config {
        options.publish_timeout = CHECK_TIMEOUT;
    }
    Ok(options)
}
