//! Conflicts between settings, and settings that this build does not support.
//!
//! [`conflicts`] checks settings that are valid by themselves, and opens nothing. Each fault is a
//! sentence that names the settings, and tells what to change.

use std::collections::BTreeSet;

use reqwest::Url;
use secrecy::ExposeSecret as _;
use shop_client::ShopClient;

use super::ServiceKind;
use super::command::Command;
use super::names::is_in_groups;
use super::variables::{AuthMode, ProcessRole, Variables};

/// Groups of settings of which all are set, or none.
const TOGETHER: [&[&str]; 5] = [
    &["SHOP_KAFKA_USERNAME", "SHOP_KAFKA_PASSWORD"],
    &[
        "SHOP_KAFKA_OAUTH_TOKEN_URL",
        "SHOP_KAFKA_OAUTH_CLIENT_ID",
        "SHOP_KAFKA_OAUTH_CLIENT_SECRET",
    ],
    &["SHOP_KAFKA_CERT_FILE", "SHOP_KAFKA_KEY_FILE"],
    &["SHOP_TLS_CERT_FILE", "SHOP_TLS_KEY_FILE"],
    &["SHOP_SERVICE_CERT_FILE", "SHOP_SERVICE_KEY_FILE"],
];

/// The settings, and prefixes of settings, that facing alone reads.
pub(super) const FACING_SETTINGS: [&str; 5] = [
    "SHOP_MANAGEMENT_URL",
    "SHOP_USERS_URL",
    "SHOP_ORDERS_URL",
    "SHOP_SERVICE_",
    "SHOP_CORS_",
];

/// Adds the faults of settings that select a backend that this program was built without.
fn check_features(kafka: bool, mongodb: bool, postgres: bool, faults: &mut Vec<String>) {
    for (is_selected, is_built, feature, backend, setting, embedded) in [
        (
            kafka,
            cfg!(feature = "kafka"),
            "kafka",
            "Kafka",
            "SHOP_KAFKA_BOOTSTRAP_SERVERS",
            "log",
        ),
        (
            mongodb,
            cfg!(feature = "mongodb"),
            "mongodb",
            "MongoDB",
            "SHOP_MONGODB_URI",
            "store",
        ),
        (
            postgres,
            cfg!(feature = "postgres"),
            "postgres",
            "PostgreSQL",
            "SHOP_POSTGRES_URL",
            "store",
        ),
    ] {
        if is_selected && !is_built {
            faults.push(format!(
                "{setting} (or another name of it) selects {backend}, but this program was built without it: unset it to \
                 use the embedded {embedded}, or build it with feature `{feature}`"
            ));
        }
    }
    if !(kafka && (mongodb || postgres)) && cfg!(not(feature = "embedded")) {
        faults.push(
            "this program was built without the embedded log and store: set SHOP_KAFKA_BOOTSTRAP_SERVERS and \
             SHOP_MONGODB_URI, or build it with feature `embedded`"
                .to_owned(),
        );
    }
}

