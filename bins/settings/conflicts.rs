//! Conflicts between settings, and settings that this build does not support.

use secrecy::ExposeSecret;
use shop_client::ShopClient;

use super::ServiceKind;
use super::command::Command;
use super::variables::Variables;
use crate::auth::AuthMode;
use crate::roles::ProcessRole;

/// The backends that the settings select and this program was built without.
pub(crate) fn missing_features(kafka: bool, mongodb: bool, postgres: bool) -> Vec<String> {
    let without = |what: &str, setting: &str, embedded: &str| {
        format!(
            "{setting} (or another name of it) selects {what}, but this program was built without it: unset \
             it to use the embedded {embedded}, or build it with feature `{}`",
            what.to_lowercase()
        )
    };
    let mut faults = Vec::new();
    if kafka && cfg!(not(feature = "kafka")) {
        faults.push(without("Kafka", "KAFKA_BOOTSTRAP_SERVERS", "log"));
    }
    if mongodb && cfg!(not(feature = "mongodb")) {
        faults.push(without("MongoDB", "MONGODB_URI", "store"));
    }
    if postgres && cfg!(not(feature = "postgres")) {
        faults.push(
            "POSTGRES_URL (or another name of it) selects PostgreSQL, but this program was built without it: unset it to \
             use the embedded store, or build it with feature `postgres`"
                .to_owned(),
        );
    }
    if !(kafka && (mongodb || postgres)) && cfg!(not(feature = "embedded")) {
        faults.push(
            "this program was built without the embedded log and store: set KAFKA_BOOTSTRAP_SERVERS and \
             MONGODB_URI, or build it with feature `embedded`"
                .to_owned(),
        );
    }
    faults
}

/// The conflicts between settings that are valid by themselves.
pub(super) fn conflicts(service: ServiceKind, command: Option<&Command>, given: &Variables) -> Vec<String> {
    let has_kafka = given.kafka_bootstrap_servers.is_some();
    let mongodb = given.mongodb_uri.as_ref().map(ExposeSecret::expose_secret);
    let postgres = given.postgres_url.as_ref().map(ExposeSecret::expose_secret);
    let has_store = mongodb.is_some() || postgres.is_some();
    let mut faults = missing_features(has_kafka, mongodb.is_some(), postgres.is_some());
    if mongodb.is_some_and(|uri| !uri.starts_with("mongodb://") && !uri.starts_with("mongodb+srv://")) {
        faults.push("MONGODB_URI (or DATABASE_URL) must begin with mongodb:// or mongodb+srv://".to_owned());
    }
    if postgres.is_some_and(|url| !url.starts_with("postgresql://") && !url.starts_with("postgres://")) {
        faults.push("POSTGRES_URL (or DATABASE_URL) must begin with postgresql:// or postgres://".to_owned());
    }
    faults.extend(kafka_conflicts(given));
    if command.is_some() && given.check_config {
        faults.push("--check-config checks a service: leave out the command".to_owned());
    }
    let [opens_log, opens_purchases, opens_entities] = opened(service, command, given);
    faults.extend(store_conflicts(given, opens_entities));
    for (name, embedded, is_missing) in [
        ("KAFKA_BOOTSTRAP_SERVERS", "log", opens_log && !has_kafka),
        ("MONGODB_URI", "store", opens_purchases && !has_store),
        ("POSTGRES_URL", "store", opens_entities && !has_store),
    ] {
        if given.require_servers && is_missing {
            faults.push(format!(
                "{name}: not set, but SHOP_REQUIRE_SERVERS is on: name the server, or set \
                 SHOP_REQUIRE_SERVERS=off to use the embedded {embedded}"
            ));
        }
    }
    let has_listings = given.management_url.is_some() || has_store;
    if service == ServiceKind::Facing && has_kafka && !has_listings {
        faults.push(
            "KAFKA_BOOTSTRAP_SERVERS is set, but neither MANAGEMENT_URL nor MONGODB_URI nor POSTGRES_URL: \
             facing would have no store to list purchases from. Set one of them"
                .to_owned(),
        );
    }
    if service == ServiceKind::Facing && !given.roles().has(ProcessRole::Purchases) {
        faults.push(
            "SHOP_ROLES: facing requires purchases, name them too; users and orders alone are served by management"
                .to_owned(),
        );
    }
    faults.extend(auth_conflicts(given));
    faults.extend(tls_conflicts(given));
    faults.extend(name_conflicts(given));
    faults
}

