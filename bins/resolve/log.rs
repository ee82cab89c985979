//! The log that the settings ask for.

use std::path::PathBuf;
use std::sync::Arc;

use shop_core::log::{DeadLetters, LogAdmin, LogWriter};
use shop_core::ports::PurchaseSink;

use super::{Closed, OpenSource};
use crate::settings::{KafkaSettings, Settings};
use crate::{Failure, Result};

/// A log, from all its sides.
pub(super) struct Log {
    pub(super) sink: Arc<dyn PurchaseSink>,
    pub(super) records: Arc<dyn LogWriter>,
    pub(super) open_source: OpenSource,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) admin: Arc<dyn LogAdmin>,
    pub(super) closed: Closed,
    pub(super) name: String,
    /// Whether a service would make it: known only where nothing is made.
    pub(super) to_be_made: bool,
}

impl Log {
    /// What is asked whether it works, when that is closed, its name, and whether it is missing and to be made.
    pub(super) fn into_check(self) -> (Arc<dyn LogWriter>, Closed, String, bool) {
        (self.records, self.closed, self.name, self.to_be_made)
    }
}

/// What a log holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Topic<'a> {
    Purchases,
    /// Events, of which nothing is ever deleted.
    Events(
        #[cfg_attr(
            not(any(feature = "embedded", feature = "kafka")),
            expect(dead_code, reason = "without a log nobody asks for its name")
        )]
        &'a str,
    ),
}

#[cfg(any(feature = "embedded", feature = "kafka"))]
impl<'a> Topic<'a> {
    fn name(self, settings: &'a Settings) -> &'a str {
        match self {
            Self::Purchases => &settings.topic,
            Self::Events(name) => name,
        }
    }
}

pub(super) async fn open(settings: &Settings, topic: Topic<'_>) -> Result<Log> {
    match &settings.kafka {
        Some(kafka) => on_kafka(settings, kafka, topic).await,
        None => embedded(settings, topic).await,
    }
}

#[cfg(feature = "kafka")]
async fn on_kafka(settings: &Settings, kafka: &KafkaSettings, topic: Topic<'_>) -> Result<Log> {
    use shop_kafka::KafkaLog;

    #[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
    fn in_settings(error: shop_core::Error) -> Failure {
        Failure::about("Kafka cannot be used with these settings", &error)
    }

    let name = topic.name(settings);
    let mut options = options(kafka);
    name.clone_into(&mut options.topic);
    options.keep_forever = matches!(topic, Topic::Events(_));
    let may_create = options.create_topics;
    options.create_topics &= settings.creates();
    let log = KafkaLog::open(options).await.map_err(in_settings)?;
    // A broker that cannot be asked is found by the check that follows.
    let to_be_made = settings.check_config && may_create && !log.exists().await.unwrap_or(true);
    Ok(Log {
        to_be_made,
        sink: Arc::new(log.sink()),
        records: Arc::new(log.clone()),
        dead_letters: Arc::new(log.dead_letters()),
        admin: Arc::new(log.clone()),
        closed: Box::pin(std::future::ready(())),
        open_source: Arc::new(move |group| Ok(Arc::new(log.source(group).map_err(in_settings)?))),
        name: format!("Kafka, topic {name} at {}", kafka.brokers),
    })
}

#[cfg(feature = "kafka")]
fn options(kafka: &KafkaSettings) -> shop_kafka::KafkaLogOptions {
    let mut options = shop_kafka::KafkaLogOptions::new(&kafka.brokers);
    options.partitions = kafka.partitions;
    options.replicas = kafka.replicas;
    options.create_topics = kafka.create_topics;
    options.instance_id.clone_from(&kafka.instance_id);
    options.username.clone_from(&kafka.username);
    options.password.clone_from(&kafka.password);
    options.mechanism = kafka.mechanism.unwrap_or(options.mechanism);
    options.tls = kafka.tls;
    options.ca_file.clone_from(&kafka.ca_file);
    options.compression = kafka.compression;
    options
}

#[cfg(not(feature = "kafka"))]
async fn on_kafka(_settings: &Settings, _kafka: &KafkaSettings, _topic: Topic<'_>) -> Result<Log> {
    Err(Failure::new("this program was built without Kafka"))
}

/// The file of the log that the settings ask for, if that is embedded.
pub(super) fn file(settings: &Settings, topic: Topic<'_>) -> Option<PathBuf> {
    if settings.kafka.is_some() { None } else { embedded_file(settings, topic) }
}

#[cfg(feature = "embedded")]
fn embedded_file(settings: &Settings, topic: Topic<'_>) -> Option<PathBuf> {
    Some(settings.data_dir.join(format!("{}.db", embedded_options(settings, topic).file)))
}

#[cfg(not(feature = "embedded"))]
const fn embedded_file(_settings: &Settings, _topic: Topic<'_>) -> Option<PathBuf> {
    None
}

#[cfg(feature = "embedded")]
fn embedded_options(settings: &Settings, topic: Topic<'_>) -> shop_store::embedded::EmbeddedLogOptions {
    use shop_store::embedded::EmbeddedLogOptions;

    let mut options = match topic {
        Topic::Purchases => EmbeddedLogOptions::default(),
        Topic::Events(name) => EmbeddedLogOptions::of_events(name),
    };
    topic.name(settings).clone_into(&mut options.topic);
    options.create = settings.creates();
    options
}

#[cfg(feature = "embedded")]
async fn embedded(settings: &Settings, topic: Topic<'_>) -> Result<Log> {
    use shop_store::embedded::EmbeddedLog;

    use super::in_data_dir;

    let options = embedded_options(settings, topic);
    let name = format!("embedded, {}", settings.data_dir.join(format!("{}.db", options.file)).display());
    let log = EmbeddedLog::open(&settings.data_dir, options).await.map_err(in_data_dir)?;
    Ok(Log {
        sink: Arc::new(log.sink()),
        records: Arc::new(log.clone()),
        dead_letters: Arc::new(log.dead_letters()),
        admin: Arc::new(log.clone()),
        to_be_made: false,
        closed: Box::pin(log.closed()),
        open_source: Arc::new(move |group| Ok(Arc::new(log.source(group).map_err(in_data_dir)?))),
        name,
    })
}

#[cfg(not(feature = "embedded"))]
async fn embedded(_settings: &Settings, _topic: Topic<'_>) -> Result<Log> {
    Err(Failure::new("this program was built without the embedded log"))
}