/// Returns the conflicts between settings that are valid by themselves.
///
/// `set` contains the names of all settings that a flag, a variable or the file sets, even to their
/// default.
pub(super) fn conflicts(
    service: ServiceKind,
    command: Option<&Command>,
    variables: &Variables,
    mut set: BTreeSet<&str>,
) -> Vec<String> {
    let has_kafka = variables.kafka.kafka_bootstrap_servers.is_some();
    let has_mongodb = variables.mongodb.mongodb_uri.is_some();
    let has_postgres = variables.postgres.postgres_url.is_some();
    let has_store = has_mongodb || has_postgres;
    let has_both = has_mongodb && has_postgres;
    let mut faults = Vec::new();
    check_features(has_kafka, has_mongodb, has_postgres, &mut faults);

    let opened = opened_parts(service, command, variables);
    let is_facing = service == ServiceKind::Facing;
    let wrong = [
        (
            command.is_some() && variables.check_config,
            "--check-config checks a service: leave out the command",
        ),
        (
            has_mongodb && !has_postgres && opened.entities,
            "SHOP_MONGODB_URI has no users and orders: set SHOP_POSTGRES_URL beside it, with a database for each service, or \
             unset it to use the embedded files, or name only purchases in SHOP_ROLES",
        ),
        (
            has_both && !variables.has_entities(),
            "SHOP_MONGODB_URI and SHOP_POSTGRES_URL (or other names of them) name two stores of purchases: unset one of them, or \
             add users or orders, which PostgreSQL stores, to SHOP_ROLES",
        ),
        (
            has_both && !variables.has(ProcessRole::Purchases),
            "SHOP_MONGODB_URI stores purchases, which are not in SHOP_ROLES: unset it; SHOP_POSTGRES_URL stores users and orders",
        ),
        (
            is_facing && has_kafka && !has_store && variables.management_url.is_none(),
            "SHOP_KAFKA_BOOTSTRAP_SERVERS is set, but neither SHOP_MANAGEMENT_URL nor SHOP_MONGODB_URI nor SHOP_POSTGRES_URL: \
             facing would have no store to list purchases from. Set one of them",
        ),
        (
            is_facing && !variables.has(ProcessRole::Purchases),
            "SHOP_ROLES: facing requires purchases, name them too; users and orders alone are served by management",
        ),
    ];
    for (applies, fault) in wrong {
        if applies {
            faults.push(fault.to_owned());
        }
    }
    for (name, embedded, is_missing) in [
        (
            "SHOP_KAFKA_BOOTSTRAP_SERVERS",
            "log",
            opened.log && !has_kafka,
        ),
        ("SHOP_MONGODB_URI", "store", opened.purchases && !has_store),
        ("SHOP_POSTGRES_URL", "store", opened.entities && !has_store),
    ] {
        if variables.require_servers && is_missing {
            faults.push(format!(
                "{name}: not set, but SHOP_REQUIRE_SERVERS is on: name the server, or set \
                 SHOP_REQUIRE_SERVERS=off to use the embedded {embedded}"
            ));
        }
    }
    check_values(variables, &mut faults);

    // SHOP_KAFKA_TLS=off and SHOP_KAFKA_CREATE_TOPICS=on are the defaults: they count as unset. A build without Kafka knows neither.
    set.retain(|name| match *name {
        #[cfg(feature = "kafka")]
        "SHOP_KAFKA_TLS" => variables.kafka.kafka_tls,
        #[cfg(feature = "kafka")]
        "SHOP_KAFKA_CREATE_TOPICS" => !variables.kafka.kafka_create_topics,
        _ => true,
    });
    check_completeness(variables.auth, &set, &mut faults);
    // A command accepts the settings of both services.
    let serves = command.is_none().then_some(service);
    check_effect(serves, variables, &set, &mut faults);
    faults
}

/// Adds the faults of settings that other settings require, and that are not set.
fn check_completeness(auth: Option<AuthMode>, set: &BTreeSet<&str>, faults: &mut Vec<String>) {
    for all in TOGETHER {
        let set_count = all.iter().filter(|name| set.contains(*name)).count();
        if set_count > 0 && set_count < all.len() {
            let all = all.join(" and ");
            faults.push(format!("{all} go together: set all or none"));
        }
    }

    match auth {
        Some(AuthMode::Jwt) => {
            if set.contains("SHOP_AUTH_JWKS_URL") == set.contains("SHOP_AUTH_JWKS_FILE") {
                faults.push(
                    "SHOP_AUTH=jwt requires the keys of the issuer: set SHOP_AUTH_JWKS_URL or \
                     SHOP_AUTH_JWKS_FILE, one of them"
                        .to_owned(),
                );
            }
            for name in ["SHOP_AUTH_ISSUER", "SHOP_AUTH_AUDIENCE"] {
                if !set.contains(name) {
                    faults.push(format!("{name}: not set, but SHOP_AUTH=jwt requires it"));
                }
            }
        }
        Some(AuthMode::Keys) if !set.contains("SHOP_API_KEYS_FILE") => {
            faults.push("SHOP_API_KEYS_FILE: not set, but SHOP_AUTH=keys requires it".to_owned());
        }
        _ => {}
    }
}

