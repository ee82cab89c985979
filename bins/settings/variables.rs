//! Every setting: those of a process here, those of logs, stores and HTTP in the crates that read
//! them.
//!
//! A field has its variable, flag and default as attributes, and its help as doc comment.
//! [`Variables`] are all settings as they are parsed: `select` builds other types from those that
//! depend on each other, and [`ProcessArgs`] are the rest. [`GROUPS`]
//! puts the settings of all crates in one order. A setting that is hidden has no flag: it is a
//! secret, or one of OpenTelemetry.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgAction::Set;
use clap::builder::BoolishValueParser;
use clap::{Args, Parser, ValueEnum};
use clap_complete::Shell;
use secrecy::SecretString;
use shop_core::domain::Currency;
use shop_core::quantity::{MAX_MILLIS, duration_parser};
use shop_http::HttpArgs;
#[cfg(feature = "kafka")]
use shop_kafka::KafkaArgs;
use shop_store::{EmbeddedArgs, MongoArgs, PostgresArgs};
use tracing_subscriber::EnvFilter;

use super::host_port::HostPort;
use super::roles::{ProcessRole, read_role};
use super::select::AuthMode;

/// Purchase tracking. Without settings, everything is stored in ./shop-data and served on this
/// machine only.
///
/// Every setting is a flag, an environment variable, or a key in the TOML file that --config names.
/// A flag overrides a variable, and a variable overrides the file. For example, --log-level is
/// SHOP_LOG_LEVEL, and in the file log_level, or level in the table [log]. An empty variable counts
/// as unset. For every secret X, X_FILE names a file that contains the secret.
/// SHOP_KAFKA_PROPERTY_CLIENT_RACK sets the property client.rack of librdkafka; any other property
/// that breaks no guarantee is set in the same way, with two underscores for one. Misspelled names
/// are rejected, and so are settings that the service does not read, and two names of one setting
/// with different values.
///
/// A duration is a whole number with the unit ms, s, m, h or d, such as 20s. A size is a whole
/// number with the unit B, KiB, MiB or GiB.
///
/// The service, --check-config and --healthcheck exit with 0, or with 1 for an error.
#[derive(Debug, Parser)]
pub(super) struct Variables {
    #[command(flatten)]
    pub(super) process: ProcessArgs,
    /// File of the certificate of this service with its chain, PEM, to serve HTTPS; plain HTTP when
    /// unset. Read again on change
    #[arg(long, env = "SHOP_TLS_CERT_FILE")]
    pub(super) tls_cert_file: Option<PathBuf>,
    /// File of the private key of this certificate, PEM. Read again on change
    #[arg(long, env = "SHOP_TLS_KEY_FILE")]
    pub(super) tls_key_file: Option<PathBuf>,
    /// File of CA certificates, PEM; clients must present a certificate that is signed by one of
    /// them. Read again on change [default: clients need no certificate]
    #[arg(long, env = "SHOP_TLS_CLIENT_CA_FILE")]
    pub(super) tls_client_ca_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) embedded: EmbeddedArgs,
    #[command(flatten)]
    pub(super) kafka: KafkaArgs,
    #[command(flatten)]
    pub(super) mongodb: MongoArgs,
    #[command(flatten)]
    pub(super) postgres: PostgresArgs,
    /// Client id that identifies this process in the logs and quotas of the brokers [default:
    /// shop-facing, shop-management]
    #[arg(long, env = "SHOP_KAFKA_CLIENT_ID")]
    pub(super) kafka_client_id: Option<String>,
    /// Address of the token endpoint for OAUTHBEARER, https://…; the topics must exist already.
    /// Tokens are requested with the client credentials grant, with the id and the secret in the
    /// header Authorization
    #[arg(long, env = "SHOP_KAFKA_OAUTH_TOKEN_URL")]
    pub(super) kafka_oauth_token_url: Option<String>,
    /// Client id at the token endpoint
    #[arg(long, env = "SHOP_KAFKA_OAUTH_CLIENT_ID")]
    pub(super) kafka_oauth_client_id: Option<String>,
    /// Client secret at the token endpoint. Its file is read again for every token
    #[arg(
        long,
        env = "SHOP_KAFKA_OAUTH_CLIENT_SECRET",
        hide = true,
        hide_env_values = true
    )]
    pub(super) kafka_oauth_client_secret: Option<SecretString>,
    /// Scope of the tokens [default: none]
    #[arg(long, env = "SHOP_KAFKA_OAUTH_SCOPE")]
    pub(super) kafka_oauth_scope: Option<String>,
    /// Whether users and orders take over tables of PostgreSQL that another program has created,
    /// such as those of the replaced system: on or off. With off, a process that finds such tables
    /// does not start
    #[arg(long, env = "SHOP_ADOPT_TABLES", action = Set, default_value = "off", value_parser = BoolishValueParser::new())]
    pub(super) adopt_tables: bool,
    /// Address of management, from which facing gets listings, http://host:port [default: none,
    /// facing reads the store]
    #[arg(long, env = "SHOP_MANAGEMENT_URL")]
    pub(super) management_url: Option<String>,
    /// Roles of this process, separated by commas: purchases, users, orders [default: purchases;
    /// all three with SHOP_DIALECT=ecommerce]
    #[arg(long, env = "SHOP_ROLES", value_delimiter = ',', value_parser = read_role)]
    pub(super) roles: Vec<ProcessRole>,
    /// Address of the process that stores users, for facing, http://host:port [default:
    /// SHOP_MANAGEMENT_URL]
    #[arg(long, env = "SHOP_USERS_URL")]
    pub(super) users_url: Option<String>,
    /// Address of the process that stores orders, for facing, http://host:port [default:
    /// SHOP_MANAGEMENT_URL]
    #[arg(long, env = "SHOP_ORDERS_URL")]
    pub(super) orders_url: Option<String>,
    /// Who may send requests: jwt (senders with a token of an issuer), keys (holders of API keys)
    /// or off (everybody). Required on an address that other machines can reach [default: keys with
    /// SHOP_API_KEYS_FILE, else off]
    #[arg(long, env = "SHOP_AUTH", ignore_case = true)]
    pub(super) auth: Option<AuthMode>,
    /// File of API keys, one per line: a name, the SHA-256 of the key, scopes separated by commas,
    /// and for the key of a user the user id. Read again on change
    #[arg(long, env = "SHOP_API_KEYS_FILE")]
    pub(super) api_keys_file: Option<PathBuf>,
    /// Address of the public keys (JSON Web Key Set) of the issuer of tokens, https://…
    #[arg(long, env = "SHOP_AUTH_JWKS_URL")]
    pub(super) auth_jwks_url: Option<String>,
    /// File of these keys, in place of SHOP_AUTH_JWKS_URL. Read again on change
    #[arg(long, env = "SHOP_AUTH_JWKS_FILE")]
    pub(super) auth_jwks_file: Option<PathBuf>,
    /// Issuer of tokens, which is their claim iss
    #[arg(long, env = "SHOP_AUTH_ISSUER")]
    pub(super) auth_issuer: Option<String>,
    /// Audience of tokens, which is their claim aud
    #[arg(long, env = "SHOP_AUTH_AUDIENCE")]
    pub(super) auth_audience: Option<String>,
    /// Token or API key with which facing calls management, users and orders, with the scopes
    /// purchases:read:any, users:write:any, users:read:any, orders:write:any and orders:read:any.
    /// Its file is read again when the token is rejected
    #[arg(long, env = "SHOP_SERVICE_TOKEN", hide = true, hide_env_values = true)]
    pub(super) service_token: Option<SecretString>,
    /// File of CA certificates, PEM, of the services that facing calls by https [default: the
    /// system's]
    #[arg(long, env = "SHOP_SERVICE_CA_FILE")]
    pub(super) service_ca_file: Option<PathBuf>,
    /// File of the client certificate with its chain, PEM, with which facing calls other services
    #[arg(long, env = "SHOP_SERVICE_CERT_FILE")]
    pub(super) service_cert_file: Option<PathBuf>,
    /// File of the private key of the client certificate, PEM
    #[arg(long, env = "SHOP_SERVICE_KEY_FILE")]
    pub(super) service_key_file: Option<PathBuf>,
    /// Whether this process runs ingest, which stores the purchases of the log: on or off. With
    /// off, it only reads the store [default: on; off for facing with SHOP_MANAGEMENT_URL]
    #[arg(long, env = "SHOP_INGEST", value_parser = BoolishValueParser::new())]
    pub(super) ingest: Option<bool>,
    /// Whether to require servers in place of the embedded log and store: on or off
    #[arg(long, env = "SHOP_REQUIRE_SERVERS", action = Set, default_value = "off", value_parser = BoolishValueParser::new())]
    pub(super) require_servers: bool,
}

