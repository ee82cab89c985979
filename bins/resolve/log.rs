//! The log that the settings ask for.

use super::Log;
use crate::settings::{KafkaSettings, Settings};
use crate::{Failure, Result};

pub(super) async fn open(settings: &Settings) -> Result<Log> {
    match &settings.kafka {
        Some(kafka) => on_kafka(settings, kafka).await,
        None => embedded(settings).await,
    }
}

#[cfg(feature = "kafka")]
async fn on_kafka(settings: &Settings, kafka: &KafkaSettings) -> Result<Log> {
    use std::sync::Arc;

    use shop_kafka::KafkaLog;

    #[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
    fn in_settings(error: shop_core::Error) -> Failure {
        Failure::new(format!("Kafka cannot be used with these settings: {}", error.chain()))
    }

    let log = KafkaLog::open(options(settings, kafka)).await.map_err(in_settings)?;
    let (sink, dead_letters, group) =
        (Arc::new(log.sink()), Arc::new(log.dead_letters()), settings.group.clone());
    Ok(Log {
        sink,
        whole: Arc::new(log.clone()),
        closed: Box::pin(std::future::ready(())),
        open_source: Box::new(move || Ok(Arc::new(log.source(&group).map_err(in_settings)?))),
        dead_letters,
        name: format!("Kafka, topic {} at {}", settings.topic, kafka.brokers),
    })
}

#[cfg(feature = "kafka")]
fn options(settings: &Settings, kafka: &KafkaSettings) -> shop_kafka::KafkaLogOptions {
    use shop_kafka::{Compression, KafkaLogOptions, Mechanism};

    use crate::settings::{Compression as Chosen, SaslMechanism};

    let mut options = KafkaLogOptions::new(&kafka.brokers);
    options.topic.clone_from(&settings.topic);
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
async fn on_kafka(_settings: &Settings, _kafka: &KafkaSettings) -> Result<Log> {
    Err(Failure::new("this program was built without Kafka"))
}

#[cfg(feature = "embedded")]
async fn embedded(settings: &Settings) -> Result<Log> {
    use std::sync::Arc;

    use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};

    use super::in_data_dir;

    let mut options = EmbeddedLogOptions::default();
    options.topic.clone_from(&settings.topic);
    let log = EmbeddedLog::open(&settings.data_dir, options).await.map_err(in_data_dir)?;
    let (sink, dead_letters, group) =
        (Arc::new(log.sink()), Arc::new(log.dead_letters()), settings.group.clone());
    Ok(Log {
        sink,
        whole: Arc::new(log.clone()),
        closed: Box::pin(log.closed()),
        open_source: Box::new(move || Ok(Arc::new(log.source(&group).map_err(in_data_dir)?))),
        dead_letters,
        name: format!("embedded, {}", settings.data_dir.join("log.db").display()),
    })
}

#[cfg(not(feature = "embedded"))]
async fn embedded(_settings: &Settings) -> Result<Log> {
    Err(Failure::new("this program was built without the embedded log"))
}