/// Adds the faults of settings that have no effect beside other settings.
///
/// `serves` is the service that the process runs, or `None` for a command.
fn check_effect(
    serves: Option<ServiceKind>,
    variables: &Variables,
    set: &BTreeSet<&str>,
    faults: &mut Vec<String>,
) {
    let has_kafka = variables.kafka.kafka_bootstrap_servers.is_some();
    let is_management = serves == Some(ServiceKind::Management);
    let has_no_entities = serves.is_some() && !variables.has_entities();
    let is_off = variables.auth == Some(AuthMode::Off);
    let is_jwt = variables.auth == Some(AuthMode::Jwt);
    let rules: [(bool, &[&str], &str); 12] = [
        (
            is_management,
            &FACING_SETTINGS,
            "management does not read it: unset it, or set it for facing alone",
        ),
        (
            has_no_entities,
            &[
                "SHOP_USERS_",
                "SHOP_ORDERS_",
                "SHOP_ORDER_",
                "SHOP_ADOPT_TABLES",
            ],
            "only the roles users and orders read it: unset it, or add them to SHOP_ROLES",
        ),
        (
            variables.mongodb.mongodb_uri.is_none(),
            &["SHOP_MONGODB_"],
            "SHOP_MONGODB_URI is not: unset this to use another store",
        ),
        (
            variables.postgres.postgres_url.is_none(),
            &["SHOP_POSTGRES_"],
            "SHOP_POSTGRES_URL is not: unset this to use another store",
        ),
        (
            !has_kafka,
            &["SHOP_KAFKA_"],
            "SHOP_KAFKA_BOOTSTRAP_SERVERS is not: name the brokers, or unset this to use the embedded log",
        ),
        (
            has_kafka,
            &["SHOP_LOG_RETENTION", "SHOP_LOG_MAX_SIZE"],
            "the log is on Kafka: set the retention of the topic, or unset SHOP_KAFKA_BOOTSTRAP_SERVERS to use the embedded log",
        ),
        (
            set.contains("SHOP_KAFKA_USERNAME"),
            &["SHOP_KAFKA_OAUTH_TOKEN_URL"],
            "SHOP_KAFKA_USERNAME is too: unset one of them",
        ),
        (
            !set.contains("SHOP_KAFKA_TLS"),
            &["SHOP_KAFKA_CERT_FILE"],
            "SHOP_KAFKA_TLS is off: set SHOP_KAFKA_TLS=on",
        ),
        (
            variables.tls_cert_file.is_none(),
            &["SHOP_TLS_CLIENT_CA_FILE"],
            "SHOP_TLS_CERT_FILE is not: plain HTTP has no certificates of clients",
        ),
        (
            is_off,
            &["SHOP_AUTH_"],
            "SHOP_AUTH is off: unset one of them",
        ),
        (
            is_off,
            &["SHOP_API_KEYS_FILE"],
            "SHOP_AUTH is off: unset one of them",
        ),
        (
            !is_off && !is_jwt,
            &["SHOP_AUTH_"],
            "only SHOP_AUTH=jwt accepts tokens",
        ),
    ];
    for (applies, groups, reason) in rules {
        let mut useless: Vec<&str> = set.iter().copied().collect();
        useless.retain(|setting| is_in_groups(setting, groups));
        if applies && !useless.is_empty() {
            let useless = useless.join(", ");
            faults.push(format!("{useless}: set, but {reason}"));
        }
    }
}

