//! The backends of logs and stores, one file each, and the parts of a service that are in them, by its settings alone. Only
//! this module depends on which backends are compiled in.

pub(crate) mod currency;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "kafka")]
mod oauth;
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

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use shop_core::log::LogAdmin;

use crate::settings::{ProcessRole, Settings};
use crate::{CliError, Result};

pub(crate) use port::{
    Backend, CLOSE_TIMEOUT, CopiedFile, EntityPorts, OpenPort, PurchaseBackend, PurchasesStore,
    TopicLog, TopicSpec, authorized, client, close,
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
    let topic = TopicSpec::purchases(settings);
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
    topic: TopicSpec<'_>,
) -> Result<OpenPort<Arc<dyn LogAdmin>>> {
    let opened = for_log(settings).log(topic).await?;
    Ok(OpenPort {
        port: opened.port.log.admin(),
        name: opened.name,
        to_be_made: opened.to_be_made,
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

/// What a part of a service is.
#[derive(Clone, Copy)]
pub(crate) enum ComponentKind<'a> {
    Log(TopicSpec<'a>),
    /// The stores of purchases, of users and of orders.
    Purchases,
    Users,
    Orders,
    /// Another service.
    Service(&'a str),
}

/// A part that a service uses.
pub(crate) struct ServiceComponent<'a> {
    pub(crate) what: &'static str,
    pub(crate) kind: ComponentKind<'a>,
    /// Where it is, without credentials.
    pub(crate) name: String,
    /// Its file, if it is one.
    pub(crate) file: Option<PathBuf>,
}

/// The parts that a service uses, in the order in which it opens them.
pub(crate) fn places(settings: &Settings) -> impl Iterator<Item = ServiceComponent<'_>> {
    let has_purchases = settings.has(ProcessRole::Purchases);
    let has_store = has_purchases && (settings.ingests() || settings.management_url.is_none());
    let (keeps_users, keeps_orders) = settings.keeps();
    let has_events = keeps_users || keeps_orders;
    [
        (
            "log",
            has_purchases.then(|| ComponentKind::Log(TopicSpec::purchases(settings))),
        ),
        (
            "events of users",
            has_events.then(|| ComponentKind::Log(TopicSpec::users(settings))),
        ),
        (
            "events of orders",
            has_events.then(|| ComponentKind::Log(TopicSpec::orders(settings))),
        ),
        ("store", has_store.then_some(ComponentKind::Purchases)),
        ("users", keeps_users.then_some(ComponentKind::Users)),
        ("orders", keeps_orders.then_some(ComponentKind::Orders)),
        (
            "listings",
            settings
                .management_url
                .as_deref()
                .filter(|_| has_purchases)
                .map(ComponentKind::Service),
        ),
        (
            "users",
            settings.users_url.as_deref().map(ComponentKind::Service),
        ),
        (
            "orders",
            settings.orders_url.as_deref().map(ComponentKind::Service),
        ),
    ]
    .into_iter()
    .filter_map(|(what, kind)| {
        let kind = kind?;
        let (server, file) = match kind {
            ComponentKind::Log(_) => (
                settings
                    .kafka_bootstrap_servers
                    .as_ref()
                    .map(|brokers| format!("Kafka at {brokers}")),
                for_log(settings).file(kind),
            ),
            ComponentKind::Purchases => {
                (settings.store_address(), for_purchases(settings).file(kind))
            }
            ComponentKind::Users | ComponentKind::Orders => (
                settings
                    .postgres_url
                    .as_ref()
                    .map(|url| Settings::address(url.expose_secret())),
                for_entities(settings).file(kind),
            ),
            ComponentKind::Service(url) => (Some(url.to_owned()), None),
        };
        let name = server
            .unwrap_or_else(|| format!("embedded, {}", file.clone().unwrap_or_default().display()));
        Some(ServiceComponent {
            what,
            kind,
            name,
            file,
        })
    })
}
