//! Conflicts between settings, and settings that this build does not support.

use std::collections::BTreeSet;

use reqwest::Url;
use secrecy::ExposeSecret as _;
use shop_client::ShopClient;

use super::ServiceKind;
use super::command::Command;
use super::names::is_in_group;
use super::variables::{AuthMode, ProcessRole, Variables};

/// Settings of which all are set, or none.
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

/// Settings, and beginnings of settings, that facing alone reads; the roles users and orders; the embedded log.
const OF_FACING: [&str; 5] = [
    "SHOP_MANAGEMENT_URL",
    "SHOP_USERS_URL",
    "SHOP_ORDERS_URL",
    "SHOP_SERVICE_",
    "SHOP_CORS_",
];
const OF_ENTITIES: [&str; 4] = [
    "SHOP_USERS_",
    "SHOP_ORDERS_",
    "SHOP_ORDER_",
    "SHOP_ADOPT_TABLES",
];
const OF_FILES: [&str; 2] = ["SHOP_LOG_RETENTION", "SHOP_LOG_MAX_SIZE"];

/// The only protocol of traces.
const OTLP: &str = "http/protobuf";

/// Settings of the verification of tokens, the keys of the issuer first.
const OF_TOKENS: [&str; 4] = [
    "SHOP_AUTH_JWKS_URL",
    "SHOP_AUTH_JWKS_FILE",
    "SHOP_AUTH_ISSUER",
    "SHOP_AUTH_AUDIENCE",
];

