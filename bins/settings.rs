//! The settings as a service uses them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use shop_core::ingest::{DeadLetterLimit, IngestOptions};
use shop_http::HttpOptions;

use crate::commands::Command;
use crate::commands::arguments::{Arguments, Management, move_behind_command};
use crate::contradictions::{Given, contradictions};
use crate::environment::Environment;
use crate::roles::Roles;
pub use crate::variables::{Compression, SaslMechanism};
use crate::variables::{LogFormat, Switch, Variables};
use crate::{Failure, Result, healthcheck};

/// Which of the two services a binary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Takes purchases, answers listings.
    Facing,
    /// Carries purchases into the store, answers listings.
    Management,
}

impl Service {
    /// Its name, which is the binary's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Facing => "facing",
            Self::Management => "management",
        }
    }

    const fn usual_port(self) -> u16 {
        match self {
            Self::Facing => 3000,
            Self::Management => 3001,
        }
    }
}

/// Tells what is wrong with asking for Kafka, and for MongoDB, of this build.
pub type Unbuilt = fn(kafka: bool, mongodb: bool) -> Vec<String>;

/// What a service is to do, checked as far as that goes without trying it.
#[derive(Debug)]
pub struct Settings {
    /// The service that this is for.
    pub service: Service,
    /// Whether only to check.
    pub check_config: bool,
    /// Whether only to ask the service that runs.
    pub healthcheck: bool,
    /// What is to be done instead of serving.
    pub command: Option<Command>,
    /// The settings that the environment gave, each with its variable if that has another name.
    pub given: Vec<String>,
    /// Host and port to listen on.
    pub listen: (String, u16),
    /// The folder of what is embedded.
    pub data_dir: PathBuf,
    /// Kafka; the embedded log without.
    pub kafka: Option<KafkaSettings>,
    /// The topic of the purchases.
    pub topic: String,
    /// The group that carries purchases into the store.
    pub group: String,
    /// MongoDB; the embedded store without.
    pub mongodb: Option<MongodbSettings>,
    /// Where facing asks for listings; the store itself without.
    pub management_url: Option<String>,
    /// What this process does.
    pub roles: Roles,
    /// How users are stored and published.
    pub users: AccountSettings,
    /// How orders are stored and published.
    pub orders: AccountSettings,
    /// Whether this process carries purchases into the store.
    pub ingest: bool,
    /// How ingest works.
    pub ingest_options: IngestOptions,
    /// How HTTP works.
    pub http: HttpOptions,
    /// What is logged: directives of `tracing-subscriber`.
    pub log_level: String,
    /// Whether the log is JSON; decided by where it goes when absent.
    pub log_json: Option<bool>,
    /// How long a shutdown may take.
    pub drain: Duration,
}

/// How Kafka is reached.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KafkaSettings {
    /// host:port of some brokers, separated by commas.
    pub brokers: String,
    /// The partitions of a topic that is created here.
    pub partitions: u32,
    /// The copies of a topic that is created here; the brokers' default without.
    pub replicas: Option<u32>,
    /// Whether a missing topic is created.
    pub create_topics: bool,
    /// The identity of a static member of the group.
    pub instance_id: Option<String>,
    /// The user of the login, if there is one.
    pub username: Option<String>,
    /// The password of the login.
    pub password: Option<SecretString>,
    /// How to log in; PLAIN when only a user is given.
    pub mechanism: Option<SaslMechanism>,
    /// Whether to speak TLS.
    pub tls: bool,
    /// The certificates to verify Kafka's with; the system's without.
    pub ca_file: Option<PathBuf>,
    /// How records are compressed.
    pub compression: Compression,
}

/// How users, or orders, are stored and published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountSettings {
    /// The database in MongoDB, if it was chosen.
    pub database: Option<String>,
    /// The topic of their events.
    pub topic: String,
    /// The group in which they hear of the others.
    pub group: String,
    /// Where facing requests them; without it this process stores them.
    pub url: Option<String>,
}

/// How MongoDB is reached.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MongodbSettings {
    /// Its address, with the login.
    pub uri: SecretString,
    /// The database; that of the URI's path, or `purchases`, without.
    pub database: Option<String>,
    /// The collection of the purchases.
    pub collection: String,
}

impl Settings {
    /// The settings of this process. Ends it when it was asked for help. `unbuilt` knows what is not to be had.
    ///
    /// # Errors
    /// Every fault at once, each naming its variables.
    pub fn read(service: Service, unbuilt: Unbuilt) -> Result<Self> {
        let environment = Environment::of_process();
        let mut arguments: Vec<OsString> = std::env::args_os().collect();
        if service == Service::Facing {
            return Self::from_parts::<Variables>(service, unbuilt, arguments, environment);
        }
        let is_command = move_behind_command(&mut arguments);
        let settings = Self::from_parts::<Management>(service, unbuilt, arguments, environment);
        if is_command { settings.map_err(Failure::of_command) } else { settings }
    }

    /// Whether topics, folders, files and indexes are made if they are missing: by a service alone.
    #[must_use]
    pub const fn creates(&self) -> bool {
        self.command.is_none() && !self.check_config
    }