/// Two stores of purchases, and a server that has no store of a role.
fn store_conflicts(given: &Variables, opens_entities: bool) -> Option<String> {
    let has_entities = given.roles().has(ProcessRole::Users) || given.roles().has(ProcessRole::Orders);
    let fault = match (given.mongodb_uri.is_some(), given.postgres_url.is_some()) {
        (true, false) if opens_entities => {
            "MONGODB_URI has no users and orders: set POSTGRES_URL beside it, with a database of each service's own, or \
             unset it to use the embedded files, or name only purchases in SHOP_ROLES"
        }
        (true, true) if !has_entities => {
            "MONGODB_URI and POSTGRES_URL (or other names of them) name two stores of purchases: unset one of them, or \
             add users or orders, which PostgreSQL stores, to SHOP_ROLES"
        }
        (true, true) if !given.roles().has(ProcessRole::Purchases) => {
            "MONGODB_URI stores purchases, which are not in SHOP_ROLES: unset it; POSTGRES_URL stores users and orders"
        }
        _ => return None,
    };
    Some(fault.to_owned())
}

/// Settings of authentication that are incomplete, or of another way than the chosen one.
fn auth_conflicts(given: &Variables) -> Vec<String> {
    let of_tokens = [
        ("SHOP_AUTH_JWKS_URL", given.auth_jwks_url.is_some()),
        ("SHOP_AUTH_JWKS_FILE", given.auth_jwks_file.is_some()),
        ("SHOP_AUTH_ISSUER", given.auth_issuer.is_some()),
        ("SHOP_AUTH_AUDIENCE", given.auth_audience.is_some()),
    ];
    let set: Vec<_> = of_tokens.iter().filter_map(|(name, is_set)| is_set.then_some(*name)).collect();
    let keys = given.api_keys_file.is_some().then_some("SHOP_API_KEYS_FILE");
    let mut faults = Vec::new();
    match given.auth {
        Some(AuthMode::Jwt) => {
            match (&given.auth_jwks_url, &given.auth_jwks_file) {
                (Some(_), None) | (None, Some(_)) => {}
                _ => faults.push(
                    "SHOP_AUTH=jwt requires the keys of the issuer: set SHOP_AUTH_JWKS_URL or SHOP_AUTH_JWKS_FILE, one of \
                     them"
                        .to_owned(),
                ),
            }
            for (name, is_set) in &of_tokens[2..] {
                if !is_set {
                    faults.push(format!("{name}: not set, but SHOP_AUTH=jwt requires it"));
                }
            }
        }
        Some(AuthMode::Keys) if keys.is_none() => {
            faults.push("SHOP_API_KEYS_FILE: not set, but SHOP_AUTH=keys requires it".to_owned());
        }
        Some(AuthMode::Off) if !set.is_empty() || keys.is_some() => {
            let all: Vec<_> = set.iter().copied().chain(keys).collect();
            faults.push(format!("{}: set, but SHOP_AUTH is off: unset one of them", all.join(", ")));
        }
        None | Some(AuthMode::Keys) if !set.is_empty() => {
            faults.push(format!("{}: set, but only SHOP_AUTH=jwt accepts tokens", set.join(", ")));
        }
        _ => {}
    }
    faults
}

/// Certificates without their keys, and settings that have no effect without a certificate.
fn tls_conflicts(given: &Variables) -> Vec<String> {
    let pairs = [
        ("SHOP_TLS_CERT_FILE", &given.tls_cert_file, "SHOP_TLS_KEY_FILE", &given.tls_key_file),
        (
            "SHOP_SERVICE_CERT_FILE",
            &given.service_cert_file,
            "SHOP_SERVICE_KEY_FILE",
            &given.service_key_file,
        ),
        ("KAFKA_CERT_FILE", &given.kafka_cert_file, "KAFKA_KEY_FILE", &given.kafka_key_file),
    ];
    let mut faults = Vec::new();
    for (certificate_name, certificate, key_name, key) in pairs {
        if certificate.is_some() != key.is_some() {
            faults.push(format!("{certificate_name} and {key_name} go together: set both or none"));
        }
    }
    if given.tls_client_ca_file.is_some() && given.tls_cert_file.is_none() {
        faults.push(
            "SHOP_TLS_CLIENT_CA_FILE: set, but SHOP_TLS_CERT_FILE is not: plain HTTP has no certificates of clients"
                .to_owned(),
        );
    }
    faults
}