/// Returns the faults of settings that select a backend that this program was built without.
fn missing_features(kafka: bool, mongodb: bool, postgres: bool) -> Vec<String> {
    let mut faults = Vec::new();
    for (is_selected, is_built, feature, what, setting, embedded) in [
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
                "{setting} (or another name of it) selects {what}, but this program was built without it: unset it to \
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
    faults
}

/// Returns the conflicts between settings that are valid by themselves.
///
/// `set` contains the names of all settings with a value.
pub(super) fn conflicts(
    service: ServiceKind,
    command: Option<&Command>,
    given: &Variables,
    mut set: BTreeSet<&str>,
) -> Vec<String> {
    let has_kafka = given.kafka_bootstrap_servers.is_some();
    let has_mongodb = given.mongodb_uri.is_some();
    let has_postgres = given.postgres_url.is_some();
    let has_store = has_mongodb || has_postgres;
    let has_both = has_mongodb && has_postgres;
    let mut faults = missing_features(has_kafka, has_mongodb, has_postgres);
    let [opens_log, opens_purchases, opens_entities] = opened(service, command, given);
    let is_facing = service == ServiceKind::Facing;
    let has_listings = given.management_url.is_some() || has_store;
    let wrong = [
        (
            command.is_some() && given.check_config,
            "--check-config checks a service: leave out the command",
        ),
        (
            has_mongodb && !has_postgres && opens_entities,
            "SHOP_MONGODB_URI has no users and orders: set SHOP_POSTGRES_URL beside it, with a database for each service, or \
             unset it to use the embedded files, or name only purchases in SHOP_ROLES",
        ),
        (
            has_both && !given.has_entities(),
            "SHOP_MONGODB_URI and SHOP_POSTGRES_URL (or other names of them) name two stores of purchases: unset one of them, or \
             add users or orders, which PostgreSQL stores, to SHOP_ROLES",
        ),
        (
            has_both && !given.has(ProcessRole::Purchases),
            "SHOP_MONGODB_URI stores purchases, which are not in SHOP_ROLES: unset it; SHOP_POSTGRES_URL stores users and orders",
        ),
        (
            is_facing && has_kafka && !has_listings,
            "SHOP_KAFKA_BOOTSTRAP_SERVERS is set, but neither SHOP_MANAGEMENT_URL nor SHOP_MONGODB_URI nor SHOP_POSTGRES_URL: \
             facing would have no store to list purchases from. Set one of them",
        ),
        (
            is_facing && !given.has(ProcessRole::Purchases),
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
            opens_log && !has_kafka,
        ),
        ("SHOP_MONGODB_URI", "store", opens_purchases && !has_store),
        ("SHOP_POSTGRES_URL", "store", opens_entities && !has_store),
    ] {
        if given.require_servers && is_missing {
            faults.push(format!(
                "{name}: not set, but SHOP_REQUIRE_SERVERS is on: name the server, or set \
                 SHOP_REQUIRE_SERVERS=off to use the embedded {embedded}"
            ));
        }
    }
    faults.extend(name_conflicts(given));
    set.retain(|name| match *name {
        "SHOP_KAFKA_TLS" => given.kafka_tls,
        "SHOP_KAFKA_CREATE_TOPICS" => !given.kafka_create_topics,
        _ => true,
    });
    faults.extend(incomplete(given.auth, &set));
    // A command takes the settings of both services.
    let serves = command.is_none().then_some(service);
    faults.extend(without_effect(serves, given, &set));
    faults
}

/// Returns the faults of settings that others require, and that are not set.
fn incomplete(auth: Option<AuthMode>, set: &BTreeSet<&str>) -> Vec<String> {
    let mut faults = Vec::new();
    for all in TOGETHER {
        let given = all.iter().filter(|name| set.contains(*name)).count();
        if given > 0 && given < all.len() {
            let all = all.join(" and ");
            faults.push(format!("{all} go together: set all or none"));
        }
    }

    let (of_issuer, of_claims) = OF_TOKENS.split_at(2);
    let is_one_source = set.contains(of_issuer[0]) != set.contains(of_issuer[1]);
    if auth == Some(AuthMode::Jwt) && !is_one_source {
        let all = of_issuer.join(" or ");
        faults.push(format!(
            "SHOP_AUTH=jwt requires the keys of the issuer: set {all}, one of them"
        ));
    }
    let (required, mode): (&[_], _) = match auth {
        Some(AuthMode::Jwt) => (of_claims, "jwt"),
        Some(AuthMode::Keys) => (&["SHOP_API_KEYS_FILE"], "keys"),
        Some(AuthMode::Off) | None => (&[], ""),
    };
    for name in required {
        if !set.contains(name) {
            faults.push(format!("{name}: not set, but SHOP_AUTH={mode} requires it"));
        }
    }
    faults
}

/// Returns the faults of settings that have no effect beside other settings.
fn without_effect(
    serves: Option<ServiceKind>,
    given: &Variables,
    set: &BTreeSet<&str>,
) -> Vec<String> {
    let has_kafka = given.kafka_bootstrap_servers.is_some();
    let is_management = serves == Some(ServiceKind::Management);
    let has_no_entities = serves.is_some() && !given.has_entities();
    let is_off = given.auth == Some(AuthMode::Off);
    let is_jwt = given.auth == Some(AuthMode::Jwt);
    let rules: [(bool, &[&str], &str); 12] = [
        (
            is_management,
            &OF_FACING,
            "management does not read it: unset it, or set it for facing alone",
        ),
        (
            has_no_entities,
            &OF_ENTITIES,
            "only the roles users and orders read it: unset it, or add them to SHOP_ROLES",
        ),
        (
            given.mongodb_uri.is_none(),
            &["SHOP_MONGODB_"],
            "SHOP_MONGODB_URI is not: unset this to use another store",
        ),
        (
            given.postgres_url.is_none(),
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
            &OF_FILES,
            "the log is on Kafka: set the retention of the topic, or unset SHOP_KAFKA_BOOTSTRAP_SERVERS to use the embedded log",
        ),
        (
            given.kafka_username.is_some(),
            &["SHOP_KAFKA_OAUTH_TOKEN_URL"],
            "SHOP_KAFKA_USERNAME is too: unset one of them",
        ),
        (
            !given.kafka_tls,
            &["SHOP_KAFKA_CERT_FILE"],
            "SHOP_KAFKA_TLS is off: set SHOP_KAFKA_TLS=on",
        ),
        (
            given.tls_cert_file.is_none(),
            &["SHOP_TLS_CLIENT_CA_FILE"],
            "SHOP_TLS_CERT_FILE is not: plain HTTP has no certificates of clients",
        ),
        (is_off, &OF_TOKENS, "SHOP_AUTH is off: unset one of them"),
        (
            is_off,
            &["SHOP_API_KEYS_FILE"],
            "SHOP_AUTH is off: unset one of them",
        ),
        (
            !is_off && !is_jwt,
            &OF_TOKENS,
            "only SHOP_AUTH=jwt accepts tokens",
        ),
    ];
    let mut faults = Vec::new();
    for (applies, names, why) in rules {
        let mut useless = set.clone();
        useless.retain(|setting| names.iter().any(|name| is_in_group(setting, name)));
        if applies && !useless.is_empty() {
            let useless = Vec::from_iter(useless).join(", ");
            faults.push(format!("{useless}: set, but {why}"));
        }
    }
    faults
}

/// Returns the faults of topics with one name, of invalid addresses, and of unsupported protocols of traces.
fn name_conflicts(given: &Variables) -> Vec<String> {
    let topics = [
        ("SHOP_PURCHASES_TOPIC", &given.purchases_topic),
        ("SHOP_USERS_TOPIC", &given.users_topic),
        ("SHOP_ORDERS_TOPIC", &given.orders_topic),
    ];
    let mut faults = Vec::new();
    for (index, (name, topic)) in topics.iter().enumerate() {
        for (other, _) in topics[..index].iter().filter(|(_, before)| before == topic) {
            faults.push(format!(
                "{other} and {name} are both {topic}: each needs its own topic"
            ));
        }
    }
    for (name, url, schemes) in [
        (
            "SHOP_MONGODB_URI",
            &given.mongodb_uri,
            ["mongodb://", "mongodb+srv://"],
        ),
        (
            "SHOP_POSTGRES_URL",
            &given.postgres_url,
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
        ("SHOP_MANAGEMENT_URL", &given.management_url),
        ("SHOP_USERS_URL", &given.users_url),
        ("SHOP_ORDERS_URL", &given.orders_url),
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
            &given.otel_exporter_otlp_protocol,
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            &given.otel_exporter_otlp_traces_protocol,
        ),
    ] {
        if let Some(protocol) = protocol
            && protocol != OTLP
            && given.has_traces()
        {
            let port = "and the port of that, usually 4318, in the address";
            faults.push(format!(
                "{name}: {protocol} is not supported: set {OTLP}, {port}, or OTEL_TRACES_EXPORTER=none"
            ));
        }
    }
    if let Some(url) = &given.auth_jwks_url
        && !url.parse().is_ok_and(|url: Url| is_key_address(&url))
    {
        let needs = "must start with https:// and have a host, without a user name or a password";
        faults.push(format!("SHOP_AUTH_JWKS_URL: {needs}"));
    }
    faults
}

/// Returns whether public keys can be fetched from `url`.
fn is_key_address(url: &Url) -> bool {
    let has_login = !url.username().is_empty() || url.password().is_some();
    matches!(url.scheme(), "http" | "https") && url.has_host() && !has_login
}

/// Returns whether the service or the command opens a log, the store of purchases, and a store of users or orders.
fn opened(service: ServiceKind, command: Option<&Command>, given: &Variables) -> [bool; 3] {
    match command {
        Some(Command::Migrate | Command::Doctor | Command::Export { .. }) => [false, true, false],
        Some(Command::Dlq(_)) => [true, false, false],
        // They are for the embedded files.
        Some(Command::Groups(_) | Command::Backup { .. } | Command::Restore { .. }) => [false; 3],
        Some(
            Command::Verify { .. } | Command::Replace(_) | Command::Refund(_) | Command::Import(_),
        ) => [true, true, false],
        Some(Command::Replay { .. }) => [true, false, true],
        Some(Command::Erase(_)) => [
            true,
            given.has(ProcessRole::Purchases),
            given.has(ProcessRole::Users),
        ],
        Some(Command::Status) | None => {
            let forwards = |url: &Option<String>| {
                service == ServiceKind::Facing && (url.is_some() || given.management_url.is_some())
            };
            // Without SHOP_MANAGEMENT_URL, listings come from the store.
            let lists = !forwards(&None) || given.ingest == Some(true);
            let keeps = |role, url: &Option<String>| given.has(role) && !forwards(url);
            let keeps_entities = keeps(ProcessRole::Users, &given.users_url)
                || keeps(ProcessRole::Orders, &given.orders_url);
            [
                true,
                given.has(ProcessRole::Purchases) && lists,
                keeps_entities,
            ]
        }
    }
}