    fn from_parts<A: Arguments>(
        service: Service,
        unbuilt: Unbuilt,
        arguments: Vec<OsString>,
        environment: Environment,
    ) -> Result<Self> {
        let given = environment.given();
        let (values, mut faults) = environment.into_parts();
        match A::try_parse_from::<OsString, String, String>(arguments, values.clone()) {
            Ok(arguments) => {
                let (command, variables) = arguments.into_parts();
                // An image asks as one service, whichever of the two it runs.
                if !variables.healthcheck {
                    let together = Given::of_variables(service, command.as_ref(), &variables);
                    faults.extend(contradictions(service, unbuilt, &together));
                }
                Failure::if_any(faults).map_err(Failure::usage)?;
                Ok(Self { command, given, ..Self::from_variables(service, variables) })
            }
            // Help was asked for.
            Err(asked) if asked.exit_code() == 0 => asked.exit(),
            Err(error) => {
                faults.push(readable(error.to_string().trim()));
                faults.extend(contradictions(service, unbuilt, &Given::of_values(&values)));
                Err(Failure::all(faults).usage())
            }
        }
    }

    fn from_variables(service: Service, mut variables: Variables) -> Self {
        let kafka = kafka(&mut variables);
        let ingest = match (service, variables.ingest) {
            (Service::Management, _) => true,
            (Service::Facing, Some(switch)) => switch == Switch::On,
            (Service::Facing, None) => variables.management_url.is_none(),
        };
        let drain = Duration::from_secs(u64::from(variables.drain_seconds));
        let (ingest_options, mut http) = (ingest_options(&variables, drain), http_options(&variables));
        let is_facing = service == Service::Facing;
        let management_url = variables.management_url.filter(|_| is_facing);
        let elsewhere = |url: Option<String>| url.or_else(|| management_url.clone()).filter(|_| is_facing);
        let orders_url = elsewhere(variables.orders_url);
        if orders_url.is_some() {
            // Who keeps the orders waits.
            http.order_user_wait = Duration::ZERO;
        }
        // The image has one health check for both services.
        let asked =
            if variables.healthcheck { healthcheck::service_here().unwrap_or(service) } else { service };
        Self {
            service,
            check_config: variables.check_config,
            healthcheck: variables.healthcheck,
            command: None,
            given: Vec::new(),
            listen: (variables.host, variables.port.unwrap_or_else(|| asked.usual_port())),
            data_dir: variables.data_dir,
            kafka,
            topic: variables.kafka_topic,
            group: variables.kafka_group_id,
            mongodb: variables.mongodb_uri.map(|uri| MongodbSettings {
                uri,
                database: variables.mongodb_database,
                collection: variables.mongodb_collection,
            }),
            users: AccountSettings {
                database: variables.users_database,
                topic: variables.users_topic,
                group: variables.users_group_id,
                url: elsewhere(variables.users_url),
            },
            orders: AccountSettings {
                database: variables.orders_database,
                topic: variables.orders_topic,
                group: variables.orders_group_id,
                url: orders_url,
            },
            management_url,
            roles: variables.roles,
            ingest,
            ingest_options,
            http,
            log_level: variables.log_level,
            log_json: variables.log_format.map(|format| format == LogFormat::Json),
            drain,
        }
    }

    /// The address to show to people.
    #[must_use]
    pub fn url(&self) -> String {
        let (host, port) = &self.listen;
        if host.contains(':') { format!("http://[{host}]:{port}") } else { format!("http://{host}:{port}") }
    }

    /// The address at which this machine reaches the service: one that listens everywhere is asked by loopback.
    pub(crate) fn url_from_here(&self) -> String {
        let (host, port) = &self.listen;
        match host.as_str() {
            "0.0.0.0" => format!("http://127.0.0.1:{port}"),
            "::" => format!("http://[::1]:{port}"),
            _ => self.url(),
        }
    }
}

/// A wrong variable is a fault of the service's settings and of the command's: its line is shown once. What is missing is
/// named as users know it.
fn readable(text: &str) -> String {
    let mut seen = BTreeSet::new();
    let lines: Vec<_> = text.lines().filter(|line| line.is_empty() || seen.insert(*line)).collect();
    let missing = "A subcommand must be selected (DlqArguments::action)";
    lines
        .join("\n")
        .replace(missing, "management dlq: select ls, show, replay or drop (--help describes each)")
}

/// How Kafka is reached, if brokers are named; what has no default is taken out of `variables`.
fn kafka(variables: &mut Variables) -> Option<KafkaSettings> {
    Some(KafkaSettings {
        brokers: variables.kafka_bootstrap_servers.clone()?,
        partitions: variables.kafka_partitions,
        replicas: variables.kafka_replicas,
        create_topics: variables.kafka_create_topics == Switch::On,
        instance_id: variables.kafka_instance_id.take(),
        username: variables.kafka_username.take(),
        password: variables.kafka_password.take(),
        mechanism: variables.kafka_sasl_mechanism,
        tls: variables.kafka_tls == Switch::On,
        ca_file: variables.kafka_ca_file.take(),
        compression: variables.kafka_compression,
    })
}

fn ingest_options(variables: &Variables, drain: Duration) -> IngestOptions {
    let mut options = IngestOptions::default();
    options.dead_letter_limit =
        DeadLetterLimit::in_a_row(variables.dead_letter_limit).named("SHOP_DEAD_LETTER_LIMIT");
    // It must end before the time for everything is over.
    options.drain = drain / 10 * 9;
    options
}

fn http_options(variables: &Variables) -> HttpOptions {
    let mut options = HttpOptions::default();
    options.dialect = variables.dialect;
    options.cors = variables.cors_allow_origins.clone();
    options.order_user_wait = variables.order_user_wait;
    // Where nobody else buys, and the store is at hand, who buys and lists sees what was bought.
    let alone = variables.kafka_bootstrap_servers.is_none() && variables.mongodb_uri.is_none();
    options.remember_buys = alone && variables.management_url.is_none();
    options
}

#[cfg(test)]
mod settings_test;
