//! Every setting: its variable, its flag, its default and its help.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::Shell;
use conf::Conf;
use secrecy::SecretString;
use shop_http::{CorsOrigins, Dialect};
#[cfg(feature = "kafka")]
use shop_kafka::{Compression, SaslMechanism};
// Without Kafka, any text is taken, and nothing uses it.
#[cfg(not(feature = "kafka"))]
use std::string::{String as Compression, String as SaslMechanism};
use tracing_subscriber::EnvFilter;

use crate::roles::Roles;

/// Purchase tracking. With nothing set, everything is kept in ./shop-data and served on this machine.
///
/// Every setting is an environment variable or a flag; an empty variable counts as unset. For every secret X,
/// X_FILE names a file to read it from. Names that other systems use are accepted as said below; two names of one
/// setting with different values are refused, and so are misspelt names.
///
/// It exits with 0, or with 1 when something is wrong; so do --check-config and --healthcheck.
#[derive(Debug, Conf)]
#[conf(test)]
pub(crate) struct Variables {
    /// Parse the settings, try every connection, print both, and exit: 0 when all is well, else 1. Creates nothing
    #[conf(long)]
    pub(crate) check_config: bool,
    /// Ask the service that listens on HOST and PORT whether it can answer requests, and exit: 0 when it can, else 1
    #[conf(long)]
    pub(crate) healthcheck: bool,
    /// Print the result of --check-config or of a command as JSON
    #[conf(long)]
    pub(crate) json: bool,
    /// Print completions for a shell, and exit: bash, elvish, fish, powershell or zsh
    #[conf(long)]
    pub(crate) completions: Option<Shell>,
    /// Print the manual page, and exit
    #[conf(long)]
    pub(crate) man: bool,

    /// Address to listen on
    #[conf(long, env = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port to listen on, 0 for any [default: facing 3000, management 3001] [also: APP_PORT]
    #[conf(long, env = "PORT")]
    pub(crate) port: Option<u16>,

    /// Folder of the embedded log and store
    #[conf(long, env = "SHOP_DATA_DIR", default_value = "./shop-data")]
    pub(crate) data_dir: PathBuf,
    /// Kafka brokers, host:port separated by commas; the embedded log when unset [also: KAFKA_BROKERS, KAFKA_BROKER]
    #[conf(long, env = "KAFKA_BOOTSTRAP_SERVERS")]
    pub(crate) kafka_bootstrap_servers: Option<String>,
    /// Topic of the purchases [also: PURCHASE_TOPIC]
    #[conf(long, env = "KAFKA_TOPIC", default_value = "purchases")]
    pub(crate) kafka_topic: String,
    /// Consumer group that stores purchases [also: KAFKA_GROUPID, KAFKA_CONSUMER_GROUP]
    #[conf(long, env = "KAFKA_GROUP_ID", default_value = "purchase-group")]
    pub(crate) kafka_group_id: String,
    /// Partitions of the topic when it is created here
    #[conf(long, env = "KAFKA_PARTITIONS", default_value = "5", value_parser = at_least_one)]
    pub(crate) kafka_partitions: u32,
    /// Copies of a topic when it is created here; a topic that has fewer is warned of [default: the brokers' own]
    #[conf(long, env = "KAFKA_REPLICAS", value_parser = at_least_one)]
    pub(crate) kafka_replicas: Option<u32>,
    /// Whether a missing topic is created: on or off. With off it must be created elsewhere, and is waited for
    #[conf(parameter, long, env = "KAFKA_CREATE_TOPICS", default_value = "on", value_parser = on_or_off)]
    pub(crate) kafka_create_topics: bool,
    /// Identity of this member for static membership in the group [default: none, dynamic]
    #[conf(long, env = "KAFKA_INSTANCE_ID")]
    pub(crate) kafka_instance_id: Option<String>,
    /// User for the login at Kafka
    #[conf(long, env = "KAFKA_USERNAME")]
    pub(crate) kafka_username: Option<String>,
    /// Password for the login at Kafka [also: KAFKA_PASSWORD_FILE]
    #[conf(env = "KAFKA_PASSWORD", secret, value_parser = read_secret)]
    pub(crate) kafka_password: Option<SecretString>,
    /// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 [default: PLAIN when a user is given]
    #[conf(long, env = "KAFKA_SASL_MECHANISM")]
    pub(crate) kafka_sasl_mechanism: Option<SaslMechanism>,
    /// Whether to speak TLS with Kafka: on or off
    #[conf(parameter, long, env = "KAFKA_TLS", default_value = "off", value_parser = on_or_off)]
    pub(crate) kafka_tls: bool,
    /// File of the certificates to verify Kafka's with [default: the system's]
    #[conf(long, env = "KAFKA_CA_FILE")]
    pub(crate) kafka_ca_file: Option<PathBuf>,
    /// none, gzip, snappy, lz4 or zstd; consumers of the replaced systems read none and gzip only
    #[conf(long, env = "KAFKA_COMPRESSION", default_value = "none")]
    pub(crate) kafka_compression: Compression,

