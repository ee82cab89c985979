//! The backends of logs and stores, and the components of a service that are in them.
//!
//! Each backend is a module, and the tokens of Kafka are in `oauth`. The settings alone select the
//! backend: [`for_log`] for the log, [`for_purchases`] and [`for_entities`] for the stores. Only
//! this module depends on which backends are compiled in. [`components`] lists the components that a
//! service uses.

pub(crate) mod currency;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(any(feature = "mongodb", feature = "postgres"))]
mod inspection;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "kafka")]
mod oauth;
mod port;
#[cfg(feature = "postgres")]
mod postgres;
mod shop;
#[cfg(not(feature = "embedded"))]
mod unsupported;

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use shop_core::log::LogAdmin;

use crate::settings::{ProcessRole, Settings};
use crate::{CliError, Result};

#[cfg(feature = "embedded")]
use embedded::Embedded;
#[cfg(not(feature = "embedded"))]
use unsupported::Embedded;

pub(crate) use port::{
    Backend, CLOSE_TIMEOUT, CopiedFile, OpenPort, TopicSpec, authorized, client, close,
};
pub use port::{PurchasesStore, TopicLog};
pub(crate) use shop::open_shop;

/// Returns the backend of the log.
pub(crate) fn for_log(settings: &Settings) -> Box<dyn Backend + '_> {
    #[cfg(feature = "kafka")]
    if let Some(options) = settings.kafka.options() {
        return Box::new(kafka::Kafka {
            settings,
            options,
            first_log: std::sync::OnceLock::new(),
        });
    }
    Box::new(Embedded(settings))
}

/// Opens the log of the purchases and their store, for a command that writes both. If the sink
/// stores a purchase at once, by [`Settings::stores_at_once`], both are one file.
///
/// # Errors
/// The errors of the backends.
async fn log_and_purchases(
    settings: &Settings,
) -> Result<(OpenPort<TopicLog>, OpenPort<PurchasesStore>)> {
    let log_backend = for_log(settings);
    if let Some(log_and_store) = log_backend.log_and_purchases().await? {
        return Ok(log_and_store);
    }

    let log = log_backend.log(TopicSpec::purchases(settings)).await?;
    // The log is checked before the store is opened, so that no store is created without a log.
    log.port
        .sink()
        .check()
        .await
        .map_err(CliError::about(&log.name))?;
    Ok((log, for_purchases(settings).purchases().await?))
}

/// Opens the log of `topic` for a command. A command opens the log before a store, so that no store
/// is created without a log.
///
/// # Errors
/// The errors of the backend.
pub(crate) async fn log_admin(
    settings: &Settings,
    topic: TopicSpec<'_>,
) -> Result<OpenPort<Arc<dyn LogAdmin>>> {
    let opened = for_log(settings).log(topic).await?;
    Ok(OpenPort {
        port: opened.port.log.admin(),
        name: opened.name,
        is_missing: opened.is_missing,
        inspection: opened.inspection,
    })
}

/// Returns the backend of files in the data folder, if the log or a store is one.
pub(crate) fn for_files(settings: &Settings) -> Box<dyn Backend + '_> {
    let keeps_entities = settings.keeps() != (false, false);
    if settings.kafka.kafka_bootstrap_servers.is_none() {
        for_log(settings)
    } else if keeps_entities {
        for_entities(settings)
    } else {
        for_purchases(settings)
    }
}

/// Returns the backend of users and orders.
pub(crate) fn for_entities(settings: &Settings) -> Box<dyn Backend + '_> {
    #[cfg(feature = "postgres")]
    if let Some(options) = settings.postgres.options() {
        return Box::new(postgres::Postgres { settings, options });
    }
    Box::new(Embedded(settings))
}

/// Returns the backend of purchases.
pub(crate) fn for_purchases(settings: &Settings) -> Box<dyn Backend + '_> {
    #[cfg(feature = "mongodb")]
    if let Some(options) = settings.mongodb.options() {
        return Box::new(mongodb::Mongodb { settings, options });
    }
    for_entities(settings)
}

/// Returns the file of a component, or `None` if the component is not a file.
pub(crate) fn file_of(settings: &Settings, component: ComponentKind<'_>) -> Option<PathBuf> {
    let backend = match component {
        ComponentKind::Log(_) => for_log(settings),
        ComponentKind::Users | ComponentKind::Orders => for_entities(settings),
        // For a service, no backend returns a file.
        ComponentKind::Purchases | ComponentKind::Service(_) => for_purchases(settings),
    };
    backend.file(component)
}

/// The kind of a component of a service.
#[derive(Clone, Copy)]
pub(crate) enum ComponentKind<'a> {
    Log(TopicSpec<'a>),
    /// The store of the purchases.
    Purchases,
    /// The store of the users.
    Users,
    /// The store of the orders.
    Orders,
    /// Another service, by its address.
    Service(&'a str),
}

/// A component that a service uses, and its place.
pub(crate) struct ServiceComponent<'a> {
    /// The name of the component for operators.
    pub(crate) label: &'static str,
    pub(crate) kind: ComponentKind<'a>,
    /// The name of the place, without credentials.
    pub(crate) name: String,
    /// The file of the component, if it is one.
    pub(crate) file: Option<PathBuf>,
}

/// Returns the components that a service uses, in the order in which the service opens them.
pub(crate) fn components(settings: &Settings) -> impl Iterator<Item = ServiceComponent<'_>> {
    let has_purchases = settings.has(ProcessRole::Purchases);
    let has_store = has_purchases && settings.needs_store();
    let (keeps_users, keeps_orders) = settings.keeps();
    let has_events = keeps_users || keeps_orders;
    let listings_url = settings.management_url.as_deref().filter(|_| has_purchases);

    [
        (
            "log",
            has_purchases.then_some(ComponentKind::Log(TopicSpec::purchases(settings))),
        ),
        (
            "events of users",
            has_events.then_some(ComponentKind::Log(TopicSpec::users(settings))),
        ),
        (
            "events of orders",
            has_events.then_some(ComponentKind::Log(TopicSpec::orders(settings))),
        ),
        ("store", has_store.then_some(ComponentKind::Purchases)),
        ("users", keeps_users.then_some(ComponentKind::Users)),
        ("orders", keeps_orders.then_some(ComponentKind::Orders)),
        ("listings", listings_url.map(ComponentKind::Service)),
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
    .filter_map(|(label, kind)| {
        let kind = kind?;
        let server = match kind {
            ComponentKind::Log(_) => settings
                .kafka
                .kafka_bootstrap_servers
                .as_ref()
                .map(|brokers| format!("Kafka at {brokers}")),
            ComponentKind::Purchases => settings.store_address(),
            ComponentKind::Users | ComponentKind::Orders => settings
                .postgres
                .postgres_url
                .as_ref()
                .map(|url| Settings::address(url.expose_secret())),
            ComponentKind::Service(url) => Some(url.to_owned()),
        };

        let file = file_of(settings, kind);
        let name = server
            .unwrap_or_else(|| format!("embedded, {}", file.clone().unwrap_or_default().display()));
        Some(ServiceComponent {
            label,
            kind,
            name,
            file,
        })
    })
}