/// The settings whose meaning does not depend on other settings, so that the program reads them
/// unchanged.
#[derive(Debug, Args)]
#[command(about = None, long_about = None)]
pub(crate) struct ProcessArgs {
    /// Print all settings with their origins, check every connection, and exit with 0, or with 1
    /// for an error. Creates nothing
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Check that the service on SHOP_HOST and SHOP_PORT is ready, and exit with 0, or with 1 if it
    /// is not
    #[arg(long)]
    pub(crate) healthcheck: bool,
    /// Print the result of --check-config or of a command as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print completions for a shell, and exit: bash, elvish, fish, powershell or zsh
    #[arg(long)]
    pub(crate) completions: Option<Shell>,
    /// Print the manual page, and exit
    #[arg(long)]
    pub(crate) man: bool,
    /// Address to listen on; :: means all addresses, or those of IPv4 on a machine without IPv6
    #[arg(long, env = "SHOP_HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port to listen on, 0 for any [default: facing 3000, management 3001]
    #[arg(long, env = "SHOP_PORT")]
    pub(crate) port: Option<u16>,
    /// Address of a second listener, host:port, for probes, /health, /metrics and the paths of
    /// operators; /metrics and /health need no token there. Of the probes, the first listener then
    /// has only /healthz and /livez [default: none, all are on SHOP_HOST and SHOP_PORT]
    #[arg(long, env = "SHOP_ADMIN_ADDR")]
    pub(crate) admin_addr: Option<HostPort>,
    #[cfg(feature = "compat")]
    #[command(flatten)]
    pub(crate) compat: shop_compat::CompatArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    /// How long the store keeps purchases, by their timestamp. The process that runs ingest deletes
    /// older ones, and requests with an older time are refused [default: forever]
    #[arg(long, env = "SHOP_PURCHASE_RETENTION", value_parser = duration_parser(1_000, MAX_MILLIS))]
    pub(crate) purchase_retention: Option<Duration>,
    /// Currency of all purchases, such as EUR. A purchase without a currency gets this one, and a
    /// purchase with another currency is refused. If unset, all purchases with a currency are
    /// refused [default: none]
    #[arg(long, env = "SHOP_CURRENCY")]
    pub(crate) currency: Option<Currency>,
    /// Topic of purchases
    #[arg(long, env = "SHOP_PURCHASES_TOPIC", default_value = "purchases")]
    pub(crate) purchases_topic: String,
    /// Consumer group that stores purchases
    #[arg(
        long,
        env = "SHOP_PURCHASES_GROUP_ID",
        default_value = "purchase-group"
    )]
    pub(crate) purchases_group_id: String,
    /// Topic of user events
    #[arg(long, env = "SHOP_USERS_TOPIC", default_value = "user_created")]
    pub(crate) users_topic: String,
    /// Topic of order events
    #[arg(long, env = "SHOP_ORDERS_TOPIC", default_value = "order_created")]
    pub(crate) orders_topic: String,
    /// Consumer group in which users read order events
    #[arg(
        long,
        env = "SHOP_USERS_GROUP_ID",
        default_value = "user_service_group"
    )]
    pub(crate) users_group_id: String,
    /// Consumer group in which orders read user events
    #[arg(
        long,
        env = "SHOP_ORDERS_GROUP_ID",
        default_value = "order_service_group"
    )]
    pub(crate) orders_group_id: String,
    /// How long an order waits for the event of its user, at most 4s; with 0s, it does not wait
    #[arg(long, env = "SHOP_ORDER_USER_WAIT", default_value = "2s", value_parser = duration_parser(0, 4_000))]
    pub(crate) order_user_wait: Duration,
    /// Log level: error, warn, info, debug, trace, or directives such as info,shop_core=debug
    #[arg(long, env = "SHOP_LOG_LEVEL", default_value = "info", value_parser = read_log_level)]
    pub(crate) log_level: String,
    /// Log format: text or json [default: text on a terminal, json elsewhere]
    #[arg(long, env = "SHOP_LOG_FORMAT", ignore_case = true)]
    pub(crate) log_format: Option<LogFormat>,
    /// File in an existing folder, to which the service appends its log. If the file is renamed or
    /// deleted, as by logrotate, it is created again within a second [default: standard error]
    #[arg(long, env = "SHOP_LOG_FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// Address of an OpenTelemetry collector, http://host:4318, to which traces are exported with
    /// OTLP over HTTP; no traces when unset. The other variables OTEL_* of the SDK apply, such as
    /// OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_HEADERS and OTEL_TRACES_SAMPLER; a value that the SDK
    /// would ignore is an error
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide = true)]
    pub(crate) otel_exporter_otlp_endpoint: Option<String>,
    /// Whole address of the traces in the collector, http://host:4318/v1/traces, in place of
    /// OTEL_EXPORTER_OTLP_ENDPOINT
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", hide = true)]
    pub(crate) otel_exporter_otlp_traces_endpoint: Option<String>,
    /// Protocol of the export: http/protobuf
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", hide = true)]
    pub(crate) otel_exporter_otlp_protocol: Option<String>,
    /// Protocol of the export of traces, in place of OTEL_EXPORTER_OTLP_PROTOCOL: http/protobuf
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", hide = true)]
    pub(crate) otel_exporter_otlp_traces_protocol: Option<String>,
    /// Exporter of traces: otlp, or none for no traces
    #[arg(long, env = "OTEL_TRACES_EXPORTER", hide = true, default_value = "otlp", ignore_case = true, value_parser = ["otlp", "none"])]
    pub(crate) otel_traces_exporter: String,
    /// Whether the export of traces is disabled: true or false
    #[arg(long, env = "OTEL_SDK_DISABLED", hide = true, action = Set, default_value = "false", value_parser = BoolishValueParser::new())]
    pub(crate) otel_sdk_disabled: bool,
    /// File of settings, TOML [default: none]
    #[arg(long, env = "SHOP_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Consecutive dead-lettered records after which ingest stops; it also stops when half of the
    /// last ten times as many records are dead-lettered. 0 for no limit
    #[arg(long, env = "SHOP_DEAD_LETTER_LIMIT", default_value = "1000")]
    pub(crate) dead_letter_limit: usize,
    /// Time limit of a shutdown
    #[arg(long, env = "SHOP_DRAIN_TIMEOUT", default_value = "20s", value_parser = duration_parser(1_000, MAX_MILLIS))]
    pub(crate) drain_timeout: Duration,
}