/// Adds the faults of topics with one name, of invalid addresses, and of unsupported protocols of
/// traces.
fn check_values(variables: &Variables, faults: &mut Vec<String>) {
    let topics = [
        ("SHOP_PURCHASES_TOPIC", &variables.purchases_topic),
        ("SHOP_USERS_TOPIC", &variables.users_topic),
        ("SHOP_ORDERS_TOPIC", &variables.orders_topic),
    ];
    for (index, (name, topic)) in topics.iter().enumerate() {
        for (other_name, other_topic) in &topics[..index] {
            if other_topic == topic {
                faults.push(format!(
                    "{other_name} and {name} are both {topic}: each needs its own topic"
                ));
            }
        }
    }
    for (name, url, schemes) in [
        (
            "SHOP_MONGODB_URI",
            &variables.mongodb.mongodb_uri,
            ["mongodb://", "mongodb+srv://"],
        ),
        (
            "SHOP_POSTGRES_URL",
            &variables.postgres.postgres_url,
            ["postgresql://", "postgres://"],
        ),
    ] {
        if let Some(url) = url
            && !schemes
                .iter()
                .any(|scheme| url.expose_secret().starts_with(scheme))
        {
            faults.push(format!(
                "{name} (or DATABASE_URL) must begin with {}",
                schemes.join(" or ")
            ));
        }
    }
    for (name, url) in [
        ("SHOP_MANAGEMENT_URL", &variables.management_url),
        ("SHOP_USERS_URL", &variables.users_url),
        ("SHOP_ORDERS_URL", &variables.orders_url),
    ] {
        if let Some(url) = url
            && let Err(error) = ShopClient::builder(url).build()
        {
            faults.push(format!("{name}: {}", error.message()));
        }
    }
    for (name, protocol) in [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            &variables.otel_exporter_otlp_protocol,
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            &variables.otel_exporter_otlp_traces_protocol,
        ),
    ] {
        if let Some(protocol) = protocol
            && protocol != "http/protobuf"
            && variables.has_traces()
        {
            faults.push(format!(
                "{name}: {protocol} is not supported: set http/protobuf, and the port of that, usually 4318, in the address, or \
                 OTEL_TRACES_EXPORTER=none"
            ));
        }
    }
    if let Some(url) = &variables.auth_jwks_url
        && !url.parse().is_ok_and(|url: Url| is_key_address(&url))
    {
        faults.push(
            "SHOP_AUTH_JWKS_URL: must start with https:// and have a host, without a user name or a password"
                .to_owned(),
        );
    }
}

/// Returns whether public keys can be fetched from `url`.
fn is_key_address(url: &Url) -> bool {
    let has_login = !url.username().is_empty() || url.password().is_some();
    matches!(url.scheme(), "http" | "https") && url.has_host() && !has_login
}

/// The parts that a process opens.
struct OpenedParts {
    log: bool,
    purchases: bool,
    /// A store of users or orders.
    entities: bool,
}

/// Returns the parts that the service or the command opens.
fn opened_parts(
    service: ServiceKind,
    command: Option<&Command>,
    variables: &Variables,
) -> OpenedParts {
    let mut opened = OpenedParts {
        log: true,
        purchases: true,
        entities: false,
    };
    match command {
        Some(Command::Verify { .. } | Command::Refund(_) | Command::Import(_)) => {}
        #[cfg(feature = "compat")]
        Some(Command::Replace(_)) => {}
        #[cfg(feature = "compat")]
        Some(Command::Migrate) => opened.log = false,
        Some(Command::Doctor | Command::Export { .. }) => opened.log = false,
        Some(Command::Dlq(_)) => opened.purchases = false,
        // These commands are for the embedded files.
        Some(Command::Groups(_) | Command::Backup { .. } | Command::Restore { .. }) => {
            opened.log = false;
            opened.purchases = false;
        }
        Some(Command::Replay { .. }) => {
            opened.purchases = false;
            opened.entities = true;
        }
        Some(Command::Erase(_)) => {
            opened.purchases = variables.has(ProcessRole::Purchases);
            opened.entities = variables.has(ProcessRole::Users);
        }
        Some(Command::Status) | None => {
            let is_facing = service == ServiceKind::Facing;
            let calls_management = is_facing && variables.management_url.is_some();
            let calls_users = calls_management || (is_facing && variables.users_url.is_some());
            let calls_orders = calls_management || (is_facing && variables.orders_url.is_some());

            // Without SHOP_MANAGEMENT_URL, listings come from the store.
            let reads_store = !calls_management || variables.ingest == Some(true);
            opened.purchases = variables.has(ProcessRole::Purchases) && reads_store;
            opened.entities = (variables.has(ProcessRole::Users) && !calls_users)
                || (variables.has(ProcessRole::Orders) && !calls_orders);
        }
    }
    opened
}
