//! The components that a service uses, and where they are: on a server or in a file.

use std::path::PathBuf;

use super::TopicSpec;
#[cfg(feature = "embedded")]
use super::embedded;
use crate::settings::{EntityLocation, ProcessRole, Settings};

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

/// Returns the file of a component, or `None` if the component is not a file.
pub(crate) fn file_of(settings: &Settings, component: ComponentKind<'_>) -> Option<PathBuf> {
    if server_of(settings, component).is_some() {
        return None;
    }
    #[cfg(feature = "embedded")]
    return embedded::file(settings, component);
    #[cfg(not(feature = "embedded"))]
    None
}

/// Returns the name of the server of a component, without credentials, or `None` if the component is
/// a file.
fn server_of(settings: &Settings, component: ComponentKind<'_>) -> Option<String> {
    match component {
        ComponentKind::Log(_) => {
            let brokers = settings.log.brokers()?;
            Some(format!("Kafka at {brokers}"))
        }
        ComponentKind::Purchases => settings.store.address(),
        ComponentKind::Users | ComponentKind::Orders => settings.store.entity_address(),
        ComponentKind::Service(url) => Some(url.to_owned()),
    }
}

/// A component that a service uses, and where it is.
pub(crate) struct ServiceComponent<'a> {
    /// The name of the component for operators.
    pub(crate) label: &'static str,
    pub(crate) kind: ComponentKind<'a>,
    /// The name of the server, without credentials, or of the file.
    pub(crate) name: String,
    /// The file of the component, if it is one.
    pub(crate) file: Option<PathBuf>,
}

/// Returns the components that a service uses, in the order in which the service opens them.
pub(crate) fn components(settings: &Settings) -> impl Iterator<Item = ServiceComponent<'_>> {
    let has_purchases = settings.has(ProcessRole::Purchases);
    let has_store = has_purchases && settings.needs_store();
    let stores_users = settings.users == EntityLocation::Stored;
    let stores_orders = settings.orders == EntityLocation::Stored;
    let has_events = stores_users || stores_orders;
    let mut listings_url = None;
    if has_purchases {
        listings_url = settings.management_url.as_deref();
    }

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
        ("users", stores_users.then_some(ComponentKind::Users)),
        ("orders", stores_orders.then_some(ComponentKind::Orders)),
        ("listings", listings_url.map(ComponentKind::Service)),
        ("users", settings.users.url().map(ComponentKind::Service)),
        ("orders", settings.orders.url().map(ComponentKind::Service)),
    ]
    .into_iter()
    .filter_map(|(label, kind)| {
        // `None` for a component that this service does not use.
        let kind = kind?;
        let file = file_of(settings, kind);
        let name = server_of(settings, kind)
            .unwrap_or_else(|| format!("embedded, {}", file.clone().unwrap_or_default().display()));
        Some(ServiceComponent {
            label,
            kind,
            name,
            file,
        })
    })
}
