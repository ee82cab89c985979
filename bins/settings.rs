//! The settings as a service uses them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use shop_core::ingest::{DeadLetterLimit, IngestOptions};
use shop_http::HttpOptions;

use crate::commands::Command;
use crate::commands::arguments::{
    Arguments, DropArguments, HearArguments, LettersArguments, ListArguments, MigrateArguments,
    ReplayArguments, ShowArguments, VerifyArguments, Word,
};
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
    /// How users are kept and told of.
    pub users: AccountSettings,
    /// How orders are kept and told of.
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

/// How users, or orders, are kept and told of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountSettings {
    /// The database in MongoDB, if it was chosen.
    pub database: Option<String>,
    /// The topic in which is told of them.
    pub topic: String,
    /// The group in which they hear of the others.
    pub group: String,
    /// Where facing asks for them; they are kept by this process without.
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
        let taken = if service == Service::Management { Word::take(&mut arguments) } else { Ok(None) };
        let word = taken.map_err(|failure| failure.usage().of_command())?;
        let read = match word {
            None => Self::from_parts::<Variables>,
            Some(Word::Migrate) => Self::from_parts::<MigrateArguments>,
            Some(Word::Verify) => Self::from_parts::<VerifyArguments>,
            Some(Word::Hear) => Self::from_parts::<HearArguments>,
            Some(Word::Letters) => Self::from_parts::<LettersArguments>,
            Some(Word::List) => Self::from_parts::<ListArguments>,
            Some(Word::Show) => Self::from_parts::<ShowArguments>,
            Some(Word::Replay) => Self::from_parts::<ReplayArguments>,
            Some(Word::Drop) => Self::from_parts::<DropArguments>,
        };
        let settings = read(service, unbuilt, arguments, environment).map_err(Failure::usage);
        if word.is_some() { settings.map_err(Failure::of_command) } else { settings }
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
                Failure::if_any(faults)?;
                Ok(Self { command, given, ..Self::from_variables(service, variables) })
            }
            // Help was asked for.
            Err(asked) if asked.exit_code() == 0 => asked.exit(),
            Err(error) => {
                faults.push(error.to_string().trim().to_owned());
                faults.extend(contradictions(service, unbuilt, &Given::of_values(&values)));
                Err(Failure::all(faults))
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
    // Its end is to be heard of before the time for everything is over.
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
mod tests {
    use conf::Conf;

    use super::*;

    fn read(service: Service, pairs: &[(&str, &str)]) -> Result<Settings> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_parts::<Variables>(
            service,
            |_, _| Vec::new(),
            vec![service.name().into()],
            Environment::from_pairs(owned),
        )
    }

    fn faults(service: Service, pairs: &[(&str, &str)]) -> String {
        read(service, pairs).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn nothing_set_is_the_embedded_default() {
        let facing = read(Service::Facing, &[]).unwrap();
        assert_eq!(facing.url(), "http://127.0.0.1:3000");
        assert!(
            facing.ingest && facing.http.remember_buys && facing.kafka.is_none() && facing.mongodb.is_none()
        );
        assert_eq!((facing.topic.as_str(), facing.group.as_str()), ("purchases", "purchase-group"));
        assert_eq!(read(Service::Facing, &[("HOST", "::")]).unwrap().url_from_here(), "http://[::1]:3000");
        let management = read(Service::Management, &[("SHOP_INGEST", "off")]).unwrap();
        assert_eq!(management.listen.1, 3001);
        assert!(management.ingest, "that is what management is for");
    }

    #[test]
    fn facing_before_a_management_does_not_ingest_unless_told() {
        let url = ("CM_API_HOST", "cm:3001");
        let facing = read(Service::Facing, &[url]).unwrap();
        assert_eq!(facing.management_url.as_deref(), Some("http://cm:3001"));
        assert!(!facing.ingest && !facing.http.remember_buys);
        assert!(read(Service::Facing, &[url, ("SHOP_INGEST", "ON")]).unwrap().ingest);
        assert!(!read(Service::Facing, &[("SHOP_INGEST", "off")]).unwrap().ingest);
    }

    #[test]
    fn users_and_orders_are_asked_for_where_management_is_unless_told() {
        let pairs =
            [("MANAGEMENT_URL", "http://m:1"), ("USERS_URL", "http://u:1"), ("ORDER_USER_WAIT_MS", "9")];
        let facing = read(Service::Facing, &pairs).unwrap();
        assert_eq!(facing.users.url.as_deref(), Some("http://u:1"));
        assert_eq!(facing.orders.url.as_deref(), Some("http://m:1"));
        assert!(facing.http.order_user_wait.is_zero(), "management waits");
        let management = read(Service::Management, &pairs).unwrap();
        assert_eq!((management.users.url, management.orders.url), (None, None));
        assert_eq!(management.http.order_user_wait, Duration::from_millis(9));
        let wrong = faults(Service::Facing, &[("SHOP_ROLES", "users,orders"), ("ORDERS_URL", "o:1")]);
        assert!(wrong.contains("facing is for purchases") && wrong.contains("ORDERS_URL"), "{wrong}");
        let same = faults(Service::Management, &[("SHOP_USERS_TOPIC", "x"), ("SHOP_ORDERS_TOPIC", "x")]);
        assert!(same.contains("SHOP_USERS_TOPIC and SHOP_ORDERS_TOPIC are both x"), "{same}");
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let text = faults(
            Service::Facing,
            &[
                ("PORT", "http"),
                ("KAFKA_BROKER", "a:1"),
                ("KAFKA_BROKERS", "b:1"),
                ("SHOP_DIALECT", "klingon"),
                ("SHOP_DRAIN_SECONDS", "0"),
                ("SHOP_DEAD_LETTER_LIMIT", "-1"),
                ("CORS_ALLOW_ORIGINS", "shop.example"),
                ("LOG_FORMAT", "xml"),
                ("LOG_LEVEL", "loud"),
                ("KAFKA_COMPRESSION", "brotli"),
                ("SHOP_ROLES", "purchases,klingons"),
                ("ORDER_USER_WAIT_MS", "60000"),
                ("KAFKA_USERNAME", "shop"),
                ("MANAGEMENT_URL", "cm:3001"),
            ],
        );
        for name in [
            "PORT",
            "KAFKA_BROKERS and KAFKA_BROKER",
            "SHOP_DIALECT",
            "SHOP_DRAIN_SECONDS",
            "SHOP_DEAD_LETTER_LIMIT",
            "CORS_ALLOW_ORIGINS",
            "LOG_FORMAT",
            "LOG_LEVEL",
            "KAFKA_COMPRESSION",
            "SHOP_ROLES",
            "ORDER_USER_WAIT_MS",
            "KAFKA_USERNAME and KAFKA_PASSWORD",
            "MANAGEMENT_URL",
        ] {
            assert!(text.contains(name), "{name}: {text}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        let url = faults(Service::Facing, &[("MANAGEMENT_URL", "cm:3001")]);
        assert!(url.contains("MANAGEMENT_URL"), "{url}");
        let kafka = faults(Service::Facing, &[("KAFKA_BROKERS", "a:1")]);
        assert!(kafka.contains("neither MANAGEMENT_URL nor MONGODB_URI"), "{kafka}");
        let postgres = faults(Service::Management, &[("DATABASE_URL", "postgres://u:hunter2@h/db")]);
        assert!(postgres.contains("DATABASE_URL") && !postgres.contains("hunter2"), "{postgres}");
    }

    #[test]
    fn servers_that_are_required_are_named_where_they_are_needed() {
        let on = ("SHOP_REQUIRE_SERVERS", "on");
        let (log, store) = (("KAFKA_BROKERS", "a:1"), ("MONGODB_URI", "mongodb://h"));
        let management = ("MANAGEMENT_URL", "http://m:1");
        let missing = |service, pairs: &[(&str, &str)]| {
            let text = read(service, pairs).map_or_else(|failure| failure.to_string(), |_| String::new());
            ["KAFKA_BOOTSTRAP_SERVERS: not set", "MONGODB_URI: not set"].map(|part| text.contains(part))
        };
        for service in [Service::Facing, Service::Management] {
            assert_eq!(missing(service, &[]), [false, false], "off unless chosen");
            assert_eq!(missing(service, &[on]), [true, true]);
            assert_eq!(missing(service, &[on, log]), [false, true]);
            assert_eq!(missing(service, &[on, store]), [true, false]);
            assert_eq!(missing(service, &[on, log, store]), [false, false]);
        }
        assert_eq!(missing(Service::Facing, &[on, log, management]), [false, false], "management keeps all");
        let ingests = [on, log, management, ("SHOP_INGEST", "on")];
        assert_eq!(missing(Service::Facing, &ingests), [false, true]);
        assert_eq!(missing(Service::Management, &[on, log, ("SHOP_ROLES", "users")]), [false, true]);
    }

    #[test]
    fn what_is_forgotten_is_told() {
        for pair in [
            ("KAFKA_USERNAME", "shop"),
            ("KAFKA_TLS", "on"),
            ("KAFKA_CA_FILE", "/ca.pem"),
            ("KAFKA_REPLICAS", "3"),
            ("KAFKA_CREATE_TOPICS", "off"),
        ] {
            let text = faults(Service::Management, &[pair]);
            assert!(text.contains(pair.0) && text.contains("KAFKA_BOOTSTRAP_SERVERS is not"), "{text}");
        }
        assert!(read(Service::Management, &[("KAFKA_TOPIC", "x"), ("KAFKA_TLS", "off")]).is_ok());
    }

    #[test]
    fn topics_are_created_as_the_brokers_do_unless_told() {
        let kafka = |more: &[(&str, &str)]| {
            let pairs = [&[("KAFKA_BROKERS", "a:1"), ("MANAGEMENT_URL", "http://m:1")], more].concat();
            let kafka = read(Service::Facing, &pairs).unwrap().kafka.unwrap();
            (kafka.replicas, kafka.create_topics)
        };
        assert_eq!(kafka(&[]), (None, true));
        assert_eq!(kafka(&[("KAFKA_REPLICAS", "3"), ("KAFKA_CREATE_TOPICS", "off")]), (Some(3), false));
        for wrong in [("KAFKA_REPLICAS", "0"), ("KAFKA_CREATE_TOPICS", "perhaps")] {
            let text = faults(Service::Management, &[("KAFKA_BROKERS", "a:1"), wrong]);
            assert!(text.contains(wrong.0), "{text}");
        }
    }

    #[test]
    fn levels_are_words_whatever_their_case_and_origin() {
        let level = |text| read(Service::Facing, &[("LOG_LEVEL", text)]).unwrap().log_level;
        assert_eq!(level("INFO"), "info");
        assert_eq!(level("Warning"), "warn");
        assert_eq!(level("critical"), "error");
        assert_eq!(level("warn,shop_core=DEBUG"), "warn,shop_core=debug");
        for wrong in ["loud", "info,loud", "shop_core=loud", "5x"] {
            assert!(faults(Service::Facing, &[("LOG_LEVEL", wrong)]).contains("LOG_LEVEL"), "{wrong}");
        }
    }

    #[test]
    fn an_address_of_version_6_is_one_in_brackets() {
        assert_eq!(read(Service::Facing, &[("HOST", "::1")]).unwrap().url(), "http://[::1]:3000");
    }

    #[test]
    fn secrets_are_not_shown() {
        let (uri, password) = ("mongodb://u:hunter2@h", ("KAFKA_PASSWORD", "hunter2"));
        let pairs = [("MONGODB_URI", uri), ("KAFKA_BROKERS", "a:1"), ("KAFKA_USERNAME", "u"), password];
        let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (values, _) = Environment::from_pairs(owned).into_parts();
        let variables = Variables::try_parse_from::<&str, String, String>(["management"], values).unwrap();
        let shown = format!("{:?}", Settings::from_variables(Service::Management, variables));
        assert!(shown.contains("a:1") && !shown.contains("hunter2"), "{shown}");
    }
}
