//! Settings that are right by themselves but not together, or not with this build.

use secrecy::ExposeSecret;
use shop_client::ShopClient;

use crate::commands::Command;
use crate::roles::Role;
use crate::settings::{Service, Unbuilt};
use crate::variables::{Switch, Variables};

/// The settings that may contradict each other, as they were given: some value of another setting may be wrong.
pub(crate) struct Given<'a> {
    kafka: Option<&'a str>,
    kafka_login: [bool; 2],
    /// Names of settings that are for nothing without brokers.
    kafka_only: Vec<&'static str>,
    mongodb: Option<&'a str>,
    management: Option<&'a str>,
    /// The other addresses that facing asks at, by their names.
    asked: [(&'static str, Option<&'a str>); 2],
    lacks_purchases: bool,
    /// The topics by the names of their settings; none when they are not known.
    topics: Vec<(&'static str, &'a str)>,
    /// Whether servers are required, and this process needs a log, and a store.
    requires: (bool, bool),
}

impl<'a> Given<'a> {
    pub(crate) fn of_variables(
        service: Service,
        command: Option<&Command>,
        variables: &'a Variables,
    ) -> Self {
        let requires = match variables.require_servers {
            Switch::On => needs(service, command, variables),
            Switch::Off => (false, false),
        };
        Self {
            requires,
            kafka: variables.kafka_bootstrap_servers.as_deref(),
            kafka_login: [variables.kafka_username.is_some(), variables.kafka_password.is_some()],
            kafka_only: named([
                ("KAFKA_USERNAME", variables.kafka_username.is_some()),
                ("KAFKA_PASSWORD", variables.kafka_password.is_some()),
                ("KAFKA_SASL_MECHANISM", variables.kafka_sasl_mechanism.is_some()),
                ("KAFKA_TLS", variables.kafka_tls == Switch::On),
                ("KAFKA_CA_FILE", variables.kafka_ca_file.is_some()),
                ("KAFKA_REPLICAS", variables.kafka_replicas.is_some()),
                ("KAFKA_CREATE_TOPICS", variables.kafka_create_topics == Switch::Off),
            ]),
            mongodb: variables.mongodb_uri.as_ref().map(ExposeSecret::expose_secret),
            management: variables.management_url.as_deref(),
            asked: [
                ("USERS_URL", variables.users_url.as_deref()),
                ("ORDERS_URL", variables.orders_url.as_deref()),
            ],
            lacks_purchases: !variables.roles.has(Role::Purchases),
            topics: vec![
                ("KAFKA_TOPIC", &variables.kafka_topic),
                ("SHOP_USERS_TOPIC", &variables.users_topic),
                ("SHOP_ORDERS_TOPIC", &variables.orders_topic),
            ],
        }
    }

    pub(crate) fn of_values(values: &'a [(String, String)]) -> Self {
        let value =
            |name: &str| values.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        Self {
            kafka: value("KAFKA_BOOTSTRAP_SERVERS"),
            kafka_login: [value("KAFKA_USERNAME").is_some(), value("KAFKA_PASSWORD").is_some()],
            kafka_only: named(
                [
                    "KAFKA_USERNAME",
                    "KAFKA_PASSWORD",
                    "KAFKA_SASL_MECHANISM",
                    "KAFKA_CA_FILE",
                    "KAFKA_REPLICAS",
                ]
                .map(|name| (name, value(name).is_some())),
            ),
            mongodb: value("MONGODB_URI"),
            management: value("MANAGEMENT_URL"),
            asked: ["USERS_URL", "ORDERS_URL"].map(|name| (name, value(name))),
            lacks_purchases: false,
            topics: Vec::new(),
            requires: (false, false),
        }
    }
}

/// Whether what is to be done needs a log, and a store.
fn needs(service: Service, command: Option<&Command>, variables: &Variables) -> (bool, bool) {
    match command {
        Some(Command::Migrate) => (false, true),
        Some(Command::Dlq(_)) => (true, false),
        Some(Command::Verify { .. } | Command::Replay(_)) => (true, true),
        None => {
            let asks = |url: &Option<String>| {
                service == Service::Facing && (url.is_some() || variables.management_url.is_some())
            };
            // Without a management to ask, listings are the store's.
            let lists = !asks(&None) || variables.ingest == Some(Switch::On);
            let keeps = variables.roles.has(Role::Purchases) && lists
                || variables.roles.has(Role::Users) && !asks(&variables.users_url)
                || variables.roles.has(Role::Orders) && !asks(&variables.orders_url);
            (true, keeps)
        }
    }
}

fn named<const N: usize>(given: [(&'static str, bool); N]) -> Vec<&'static str> {
    given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
}

/// What is right by itself but not together, or not with this build.
pub(crate) fn contradictions(service: Service, unbuilt: Unbuilt, given: &Given<'_>) -> Vec<String> {
    let mut faults = unbuilt(given.kafka.is_some(), given.mongodb.is_some());
    if given.mongodb.is_some_and(|uri| !uri.starts_with("mongodb://") && !uri.starts_with("mongodb+srv://")) {
        faults.push("MONGODB_URI (or DATABASE_URL) must begin with mongodb:// or mongodb+srv://".to_owned());
    }
    if given.kafka_login[0] != given.kafka_login[1] {
        faults.push("KAFKA_USERNAME and KAFKA_PASSWORD go together: set both or none".to_owned());
    }
    if given.kafka.is_none() && !given.kafka_only.is_empty() {
        let names = given.kafka_only.join(", ");
        faults.push(format!(
            "{names}: set, but KAFKA_BOOTSTRAP_SERVERS is not: name the brokers, or unset this to use the \
             embedded log"
        ));
    }
    let required = [
        ("KAFKA_BOOTSTRAP_SERVERS", "log", given.requires.0 && given.kafka.is_none()),
        ("MONGODB_URI", "store", given.requires.1 && given.mongodb.is_none()),
    ];
    for (name, embedded, _) in required.iter().filter(|(_, _, is_missing)| *is_missing) {
        faults.push(format!(
            "{name}: not set, but SHOP_REQUIRE_SERVERS is on: name the server, or set SHOP_REQUIRE_SERVERS=off to \
             use the embedded {embedded}"
        ));
    }
    let listings = given.management.is_some() || given.mongodb.is_some();
    if service == Service::Facing && given.kafka.is_some() && !listings {
        faults.push(
            "KAFKA_BOOTSTRAP_SERVERS is set, but neither MANAGEMENT_URL nor MONGODB_URI: facing would have \
             nowhere to ask for listings. Set one of them"
                .to_owned(),
        );
    }
    if service == Service::Facing && given.lacks_purchases {
        faults.push(
            "SHOP_ROLES: facing is for purchases, name them too; users and orders alone are served by management"
                .to_owned(),
        );
    }
    for (index, (name, topic)) in given.topics.iter().enumerate() {
        for (other, _) in given.topics[..index].iter().filter(|(_, before)| before == topic) {
            faults.push(format!("{other} and {name} are both {topic}: each needs a topic of its own"));
        }
    }
    for (name, url) in [("MANAGEMENT_URL", given.management)].into_iter().chain(given.asked) {
        if let Some(Err(error)) = url.map(|url| ShopClient::builder(url).build()) {
            faults.push(format!("{name}: {}", error.message()));
        }
    }
    faults
}
