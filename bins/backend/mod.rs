//! The backends of logs and stores, one file each. Only this module depends on which of them are compiled in.

pub(crate) mod currency;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "kafka")]
mod oauth;
mod places;
mod port;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(not(all(
    feature = "embedded",
    feature = "kafka",
    feature = "mongodb",
    feature = "postgres"
)))]
mod unsupported;

use std::sync::Arc;

use shop_core::log::LogAdmin;

use crate::settings::Settings;
use crate::{CliError, Result};

pub(crate) use places::{Kind, Place, places};
pub(crate) use port::{
    Backend, CLOSE_TIMEOUT, CopiedFile, EntityPorts, OpenPort, Purchases, PurchasesStore, Topic,
    TopicLog, authorized, client, close,
};

/// The backend of the log, by the settings.
pub(crate) fn for_log(settings: &Settings) -> Box<dyn Backend + '_> {
    match &settings.kafka_bootstrap_servers {
        #[cfg(feature = "kafka")]
        Some(brokers) => Box::new(kafka::Kafka {
            settings,
            brokers,
            first: std::sync::OnceLock::new(),
        }),
        #[cfg(feature = "embedded")]
        None => Box::new(embedded::Embedded(settings)),
        #[cfg(not(all(feature = "embedded", feature = "kafka")))]
        _ => Box::new(unsupported::Unsupported),
    }
}

/// Opens the log of the purchases and their store, for a command that writes both. Where they are one file, what the sink
/// publishes is stored at once.
pub(crate) async fn log_and_purchases(
    settings: &Settings,
) -> Result<(OpenPort<TopicLog>, OpenPort<PurchasesStore>)> {
    let logs = for_log(settings);
    let topic = Topic::purchases(settings);
    if let Some(both) = logs.log_and_purchases(topic).await? {
        return Ok(both);
    }
    let log = logs.log(topic).await?;
    // Before the store, so that none is created without a log.
    (log.port.sink)()
        .check()
        .await
        .map_err(CliError::about(&log.name))?;
    Ok((log, for_purchases(settings).purchases().await?))
}

/// Opens the log of `topic` for a command: before a store, so that none is created without a log.
pub(crate) async fn log_admin(
    settings: &Settings,
    topic: Topic<'_>,
) -> Result<OpenPort<Arc<dyn LogAdmin>>> {
    let OpenPort {
        port,
        name,
        to_be_made,
    } = for_log(settings).log(topic).await?;
    Ok(OpenPort {
        port: port.log.admin(),
        name,
        to_be_made,
    })
}

/// The backend of files in the data folder, if the log or the store is one.
pub(crate) fn for_files(settings: &Settings) -> Box<dyn Backend + '_> {
    match settings.kafka_bootstrap_servers {
        None => for_log(settings),
        Some(_) => for_purchases(settings),
    }
}

/// The backend of users and orders, by the settings.
pub(crate) fn for_entities(settings: &Settings) -> Box<dyn Backend + '_> {
    match &settings.postgres_url {
        #[cfg(feature = "postgres")]
        Some(url) => Box::new(postgres::Postgres { settings, url }),
        #[cfg(feature = "embedded")]
        None => Box::new(embedded::Embedded(settings)),
        #[cfg(not(all(feature = "embedded", feature = "postgres")))]
        _ => Box::new(unsupported::Unsupported),
    }
}

/// The backend of purchases, by the settings.
pub(crate) fn for_purchases(settings: &Settings) -> Box<dyn Backend + '_> {
    match &settings.mongodb_uri {
        #[cfg(feature = "mongodb")]
        Some(uri) => Box::new(mongodb::Mongodb { settings, uri }),
        #[cfg(not(feature = "mongodb"))]
        Some(_) => Box::new(unsupported::Unsupported),
        None => for_entities(settings),
    }
}
