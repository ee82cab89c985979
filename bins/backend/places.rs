//! The parts of a service and where they are, by its settings alone.

use std::path::PathBuf;

use secrecy::ExposeSecret as _;

use super::{Topic, for_entities, for_log, for_purchases};
use crate::settings::{ProcessRole, Settings};

/// What a part of a service is.
#[derive(Clone, Copy)]
pub(crate) enum Kind<'a> {
    Log(Topic<'a>),
    /// The stores of purchases, of users and of orders.
    Purchases,
    Users,
    Orders,
    /// Another service.
    Service(&'a str),
}

/// A part that a service uses.
pub(crate) struct Place<'a> {
    pub(crate) what: &'static str,
    pub(crate) kind: Kind<'a>,
    /// Where it is, without credentials.
    pub(crate) name: String,
    /// Its file, if it is one.
    pub(crate) file: Option<PathBuf>,
}

/// The parts that a service uses, in the order in which it opens them.
pub(crate) fn places(settings: &Settings) -> impl Iterator<Item = Place<'_>> {
    let has_purchases = settings.has(ProcessRole::Purchases);
    let has_store = has_purchases && (settings.ingests() || settings.management_url.is_none());
    let (keeps_users, keeps_orders) = settings.keeps();
    let has_events = keeps_users || keeps_orders;
    let parts = [
        (
            "log",
            has_purchases.then(|| Kind::Log(Topic::purchases(settings))),
        ),
        (
            "events of users",
            has_events.then(|| Kind::Log(Topic::users(settings))),
        ),
        (
            "events of orders",
            has_events.then(|| Kind::Log(Topic::orders(settings))),
        ),
        ("store", has_store.then_some(Kind::Purchases)),
        ("users", keeps_users.then_some(Kind::Users)),
        ("orders", keeps_orders.then_some(Kind::Orders)),
        (
            "listings",
            settings
                .management_url
                .as_deref()
                .filter(|_| has_purchases)
                .map(Kind::Service),
        ),
        ("users", settings.users_url.as_deref().map(Kind::Service)),
        ("orders", settings.orders_url.as_deref().map(Kind::Service)),
    ];
    parts.into_iter().filter_map(|(what, kind)| {
        let kind = kind?;
        let brokers = settings.kafka_bootstrap_servers.as_ref();
        let postgres = settings.postgres_url.as_ref();
        let (server, file) = match kind {
            Kind::Log(_) => (
                brokers.map(|brokers| format!("Kafka at {brokers}")),
                for_log(settings).file(kind),
            ),
            Kind::Purchases => (settings.store_address(), for_purchases(settings).file(kind)),
            Kind::Users | Kind::Orders => {
                let address = postgres.map(|url| Settings::address(url.expose_secret()));
                (address, for_entities(settings).file(kind))
            }
            Kind::Service(url) => (Some(url.to_owned()), None),
        };
        let embedded = || format!("embedded, {}", file.clone().unwrap_or_default().display());
        Some(Place {
            what,
            kind,
            name: server.unwrap_or_else(embedded),
            file,
        })
    })
}
