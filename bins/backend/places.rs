//! Where the parts of a service are, by its settings alone.

use std::path::PathBuf;

use secrecy::ExposeSecret as _;

use super::{Topic, for_entities, for_log, for_purchases};
use crate::settings::{ProcessRole, Settings};

/// The places of the parts that a service uses, without their credentials.
pub(crate) struct Places {
    pub(crate) log: Option<String>,
    pub(crate) store: Option<String>,
    /// The service that lists purchases.
    pub(crate) listings: Option<String>,
    /// The stores of users and of orders, if other services do not store them.
    pub(crate) users: Option<String>,
    pub(crate) orders: Option<String>,
    pub(crate) user_events: Option<String>,
    pub(crate) order_events: Option<String>,
}

impl Places {
    pub(crate) fn new(settings: &Settings) -> Self {
        let file = |path: Option<PathBuf>| format!("embedded, {}", path.unwrap_or_default().display());
        let log = |topic: Topic<'_>| match &settings.kafka_bootstrap_servers {
            Some(brokers) => format!("Kafka at {brokers}"),
            None => file(for_log(settings).log_file(topic)),
        };
        let purchases =
            || settings.store_address().unwrap_or_else(|| file(for_purchases(settings).purchases_file()));
        let rows = |name| {
            let postgres = settings.postgres_url.as_ref().map(|url| Settings::address(url.expose_secret()));
            postgres.unwrap_or_else(|| file(for_entities(settings).store_file(name)))
        };
        let has_purchases = settings.has(ProcessRole::Purchases);
        let has_store = settings.ingests() || settings.management_url.is_none();
        let (keeps_users, keeps_orders) = settings.keeps();
        let has_events = keeps_users || keeps_orders;
        Self {
            log: has_purchases.then(|| log(Topic::purchases(settings))),
            store: (has_purchases && has_store).then(purchases),
            listings: settings.management_url.clone().filter(|_| has_purchases),
            users: keeps_users.then(|| rows("users")),
            orders: keeps_orders.then(|| rows("orders")),
            user_events: has_events.then(|| log(Topic::users(settings))),
            order_events: has_events.then(|| log(Topic::orders(settings))),
        }
    }
}
