//! The settings of a log on Kafka, as arguments of a command line.
//!
//! The doc comments of the fields are the texts of the help.

use std::path::PathBuf;

use clap::ArgAction::Set;
use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser as _};
use clap::{Args, value_parser};
use secrecy::SecretString;

use crate::options::{Compression, KafkaLogOptions, SaslMechanism};

/// Settings of a [`KafkaLog`](crate::KafkaLog) for the command line of a program, which clap parses.
///
/// Each setting is a flag and an environment variable. A secret has a hidden flag, because other
/// users of the machine can read the arguments of a process. The fields begin with `kafka_`, because
/// the names of the arguments of a program must differ.
///
/// ```
/// use clap::Parser;
/// use shop_kafka::KafkaArgs;
///
/// #[derive(Parser)]
/// struct Program {
///     #[command(flatten)]
///     kafka: KafkaArgs,
/// }
///
/// // Or by the variables SHOP_KAFKA_BOOTSTRAP_SERVERS and SHOP_KAFKA_PARTITIONS.
/// let arguments = ["program", "--kafka-bootstrap-servers", "kafka-1:9092", "--kafka-partitions", "12"];
/// let program = Program::parse_from(arguments);
/// let options = program.kafka.options().expect("the brokers are set").topic("orders");
/// # assert_eq!((&*options.brokers, options.partitions), ("kafka-1:9092", 12));
/// # let command = <Program as clap::CommandFactory>::command();
/// # let variable = |id| command.get_arguments().find(|argument| argument.get_id() == id)?.get_env();
/// # assert_eq!(variable("kafka_password"), Some("SHOP_KAFKA_PASSWORD".as_ref()));
/// # assert_eq!(command.get_about().map(|about| about.to_string()), None);
/// ```
#[derive(Debug, Clone, Args)]
#[command(about = None, long_about = None)]
#[non_exhaustive]
pub struct KafkaArgs {
    /// Kafka brokers, host:port separated by commas [default: none, the log is embedded]
    #[arg(long, env = "SHOP_KAFKA_BOOTSTRAP_SERVERS")]
    pub kafka_bootstrap_servers: Option<String>,
    /// Partitions of a topic that this process creates
    #[arg(long, env = "SHOP_KAFKA_PARTITIONS", default_value = "5", value_parser = value_parser!(u32).range(1..))]
    pub kafka_partitions: u32,
    /// Replication factor of a topic that this process creates; a topic with fewer replicas causes
    /// a warning [default: that of the brokers]
    #[arg(long, env = "SHOP_KAFKA_REPLICAS", value_parser = value_parser!(u32).range(1..))]
    pub kafka_replicas: Option<u32>,
    /// Whether to create a missing topic: on or off. With off, the process waits until the topic
    /// exists
    #[arg(long, env = "SHOP_KAFKA_CREATE_TOPICS", action = Set, default_value = "on", value_parser = BoolishValueParser::new())]
    pub kafka_create_topics: bool,
    /// Group instance id, for static membership in the consumer group [default: none, dynamic]
    #[arg(long, env = "SHOP_KAFKA_INSTANCE_ID")]
    pub kafka_instance_id: Option<String>,
    /// SASL user of Kafka
    #[arg(long, env = "SHOP_KAFKA_USERNAME")]
    pub kafka_username: Option<String>,
    /// SASL password of Kafka
    #[arg(long, env = "SHOP_KAFKA_PASSWORD", hide = true, hide_env_values = true)]
    pub kafka_password: Option<SecretString>,
    /// SASL mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER [default: PLAIN with a
    /// user, OAUTHBEARER with SHOP_KAFKA_OAUTH_TOKEN_URL]
    #[arg(long, env = "SHOP_KAFKA_SASL_MECHANISM", ignore_case = true, value_parser = PossibleValuesParser::new(SaslMechanism::NAMES).try_map(|name| name.parse::<SaslMechanism>()))]
    pub kafka_sasl_mechanism: Option<SaslMechanism>,
    /// Whether to use TLS with Kafka: on or off
    #[arg(long, env = "SHOP_KAFKA_TLS", action = Set, default_value = "off", value_parser = BoolishValueParser::new())]
    pub kafka_tls: bool,
    /// File of CA certificates for Kafka [default: the system's]
    #[arg(long, env = "SHOP_KAFKA_CA_FILE")]
    pub kafka_ca_file: Option<PathBuf>,
    /// File of the client certificate with its chain for Kafka, PEM; requires SHOP_KAFKA_TLS
    #[arg(long, env = "SHOP_KAFKA_CERT_FILE")]
    pub kafka_cert_file: Option<PathBuf>,
    /// File of the private key of the client certificate, PEM
    #[arg(long, env = "SHOP_KAFKA_KEY_FILE")]
    pub kafka_key_file: Option<PathBuf>,
    /// Compression: none, gzip, snappy, lz4 or zstd; some consumers can read only none and gzip
    #[arg(long, env = "SHOP_KAFKA_COMPRESSION", default_value = "none", ignore_case = true, value_parser = PossibleValuesParser::new(Compression::NAMES).try_map(|name| name.parse::<Compression>()))]
    pub kafka_compression: Compression,
}

impl KafkaArgs {
    /// Returns the options of a log with these settings, or `None` if no brokers are set.
    ///
    /// The mechanism is PLAIN unless it is set: the program chooses OAUTHBEARER together with its
    /// [provider of tokens](KafkaLogOptions::oauth).
    #[must_use]
    pub fn options(&self) -> Option<KafkaLogOptions> {
        let brokers = self.kafka_bootstrap_servers.as_deref()?;
        let mechanism = self.kafka_sasl_mechanism.unwrap_or(SaslMechanism::Plain);
        let options = KafkaLogOptions::new(brokers)
            .partitions(self.kafka_partitions)
            .replication_factor(self.kafka_replicas)
            .create_topics(self.kafka_create_topics)
            .group_instance_id(self.kafka_instance_id.clone())
            .username(self.kafka_username.clone())
            .password(self.kafka_password.clone())
            .mechanism(mechanism)
            .tls(self.kafka_tls)
            .ca_file(self.kafka_ca_file.clone())
            .cert_file(self.kafka_cert_file.clone())
            .key_file(self.kafka_key_file.clone())
            .compression(self.kafka_compression);
        Some(options)
    }
}