    /// MongoDB, mongodb://…; the embedded store when unset [also: MONGODB_URI_FILE, DATABASE_URL,
    /// MONGO_HOSTNAME + MONGO_PORT, MONGODB_HOSTS + MONGODB_USERNAME + MONGODB_PASSWORD + MONGODB_AUTHDB]
    #[conf(env = "MONGODB_URI", secret, value_parser = read_secret)]
    pub(crate) mongodb_uri: Option<SecretString>,
    /// Database [default: that of the URI's path, else purchases] [also: MONGODB_DB, MONGO_DB_NAME]
    #[conf(long, env = "MONGODB_DATABASE")]
    pub(crate) mongodb_database: Option<String>,
    /// Collection [also: MONGO_COLLECTION_NAME]
    #[conf(long, env = "MONGODB_COLLECTION", default_value = "purchases")]
    pub(crate) mongodb_collection: String,

    /// Where facing asks for listings, http://host:port; it asks the store itself when unset [also:
    /// CUSTOMER_MANAGEMENT_URL, CUSTOMER_MGMT_API_URL, MANAGEMENT_API_ENDPOINT and CM_API_HOST as host:port,
    /// CM_API_HOSTNAME + CM_API_PORT]
    #[conf(long, env = "MANAGEMENT_URL")]
    pub(crate) management_url: Option<String>,
    /// Whether facing stores purchases itself: on or off [default: on without MANAGEMENT_URL]
    #[conf(long, env = "SHOP_INGEST", value_parser = on_or_off)]
    pub(crate) ingest: Option<bool>,

    /// Dialect of the paths that do not name one: default, scalable-shop, user-buy-list, ecommerce,
    /// purchase-tracking or shopping-system
    #[conf(long, env = "SHOP_DIALECT", default_value = "default", value_parser = Dialect::from_name)]
    pub(crate) dialect: &'static Dialect,
    /// What this process does, separated by commas: purchases, users, orders
    #[conf(long, env = "SHOP_ROLES", default_value = "purchases,users,orders")]
    pub(crate) roles: Roles,
    /// Database of the users in MongoDB [default: users_db; MONGODB_DATABASE or that of the URI's path if users are all
    /// that this process does, else that name and _users, if there is one]
    #[conf(long, env = "SHOP_USERS_DATABASE")]
    pub(crate) users_database: Option<String>,
    /// Database of the orders in MongoDB [default: orders_db; else as SHOP_USERS_DATABASE, with _orders]
    #[conf(long, env = "SHOP_ORDERS_DATABASE")]
    pub(crate) orders_database: Option<String>,
    /// Topic of user events
    #[conf(long, env = "SHOP_USERS_TOPIC", default_value = "user_created")]
    pub(crate) users_topic: String,
    /// Topic of order events
    #[conf(long, env = "SHOP_ORDERS_TOPIC", default_value = "order_created")]
    pub(crate) orders_topic: String,
    /// Consumer group in which users read order events
    #[conf(long, env = "SHOP_USERS_GROUP_ID", default_value = "user_service_group")]
    pub(crate) users_group_id: String,
    /// Consumer group in which orders read user events
    #[conf(long, env = "SHOP_ORDERS_GROUP_ID", default_value = "order_service_group")]
    pub(crate) orders_group_id: String,
    /// Milliseconds that an order waits for the event of its user, at most 4000; 0 for none
    #[conf(long, env = "ORDER_USER_WAIT_MS", default_value = "2000", value_parser = read_order_user_wait)]
    pub(crate) order_user_wait: Duration,
    /// Where facing asks for users, http://host:port [default: MANAGEMENT_URL]
    #[conf(long, env = "USERS_URL")]
    pub(crate) users_url: Option<String>,
    /// Where facing asks for orders, http://host:port [default: MANAGEMENT_URL]
    #[conf(long, env = "ORDERS_URL")]
    pub(crate) orders_url: Option<String>,
    /// Origins whose pages may call facing, separated by commas, or *
    #[conf(long, env = "CORS_ALLOW_ORIGINS", default_value = "*")]
    pub(crate) cors_allow_origins: CorsOrigins,