/// The setting that selects Kafka, which a build without Kafka knows to refuse it.
#[cfg(not(feature = "kafka"))]
#[derive(Debug, Args)]
pub(super) struct KafkaArgs {
    /// Kafka brokers, host:port separated by commas [default: none, the log is embedded]
    #[arg(long, env = "SHOP_KAFKA_BOOTSTRAP_SERVERS")]
    pub(super) kafka_bootstrap_servers: Option<String>,
}

/// The groups of settings in the help, each with its settings in their order.
///
/// The settings of a group are fields of several structs, because each crate has its own.
pub(super) const GROUPS: [(&str, &str); 8] = [
    (
        "Instead of serving",
        "check_config healthcheck json completions man",
    ),
    (
        "HTTP",
        "host port tls_cert_file tls_key_file tls_client_ca_file admin_addr rate_writes \
         rate_reads client_connections trusted_proxies",
    ),
    (
        "Log: Kafka or embedded",
        "data_dir purchase_retention currency refunds log_retention log_max_size \
         kafka_bootstrap_servers purchases_topic purchases_group_id kafka_partitions \
         kafka_replicas kafka_create_topics kafka_instance_id kafka_client_id kafka_username \
         kafka_password kafka_sasl_mechanism kafka_tls kafka_ca_file kafka_cert_file \
         kafka_key_file kafka_oauth_token_url kafka_oauth_client_id kafka_oauth_client_secret \
         kafka_oauth_scope kafka_compression",
    ),
    (
        "Store: MongoDB, PostgreSQL or embedded",
        "mongodb_uri mongodb_database mongodb_collection postgres_url \
         postgres_max_connections adopt_tables",
    ),
    ("Facing", "management_url"),
    (
        "Roles, users and orders",
        "dialect roles users_topic orders_topic users_group_id orders_group_id \
         order_user_wait users_url orders_url auth api_keys_file auth_jwks_url auth_jwks_file \
         auth_issuer auth_audience service_token service_ca_file service_cert_file \
         service_key_file cors_allow_origins hosts",
    ),
    (
        "Logging",
        "log_level access_log log_format log_file otel_exporter_otlp_endpoint \
         otel_exporter_otlp_traces_endpoint otel_exporter_otlp_protocol \
         otel_exporter_otlp_traces_protocol otel_traces_exporter otel_sdk_disabled",
    ),
    (
        "Operation",
        "config ingest dead_letter_limit drain_timeout require_servers",
    ),
];

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Reads the log level: directives of `tracing-subscriber`, or a level as the replaced systems name
/// it.
///
/// # Errors
/// Returns the text of an error if a word is no level, or if `tracing-subscriber` does not accept
/// the directives.
fn read_log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    let lowercase_text = text.to_ascii_lowercase();
    let mut directives = Vec::new();
    for directive_text in lowercase_text.split(',') {
        directives.push(match directive_text.trim() {
            "warning" => "warn",
            "critical" | "fatal" => "error",
            // A single word would be parsed as the name of a module, and disable all other modules.
            word if !word.contains('=') && !LEVELS.contains(&word) => {
                let levels = LEVELS.join(", ");
                return Err(format!("{word:?} is not a level: choose one of {levels}"));
            }
            directive => directive,
        });
    }
    let log_level = directives.join(",");

    EnvFilter::try_new(&log_level).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(log_level)
}

impl ProcessArgs {
    /// Returns whether traces are exported: the settings name a collector, and do not turn the
    /// export off.
    pub(crate) fn has_traces(&self) -> bool {
        let has_collector = self.otel_exporter_otlp_endpoint.is_some()
            || self.otel_exporter_otlp_traces_endpoint.is_some();
        has_collector
            && self.otel_traces_exporter.eq_ignore_ascii_case("otlp")
            && !self.otel_sdk_disabled
    }
}
