//! The names of settings, and the detection of misspelled names.
//!
//! A misspelled name would leave a setting at its default, such as the embedded log in place of Kafka.

use clap::CommandFactory as _;

use super::variables::Variables;

/// The canonical name of a setting, and its aliases.
pub(super) const ALIASES: [(&str, &[&str]); 9] = [
    ("KAFKA_BOOTSTRAP_SERVERS", &["KAFKA_BROKERS", "KAFKA_BROKER"]),
    ("KAFKA_TOPIC", &["PURCHASE_TOPIC"]),
    ("KAFKA_GROUP_ID", &["KAFKA_GROUPID", "KAFKA_CONSUMER_GROUP"]),
    ("MONGODB_URI", &["DATABASE_URL"]),
    ("POSTGRES_URL", &["DATABASE_URL"]),
    ("MONGODB_DATABASE", &["MONGODB_DB", "MONGO_DB_NAME"]),
    ("MONGODB_COLLECTION", &["MONGO_COLLECTION_NAME"]),
    (
        "MANAGEMENT_URL",
        &["CUSTOMER_MANAGEMENT_URL", "CUSTOMER_MGMT_API_URL", "MANAGEMENT_API_ENDPOINT", "CM_API_HOST"],
    ),
    ("PORT", &["APP_PORT"]),
];

/// The parts of the addresses of MongoDB and of management.
pub(super) const PARTS: [&str; 8] = [
    "MONGO_HOSTNAME",
    "MONGO_PORT",
    "MONGODB_HOSTS",
    "MONGODB_USERNAME",
    "MONGODB_PASSWORD",
    "MONGODB_AUTHDB",
    "CM_API_HOSTNAME",
    "CM_API_PORT",
];

/// Secrets. `<name>_FILE` names a file to read one from.
pub(super) const SECRETS: [&str; 7] = [
    "KAFKA_PASSWORD",
    "KAFKA_OAUTH_CLIENT_SECRET",
    "MONGODB_URI",
    "MONGODB_PASSWORD",
    "DATABASE_URL",
    "POSTGRES_URL",
    "SHOP_SERVICE_TOKEN",
];

/// The prefix of the variables of librdkafka's properties: `KAFKA_PROPERTY_CLIENT_RACK` is `client.rack`. As in
/// Confluent's images, `_` is a dot, and `__` is `_`.
pub(super) const PROPERTY: &str = "KAFKA_PROPERTY_";

/// Every variable with this prefix is a setting.
const OURS: &str = "SHOP_";

/// A variable with one of these prefixes may be for another program; a name similar to a setting is an error.
const SHARED: [&str; 9] =
    ["KAFKA_", "MONGO", "CORS_", "DATABASE_", "POSTGRES_", "MANAGEMENT_", "CUSTOMER_M", "CM_API_", "LOG_"];

/// The maximum edit distance of a misspelled name.
const MAX_DISTANCE: usize = 2;

/// Names of other programs, and the settings that they correspond to.
const MISTAKEN: [(&str, &str); 7] = [
    ("MONGO_HOST", "MONGO_HOSTNAME"),
    ("MONGO_URL", "MONGODB_URI"),
    ("MONGO_URI", "MONGODB_URI"),
    ("POSTGRES_URI", "POSTGRES_URL"),
    ("KAFKA_HOST", "KAFKA_BOOTSTRAP_SERVERS"),
    ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
    ("CORS_ALLOWED_ORIGINS", "CORS_ALLOW_ORIGINS"),
];

/// Variables of the project's tests, benches, image and compose file, which a shell may export, and of librdkafka.
const FOR_OTHERS: [&str; 5] =
    ["SHOP_IMAGE", "SHOP_BIND", "SHOP_SECRETS", "SHOP_BUILD_ARGS", "MANAGEMENT_PORT"];
const PREFIXES_FOR_OTHERS: [&str; 3] = ["SHOP_TEST_", "SHOP_BENCH_", PROPERTY];