/// Incomplete credentials, and settings that have no effect without brokers.
fn kafka_conflicts(given: &Variables) -> Vec<String> {
    let (has_user, has_password) = (given.kafka_username.is_some(), given.kafka_password.is_some());
    let mut faults = Vec::new();
    if has_user != has_password {
        faults.push("KAFKA_USERNAME and KAFKA_PASSWORD go together: set both or none".to_owned());
    }
    let of_tokens = [
        given.kafka_oauth_token_url.is_some(),
        given.kafka_oauth_client_id.is_some(),
        given.kafka_oauth_client_secret.is_some(),
    ];
    if of_tokens.contains(&true) && of_tokens.contains(&false) {
        faults.push(
            "KAFKA_OAUTH_TOKEN_URL, KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET go together: set all or none"
                .to_owned(),
        );
    }
    if of_tokens.contains(&true) && has_user {
        faults.push("KAFKA_OAUTH_TOKEN_URL and KAFKA_USERNAME are both set: unset one of them".to_owned());
    }
    if given.kafka_cert_file.is_some() && !given.kafka_tls {
        faults.push("KAFKA_CERT_FILE: set, but KAFKA_TLS is off: set KAFKA_TLS=on".to_owned());
    }
    let of_brokers = [
        ("KAFKA_USERNAME", has_user),
        ("KAFKA_PASSWORD", has_password),
        ("KAFKA_SASL_MECHANISM", given.kafka_sasl_mechanism.is_some()),
        ("KAFKA_TLS", given.kafka_tls),
        ("KAFKA_CA_FILE", given.kafka_ca_file.is_some()),
        ("KAFKA_CERT_FILE", given.kafka_cert_file.is_some()),
        ("KAFKA_OAUTH_TOKEN_URL", given.kafka_oauth_token_url.is_some()),
        ("KAFKA_REPLICAS", given.kafka_replicas.is_some()),
        ("KAFKA_CREATE_TOPICS", !given.kafka_create_topics),
    ];
    let set: Vec<_> = of_brokers.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect();
    if given.kafka_bootstrap_servers.is_none() && !set.is_empty() {
        faults.push(format!(
            "{}: set, but KAFKA_BOOTSTRAP_SERVERS is not: name the brokers, or unset this to use the embedded log",
            set.join(", ")
        ));
    }
    let of_file = [
        ("SHOP_LOG_RETENTION", given.log_retention.is_some()),
        ("SHOP_LOG_MAX_BYTES", given.log_max_bytes.is_some()),
    ];
    let set: Vec<_> = of_file.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect();
    if given.kafka_bootstrap_servers.is_some() && !set.is_empty() {
        faults.push(format!(
            "{}: set, but the log is on Kafka: set the retention of the topic, or unset KAFKA_BOOTSTRAP_SERVERS to use \
             the embedded log",
            set.join(", ")
        ));
    }
    faults
}

/// Topics with the same name, and invalid addresses.
fn name_conflicts(given: &Variables) -> Vec<String> {
    let topics = [
        ("KAFKA_TOPIC", &given.kafka_topic),
        ("SHOP_USERS_TOPIC", &given.users_topic),
        ("SHOP_ORDERS_TOPIC", &given.orders_topic),
    ];
    let mut faults = Vec::new();
    for (index, (name, topic)) in topics.iter().enumerate() {
        for (other, _) in topics[..index].iter().filter(|(_, before)| before == topic) {
            faults.push(format!("{other} and {name} are both {topic}: each needs its own topic"));
        }
    }
    for (name, url) in [
        ("MANAGEMENT_URL", &given.management_url),
        ("USERS_URL", &given.users_url),
        ("ORDERS_URL", &given.orders_url),
    ] {
        if let Some(Err(error)) = url.as_ref().map(|url| ShopClient::builder(url).build()) {
            faults.push(format!("{name}: {}", error.message()));
        }
    }
    faults
}

/// Whether the service or the command opens a log, the store of purchases, and a store of users or orders.
fn opened(service: ServiceKind, command: Option<&Command>, given: &Variables) -> [bool; 3] {
    let has = |role| given.roles().has(role);
    match command {
        Some(Command::Migrate | Command::Doctor | Command::Export { .. }) => [false, true, false],
        Some(Command::Dlq(_) | Command::Import { .. }) => [true, false, false],
        // They are for the embedded files.
        Some(Command::Groups(_) | Command::Backup { .. } | Command::Restore { .. }) => [false; 3],
        Some(Command::Verify { .. }) => [true, true, false],
        Some(Command::Replay { .. }) => [true, false, true],
        Some(Command::Erase(_)) => [true, has(ProcessRole::Purchases), has(ProcessRole::Users)],
        None => {
            let forwards = |url: &Option<String>| {
                service == ServiceKind::Facing && (url.is_some() || given.management_url.is_some())
            };
            // Without MANAGEMENT_URL, listings come from the store.
            let lists = !forwards(&None) || given.ingest == Some(true);
            let keeps = |role, url: &Option<String>| has(role) && !forwards(url);
            let keeps_entities =
                keeps(ProcessRole::Users, &given.users_url) || keeps(ProcessRole::Orders, &given.orders_url);
            [true, has(ProcessRole::Purchases) && lists, keeps_entities]
        }
    }
}
