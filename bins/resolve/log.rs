//! The log that the settings ask for.

use std::sync::Arc;

use shop_core::ports::{DeadLetters, PurchaseSink, RecordSink};

use super::{Closed, OpenSource, WholeLog};
use crate::settings::{KafkaSettings, Settings};
use crate::{Failure, Result};

/// A log, from all its sides.
pub(super) struct Log {
    pub(super) sink: Arc<dyn PurchaseSink>,
    pub(super) records: Arc<dyn RecordSink>,
    pub(super) open_source: OpenSource,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) whole: Arc<dyn WholeLog>,
    pub(super) closed: Closed,
    pub(super) name: String,
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
        Failure::new(format!("Kafka cannot be used with these settings: {}", error.chain()))
    }

    let name = topic.name(settings);
    let mut options = options(kafka);
    name.clone_into(&mut options.topic);
    options.keep_forever = matches!(topic, Topic::Events(_));
    let log = KafkaLog::open(options).await.map_err(in_settings)?;
    Ok(Log {
        sink: Arc::new(log.sink()),
        records: Arc::new(log.clone()),
        dead_letters: Arc::new(log.dead_letters()),
        whole: Arc::new(log.clone()),
        closed: Box::pin(std::future::ready(())),
        open_source: Arc::new(move |group| Ok(Arc::new(log.source(group).map_err(in_settings)?))),
        name: format!("Kafka, topic {name} at {}", kafka.brokers),
    })
}

#[cfg(feature = "kafka")]
fn options(kafka: &KafkaSettings) -> shop_kafka::KafkaLogOptions {
    use shop_kafka::{Compression, KafkaLogOptions, Mechanism};

    use crate::settings::{Compression as Chosen, SaslMechanism};

    let mut options = KafkaLogOptions::new(&kafka.brokers);
    options.partitions = kafka.partitions;
    options.instance_id.clone_from(&kafka.instance_id);
    options.username.clone_from(&kafka.username);
    options.password.clone_from(&kafka.password);
    options.mechanism = match kafka.mechanism {
        None | Some(SaslMechanism::Plain) => Mechanism::Plain,
        Some(SaslMechanism::ScramSha256) => Mechanism::ScramSha256,
        Some(SaslMechanism::ScramSha512) => Mechanism::ScramSha512,
    };
    options.tls = kafka.tls;
    options.ca_file.clone_from(&kafka.ca_file);
    options.compression = match kafka.compression {
        Chosen::None => Compression::None,
        Chosen::Gzip => Compression::Gzip,
        Chosen::Snappy => Compression::Snappy,
        Chosen::Lz4 => Compression::Lz4,
        Chosen::Zstd => Compression::Zstd,
    };
    options
}

#[cfg(not(feature = "kafka"))]
async fn on_kafka(_settings: &Settings, _kafka: &KafkaSettings, _topic: Topic<'_>) -> Result<Log> {
    Err(Failure::new("this program was built without Kafka"))
}

#[cfg(feature = "embedded")]
async fn embedded(settings: &Settings, topic: Topic<'_>) -> Result<Log> {
    use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};

    use super::in_data_dir;

    let mut options = match topic {
        Topic::Purchases => EmbeddedLogOptions::default(),
        Topic::Events(name) => EmbeddedLogOptions::of_events(name),
    };
    topic.name(settings).clone_into(&mut options.topic);
    let name = format!("embedded, {}", settings.data_dir.join(format!("{}.db", options.file)).display());
    let log = EmbeddedLog::open(&settings.data_dir, options).await.map_err(in_data_dir)?;
    Ok(Log {
        sink: Arc::new(log.sink()),
        records: Arc::new(log.clone()),
        dead_letters: Arc::new(log.dead_letters()),
        whole: Arc::new(log.clone()),
        closed: Box::pin(log.closed()),
        open_source: Arc::new(move |group| Ok(Arc::new(log.source(group).map_err(in_data_dir)?))),
        name,
    })
}

#[cfg(not(feature = "embedded"))]
async fn embedded(_settings: &Settings, _topic: Topic<'_>) -> Result<Log> {
    Err(Failure::new("this program was built without the embedded log"))
}