/// The property of the variable `name`, if it is that of one.
pub(super) fn property(name: &str) -> Option<String> {
    let words = name.strip_prefix(PROPERTY)?.split("__").map(|words| words.replace('_', "."));
    Some(words.collect::<Vec<_>>().join("_").to_lowercase())
}

/// The errors of the names in `given` that are similar to settings.
pub(super) fn misspelled<'a>(given: impl Iterator<Item = &'a str>) -> Vec<String> {
    let known = known();
    given.filter_map(|name| fault(name, &known)).collect()
}

/// All names of settings.
pub(super) fn known() -> Vec<String> {
    let settings = Variables::command();
    let settings = settings.get_arguments().map(|setting| setting.get_id().to_string());
    let settings = settings.filter(|id| is_variable(id)).collect::<Vec<_>>();
    let aliases = ALIASES.iter().flat_map(|(_, aliases)| *aliases).copied();
    let files = SECRETS.iter().map(|secret| format!("{secret}_FILE"));
    let others = aliases.chain(PARTS).chain(["RUST_LOG"]).map(str::to_owned);
    settings.into_iter().chain(others).chain(files).collect()
}

/// Whether the setting of this id has a variable, rather than a flag only.
pub(super) fn is_variable(id: &str) -> bool {
    id.starts_with(char::is_uppercase)
}

/// Whether `name` is a setting, or has the prefix of one.
pub(super) fn may_be_setting(name: &str) -> bool {
    let begins = |prefix: &&str| name.starts_with(*prefix);
    begins(&OURS) || SHARED.iter().any(begins) || known().iter().any(|known| known == name)
}

fn fault(name: &str, known: &[String]) -> Option<String> {
    let is_for_others =
        FOR_OTHERS.contains(&name) || PREFIXES_FOR_OTHERS.iter().any(|prefix| name.starts_with(prefix));
    if is_for_others || known.iter().any(|known| known == name) {
        return None;
    }
    if let Some((_, meant)) = MISTAKEN.iter().find(|(mistaken, _)| *mistaken == name) {
        return Some(format!("{name} is not a setting: use {meant}"));
    }
    if !may_be_setting(name) {
        return None;
    }
    let distance = |known: &str| strsim::osa_distance(name, known);
    let nearest = known.iter().min_by_key(|known| distance(known))?;
    match distance(nearest) {
        0..=MAX_DISTANCE => Some(format!("{name} is not a setting: {nearest} was probably meant")),
        _ if name.starts_with(OURS) => {
            Some(format!("{name} is not a setting: unset it (the nearest is {nearest}; --help lists all)"))
        }
        _ => None,
    }
}