    /// error, warn, info, debug, trace, or directives such as info,shop_core=debug [also: RUST_LOG, which wins]
    #[conf(long, env = "LOG_LEVEL", default_value = "info", value_parser = read_log_level)]
    pub(crate) log_level: String,
    /// text or json [default: text on a terminal, json elsewhere]
    #[conf(long, env = "LOG_FORMAT", value_parser = is_json)]
    pub(crate) log_format: Option<bool>,

    /// Dead letters in a row at which ingest stops, or half of the last ten times as many; 0 for no limit
    #[conf(long, env = "SHOP_DEAD_LETTER_LIMIT", default_value = "1000")]
    pub(crate) dead_letter_limit: usize,
    /// Seconds that a shutdown may take
    #[conf(long, env = "SHOP_DRAIN_SECONDS", default_value = "20", value_parser = at_least_one)]
    pub(crate) drain_seconds: u32,

    /// Whether servers must be named where this process needs them, instead of what is embedded: on or off
    #[conf(parameter, long, env = "SHOP_REQUIRE_SERVERS", default_value = "off", value_parser = on_or_off)]
    pub(crate) require_servers: bool,
}

fn at_least_one(text: &str) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|error| format!("{error}"))?;
    if number == 0 { Err("must be at least 1".to_owned()) } else { Ok(number) }
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" | "yes" => Ok(true),
        "off" | "false" | "0" | "no" => Ok(false),
        _ => Err("must be one of: on, off".to_owned()),
    }
}

fn is_json(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(false),
        "json" => Ok(true),
        _ => Err("must be one of: text, json".to_owned()),
    }
}

fn read_secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}

/// Directives of `tracing-subscriber`, from these or from a level as other systems write it.
fn read_log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let text = text.to_ascii_lowercase();
    let directive = |part: &str| match part.trim() {
        "warning" => Ok("warn".to_owned()),
        "critical" | "fatal" => Ok("error".to_owned()),
        // A word alone would be taken for the name of a module, and nothing else be logged.
        word if !word.contains('=') && !LEVELS.contains(&word) => {
            Err(format!("{word:?} is no level: choose one of {}", LEVELS.join(", ")))
        }
        other => Ok(other.to_owned()),
    };
    let directives = text.split(',').map(directive).collect::<Result<Vec<_>, _>>()?.join(",");
    EnvFilter::try_new(&directives).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(directives)
}

/// Less than the time in which an answer must be there.
const MAX_ORDER_USER_WAIT_MS: u64 = 4_000;

fn read_order_user_wait(text: &str) -> Result<Duration, String> {
    let millis: u64 = text.parse().map_err(|error| format!("{error}"))?;
    if millis > MAX_ORDER_USER_WAIT_MS {
        return Err(format!("must be at most {MAX_ORDER_USER_WAIT_MS}"));
    }
    Ok(Duration::from_millis(millis))
}