/// Whether Kubernetes sets the variable in every pod, for a service of the namespace: `KAFKA_PORT=tcp://10.0.0.1:9092`
/// for a service `kafka`.
pub(super) fn is_of_kubernetes(name: &str, value: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    let is_url = || {
        let scheme = value.split_once("://").map_or("", |(scheme, _)| scheme);
        PROTOCOLS.iter().any(|protocol| protocol.eq_ignore_ascii_case(scheme))
    };
    let of_a_port = || {
        let (_, port) = name.split_once("_PORT_")?;
        let (number, rest) = port.split_once('_')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && PROTOCOLS.iter().any(|protocol| rest.starts_with(protocol))).then_some(())
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url())
        || of_a_port().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(name: &str) -> Option<String> {
        misspelled([name].into_iter()).pop()
    }

    #[test]
    fn misspelled_name_is_an_error_with_the_setting() {
        for (name, meant) in [
            ("SHOP_DATADIR", "SHOP_DATA_DIR"),
            ("SHOP_DATA_DRI", "SHOP_DATA_DIR"),
            ("SHOP_DAIlECT", "SHOP_DIALECT"),
            ("SHOP_REQUIRE_SERVER", "SHOP_REQUIRE_SERVERS"),
            ("SHOP_SOMETHING_ELSE", "--help"),
            ("KAFKA_BOOTSTRAP_SERVER", "use KAFKA_BOOTSTRAP_SERVERS"),
            ("KAFKA_BOOTSTRAPSERVERS", "KAFKA_BOOTSTRAP_SERVERS"),
            ("POSTGRES_URI", "POSTGRES_URL"),
            ("KAFKA_HOST", "use KAFKA_BOOTSTRAP_SERVERS"),
            ("KAFKA_PASSWORDFILE", "KAFKA_PASSWORD_FILE"),
            ("MONGO_URI", "use MONGODB_URI"),
            ("MONGO_URL", "use MONGODB_URI"),
            ("MONGO_HOST", "use MONGO_HOSTNAME"),
            ("MONGODB_HOST", "MONGODB_HOSTS"),
            ("MONGODB_URL", "MONGODB_URI"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("CORS_ALLOWED_ORIGINS", "use CORS_ALLOW_ORIGINS"),
            ("CORS_ALLOW_ORIGIN", "CORS_ALLOW_ORIGINS"),
            ("MANAGEMENT_URI", "MANAGEMENT_URL"),
            ("CUSTOMER_MANAGMENT_URL", "CUSTOMER_MANAGEMENT_URL"),
            ("CM_API_HOSTS", "CM_API_HOST"),
            ("LOG_LEVLE", "LOG_LEVEL"),
        ] {
            let fault = fault_of(name).unwrap_or_default();
            assert!(fault.starts_with(name) && fault.contains(meant), "{name}: {fault}");
        }
    }

    #[test]
    fn settings_and_names_of_other_programs_are_valid() {
        for name in known() {
            assert_eq!(fault_of(&name), None);
        }
        for name in [
            "HOSTS",
            "HOSTNAME",
            "PORTS",
            "APP_PORTS",
            "RUST_LOGS",
            "LOGNAME",
            "LOG_DIR",
            "MAIL",
            "USERS_URI",
            "KAFKA_HEAP_OPTS",
            "KAFKA_LOG_DIRS",
            "KAFKA_NODE_ID",
            "MONGO_INITDB_ROOT_USERNAME",
            "MONGO_INITDB_DATABASE",
            "CUSTOMER_FACING_URL",
            "POSTGRES_PASSWORD",
            "DATABASE_HOST",
            "MANAGEMENT_PORT",
            "SHOP_TEST_KAFKA",
            "SHOP_BENCH_PAIRS",
            "SHOP_IMAGE",
            "SHOP_BIND",
            "SHOP_SECRETS",
            "SHOP_BUILD_ARGS",
        ] {
            assert_eq!(fault_of(name), None);
        }
    }

    #[test]
    fn a_property_is_named_as_in_confluents_images() {
        for (name, expected) in [
            ("KAFKA_PROPERTY_CLIENT_RACK", "client.rack"),
            ("KAFKA_PROPERTY_client.rack", "client.rack"),
            ("KAFKA_PROPERTY_LOG__LEVEL", "log_level"),
        ] {
            assert_eq!((property(name).as_deref(), fault_of(name)), (Some(expected), None));
        }
        assert_eq!(property("KAFKA_TOPIC"), None);
    }

    #[test]
    fn is_of_kubernetes_recognizes_service_variables() {
        let url = "tcp://10.96.0.1:9092";
        for (name, value) in [
            ("KAFKA_SERVICE_HOST", "10.96.0.1"),
            ("SHOP_FACING_SERVICE_PORT", "3000"),
            ("SHOP_FACING_SERVICE_PORT_HTTP", "3000"),
            ("MONGO_PORT", "tcp://10.96.0.1:27017"),
            ("SHOP_PORT", "udp://10.96.0.1:1"),
            ("KAFKA_PORT_9092_TCP", url),
            ("MONGODB_PORT_27017_TCP_ADDR", "10.96.0.1"),
            ("SHOP_PORT_132_SCTP_PROTO", "sctp"),
        ] {
            assert!(is_of_kubernetes(name, value), "{name}");
        }
        for (name, value) in
            [("MONGO_PORT", "27017"), ("PORT", "tcp://x"), ("SHOP_PORT_X_TCP", "1"), ("SHOP_DATA_DIR", url)]
        {
            assert!(!is_of_kubernetes(name, value), "{name}");
        }
    }
}
