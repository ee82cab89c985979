//! The options of a log on Kafka, with their defaults and their checks.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use shop_core::{Error, ErrorKind, Result, Timestamp};

use crate::config;
use crate::error::kafka_error;

shop_core::options! {
    /// The options of a [`KafkaLog`](crate::KafkaLog).
    ///
    /// [`new`](Self::new) sets the defaults. Each other function replaces one option, except for
    /// [`with_property`](Self::with_property), which adds a property.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use shop_kafka::{Compression, KafkaLogOptions};
    ///
    /// let options = KafkaLogOptions::new("kafka-1:9092,kafka-2:9092")
    ///     .topic("orders")
    ///     .compression(Compression::Zstd)
    ///     .publish_timeout(Duration::from_secs(2));
    /// ```
    #[derive(Debug, Clone)]
    pub struct KafkaLogOptions {
        /// Sets the bootstrap servers: each as `host:port`, separated by commas.
        pub brokers: String as impl Into<String> = brokers.into(),
        /// Sets the client id (default `shop`), which identifies the clients in the logs and the
        /// quotas of the brokers.
        pub client_id: String as impl Into<String> = "shop".to_owned(),
        /// Sets the name of the topic (default `purchases`).
        pub topic: String as impl Into<String> = "purchases".to_owned(),
        /// Sets the number of partitions of a new topic (default 5).
        pub partitions: u32 = 5,
        /// Sets the replication factor of a new topic (default: the default of the cluster).
        ///
        /// An existing topic with fewer replicas is used, and a warning is logged.
        pub replication_factor: Option<u32> = None,
        /// Sets whether a missing topic and a missing dead-letter topic are created (default
        /// `true`).
        ///
        /// If they are not created, the ports return [`Unavailable`](ErrorKind::Unavailable) until
        /// both topics exist.
        pub create_topics: bool = true,
        /// Sets whether the topic belongs to other programs (default `false`).
        ///
        /// Such a topic is not created, and may be compacted. Its dead-letter topic is created.
        pub foreign: bool = false,
        /// Sets whether a new topic keeps all records (default `false`).
        ///
        /// A topic of events needs unlimited retention, because a projection is rebuilt from the
        /// first record.
        pub infinite_retention: bool = false,
        /// Sets the id of a static member of the group (default: none).
        ///
        /// A static member keeps its partitions during a restart that is shorter than
        /// [`session_timeout`](Self::session_timeout). The id must be unique within the group.
        pub group_instance_id: Option<String> as impl Into<Option<String>> = None,
        /// Sets the SASL user name (default: none, which means no authentication by user name).
        pub username: Option<String> as impl Into<Option<String>> = None,
        /// Sets the SASL password, which is required if [`username`](Self::username) is set.
        pub password: Option<SecretString> as impl Into<Option<SecretString>> = None,
        /// Sets the SASL mechanism (default `PLAIN`).
        pub mechanism: SaslMechanism = SaslMechanism::Plain,
        /// Sets whether connections use TLS (default `false`). Requires the feature `tls` of this
        /// crate.
        pub tls: bool = false,
        /// Sets the PEM file with the trusted certificate authorities (default: the authorities of
        /// the system).
        pub ca_file: Option<PathBuf> as impl Into<Option<PathBuf>> = None,
        /// Sets the PEM file with the client's certificate and its chain, for brokers that
        /// authenticate clients by TLS (default: none).
        ///
        /// The file and [`key_file`](Self::key_file) are read when a client is created.
        pub cert_file: Option<PathBuf> as impl Into<Option<PathBuf>> = None,
        /// Sets the PEM file with the private key of the client's certificate, which is required if
        /// [`cert_file`](Self::cert_file) is set.
        pub key_file: Option<PathBuf> as impl Into<Option<PathBuf>> = None,
        /// Sets the provider of the tokens for the mechanism
        /// [`OauthBearer`](SaslMechanism::OauthBearer) (default: none). The tokens replace the user
        /// name and the password.
        pub oauth: Option<Arc<dyn OauthTokenProvider>> = None,
        /// Sets the compression of record batches (default: none).
        pub compression: Compression = Compression::None,
        /// Sets the maximum number of records in a batch that a source or a scan returns
        /// (default 1,000).
        pub batch_records: usize = 1_000,
        /// Sets the maximum size, in bytes, of a batch that a source or a scan returns (default
        /// 1 MiB).
        ///
        /// A single larger record is delivered in a batch by itself.
        pub batch_bytes: usize = 1 << 20,
        /// Sets how long a source collects the records of a batch while its caller is busy (default
        /// 5 ms).
        ///
        /// A caller that waits for a batch receives the records that are available.
        pub batch_linger: Duration = Duration::from_millis(5),
        /// Sets the size, in bytes, of librdkafka's prefetch queue for all partitions of a consumer
        /// (default 8 MiB).
        ///
        /// In a measurement with five million small records, 32 MiB were not faster and took 20 MiB
        /// more memory (`docs/performance.md`).
        pub consumer_queue_bytes: usize = 8 << 20,
        /// Sets the time without a heartbeat after which a member is evicted from the group
        /// (default 6 s).
        pub session_timeout: Duration = Duration::from_secs(6),
        /// Sets the interval of heartbeats (default 2 s). A member detects a rebalance by its next
        /// heartbeat.
        pub heartbeat_interval: Duration = Duration::from_secs(2),
        /// Sets how long a rebalance waits until revoked partitions are drained and committed
        /// (default 5 s).
        ///
        /// The time must be shorter than [`session_timeout`](Self::session_timeout).
        pub revocation_timeout: Duration = Duration::from_secs(5),
        /// Sets the timeout of a publish, including retries (default 5 s).
        ///
        /// The delivery timeout of librdkafka, which is checked once a second, is 90 % of this
        /// timeout.
        pub publish_timeout: Duration = Duration::from_secs(5),
        /// Sets how long the producer collects records before it sends a batch (default 1 ms).
        ///
        /// The time adds to the latency of every publish. librdkafka waits for whole milliseconds:
        /// with a shorter time, its thread polls while the maximum number of a partition's batches
        /// is in flight. With 0.5 ms, `POST /buy` of 512 connections was an eighth slower, and took
        /// 7 % more processor time (`docs/performance.md`).
        pub producer_linger: Duration = Duration::from_millis(1),
        /// Sets the maximum number of records in the producer's queue (default 10,000).
        ///
        /// If the queue is full, the publish of a single purchase fails at once with
        /// [`Overloaded`](ErrorKind::Overloaded). A batch waits for room, at most for
        /// [`publish_timeout`](Self::publish_timeout).
        pub producer_queue_capacity: usize = 10_000,
        /// Sets the interval of a consumer's statistics (default 5 s). The lag that a source
        /// reports is at most this old.
        pub statistics_interval: Duration = Duration::from_secs(5),
        /// Sets the properties of librdkafka, for all clients of the log. See
        /// [`with_property`](Self::with_property).
        pub properties: BTreeMap<String, SecretString> = BTreeMap::new(),
    }

    /// Creates the default options, with `brokers` as the bootstrap servers.
    pub fn new(brokers: impl Into<String>);
}

/// Defines an enum with named values. Its `FromStr` ignores case.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$value_doc:meta])* $value:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$value_doc])* $value,)+
        }

        impl $type {
            /// The names of the values in settings.
            #[cfg(feature = "clap")]
            pub(crate) const NAMES: &[&str] = &[$($name),+];

            /// Returns the name of the value in librdkafka's configuration.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }
        }

        impl FromStr for $type {
            type Err = Error;

            /// Parses the name of a value.
            ///
            /// # Errors
            /// [`Invalid`](ErrorKind::Invalid) if `text` is not the name of a value. The message
            /// lists the names.
            fn from_str(text: &str) -> Result<Self> {
                $(if text.eq_ignore_ascii_case($name) {
                    return Ok(Self::$value);
                })+
                let message = format!("must be one of: {}", [$($name),+].join(", "));
                Err(Error::new(ErrorKind::Invalid, message))
            }
        }
    };
}

named!(
    /// A SASL mechanism.
    SaslMechanism {
        /// PLAIN, which sends the password in plain text. Use it with TLS, or in a trusted network.
        Plain = "PLAIN",
        /// SCRAM-SHA-256. Requires the feature `tls` of this crate.
        ScramSha256 = "SCRAM-SHA-256",
        /// SCRAM-SHA-512. Requires the feature `tls` of this crate.
        ScramSha512 = "SCRAM-SHA-512",
        /// OAUTHBEARER, with the tokens of [`oauth`](KafkaLogOptions::oauth). Requires the feature
        /// `tls` of this crate.
        ///
        /// librdkafka gives its administrative clients no token, so the topics must exist, and
        /// their configuration is not read.
        OauthBearer = "OAUTHBEARER",
    }
);

named!(
    /// The compression of record batches.
    ///
    /// Some consumers, such as kafka-python without further packages, read only `None` and
    /// `Gzip`.
    Compression {
        /// No compression.
        None = "none",
        /// gzip.
        Gzip = "gzip",
        /// Snappy.
        Snappy = "snappy",
        /// LZ4.
        Lz4 = "lz4",
        /// Zstandard.
        Zstd = "zstd",
    }
);

/// A token for the mechanism [`OauthBearer`](SaslMechanism::OauthBearer).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OauthToken {
    /// The token.
    pub token: SecretString,
    /// The name of the token's holder, which the client logs.
    pub principal: String,
    /// The time at which the token expires. The client requests a new token after four fifths of
    /// the time until then.
    pub expires_at: Timestamp,
}

impl OauthToken {
    /// Creates a token of `principal`, which expires at `expires_at`.
    pub fn new(
        token: impl Into<SecretString>,
        principal: impl Into<String>,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            token: token.into(),
            principal: principal.into(),
            expires_at,
        }
    }
}

/// A provider of tokens for the clients of a log, see
/// [`KafkaLogOptions::oauth`](KafkaLogOptions::oauth).
///
/// ```
/// use shop_core::{Clock, Result, SystemClock, Timestamp};
/// use shop_kafka::{OauthToken, OauthTokenProvider};
///
/// #[derive(Debug)]
/// struct Issuer;
///
/// impl OauthTokenProvider for Issuer {
///     fn token(&self) -> Result<OauthToken> {
///         // Request the token from your identity provider here.
///         let expires_at = Timestamp::from_millis(SystemClock.now().as_millis() + 300_000).unwrap_or(Timestamp::MAX);
///         Ok(OauthToken::new("eyJhbGciOiJSUzI1NiJ9…", "shop", expires_at))
///     }
/// }
/// ```
pub trait OauthTokenProvider: fmt::Debug + Send + Sync + 'static {
    /// Returns a token that is valid now.
    ///
    /// Each client calls this function at its start and before its token expires, on a thread that
    /// delivers records and acknowledgements. So keep a token at hand, and do not wait long for a
    /// new one. The function is not called from an async task.
    ///
    /// # Errors
    /// An error if there is no token. The client requests a token again after 10 s.
    fn token(&self) -> Result<OauthToken>;
}

impl KafkaLogOptions {
    /// Adds a [property of librdkafka][list] for all clients of the log: the producer, the
    /// consumers and the administrative clients.
    ///
    /// The property takes precedence over the option that sets the same property. Opening the log
    /// fails with [`Invalid`](ErrorKind::Invalid) if librdkafka rejects a property, if a property
    /// would break a guarantee of the log, or if there is an option for it. The message names the
    /// property and the reason.
    ///
    /// # Example
    ///
    /// ```
    /// use shop_kafka::KafkaLogOptions;
    ///
    /// let options = KafkaLogOptions::new("localhost:9092").with_property("client.rack", "eu-1a");
    /// ```
    ///
    /// [list]: https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md
    #[must_use]
    pub fn with_property(
        mut self,
        name: impl Into<String>,
        value: impl Into<SecretString>,
    ) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Checks the options before a client is created.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) with the first problem
    /// - [`Unsupported`](ErrorKind::Unsupported) if the options need a feature that this build
    ///   lacks
    pub(crate) fn validate(&self) -> Result<()> {
        let problems = [
            (
                self.brokers.trim().is_empty(),
                "no bootstrap server is given: set at least one host:port",
            ),
            (
                !is_topic_name(&self.topic),
                "invalid topic name: use at most 245 characters of A-Z, a-z, 0-9, dot, dash and underscore",
            ),
            (
                self.partitions == 0 || self.replication_factor == Some(0),
                "partitions and replication factor must be at least 1",
            ),
            (
                self.batch_records == 0
                    || self.batch_bytes == 0
                    || self.producer_queue_capacity == 0,
                "batch size and producer queue capacity must be at least 1",
            ),
            (
                self.heartbeat_interval.max(self.revocation_timeout) >= self.session_timeout,
                "heartbeat interval and revocation timeout must be shorter than the session timeout",
            ),
            (
                self.publish_timeout < Duration::from_millis(100),
                "the publish timeout must be at least 100 ms",
            ),
            (
                self.username.is_some() != self.password.is_some(),
                "set both a user name and a password: SHOP_KAFKA_USERNAME and SHOP_KAFKA_PASSWORD",
            ),
            (
                (self.mechanism == SaslMechanism::OauthBearer) != self.oauth.is_some()
                    || self.oauth.is_some() && self.username.is_some(),
                "OAUTHBEARER needs a provider of tokens (SHOP_KAFKA_OAUTH_TOKEN_URL) and no user, other mechanisms none",
            ),
            (
                self.cert_file.is_some() != self.key_file.is_some()
                    || self.cert_file.is_some() && !self.tls,
                "a client certificate needs TLS and a key: SHOP_KAFKA_TLS, SHOP_KAFKA_CERT_FILE and SHOP_KAFKA_KEY_FILE",
            ),
        ];
        let first_problem = problems.into_iter().find(|(is_wrong, _)| *is_wrong);
        if let Some((_, problem)) = first_problem {
            return Err(kafka_error(ErrorKind::Invalid, problem));
        }

        let is_scram = matches!(
            self.mechanism,
            SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512
        );
        let tls_features = [
            (self.tls, "TLS"),
            (self.mechanism == SaslMechanism::OauthBearer, "OAUTHBEARER"),
            (is_scram && self.username.is_some(), "SCRAM"),
        ];
        let first_used_feature = tls_features.into_iter().find(|(is_used, _)| *is_used);
        if let Some((_, name)) = first_used_feature
            && !cfg!(feature = "tls")
        {
            let message =
                format!("{name} requires a build with the feature tls or tls-static of shop-kafka");
            return Err(kafka_error(ErrorKind::Unsupported, message));
        }

        config::check_properties(self)
    }
}

/// Returns whether `name` is valid for a topic, with room for the suffix `.dlq`.
///
/// Kafka's limit is 249 characters, of which the suffix takes four.
fn is_topic_name(name: &str) -> bool {
    let has_valid_bytes = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    (1..=245).contains(&name.len()) && has_valid_bytes && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(change: impl FnOnce(&mut KafkaLogOptions)) -> Option<Error> {
        let mut options = KafkaLogOptions::new("localhost:9092");
        change(&mut options);
        options.validate().err()
    }

    #[test]
    fn validate_accepts_the_defaults_and_rejects_invalid_options() {
        assert!(problem(|_| {}).is_none());
        let invalid: [fn(&mut KafkaLogOptions); 9] = [
            |options| options.brokers.clear(),
            |options| options.topic = "no spaces".into(),
            |options| options.partitions = 0,
            |options| options.revocation_timeout = options.session_timeout,
            |options| options.username = Some("user".into()),
            |options| options.batch_records = 0,
            |options| options.mechanism = SaslMechanism::OauthBearer,
            |options| options.cert_file = Some("tls.crt".into()),
            |options| {
                options.cert_file = Some("tls.crt".into());
                options.key_file = Some("tls.key".into());
            },
        ];
        for change in invalid {
            assert_eq!(
                problem(change).map(|error| error.kind()),
                Some(ErrorKind::Invalid)
            );
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn unsupported_options_name_the_missing_feature() {
        let login = |options: &mut KafkaLogOptions| {
            options.username = Some("user".into());
            options.password = Some("secret".to_owned().into());
        };
        assert!(problem(login).is_none(), "PLAIN requires no OpenSSL");
        let scram = problem(|options| {
            login(options);
            options.mechanism = SaslMechanism::ScramSha256;
        });
        for error in [scram, problem(|options| options.tls = true)].map(Option::unwrap) {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains("feature tls"), "{error}");
        }
    }

    #[test]
    fn properties_are_set_for_all_clients_and_take_precedence() {
        let options = KafkaLogOptions::new("k:1")
            .client_id("a".to_owned())
            .with_property("client.rack", "eu-1a")
            .with_property("linger.ms", "20")
            .with_property("session.timeout.ms", "7000");
        options.validate().unwrap();
        let producer = config::producer(&options, 1_000);
        assert_eq!(producer.get("linger.ms"), Some("20"));
        let consumer = config::consumer(&options, "group");
        assert_eq!(consumer.get("session.timeout.ms"), Some("7000"));
        for client in [config::metadata_client(&options), producer, consumer] {
            assert_eq!(client.get("client.id"), Some("a"));
            assert_eq!(client.get("client.rack"), Some("eu-1a"));
        }
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let options = KafkaLogOptions::new("k:1").compression(codec.parse().unwrap());
            let producer = config::producer(&options, 1_000);
            assert_eq!(producer.get("compression.type"), Some(codec));
        }
    }

    #[test]
    fn properties_are_refused_in_one_message_without_their_values() {
        for (properties, reasons) in [
            (
                vec![
                    ("acks", "1"),
                    ("sasl.username", "hunter2"),
                    ("ssl.key.password", "hunter2"),
                    ("compression.type", "lz4"),
                ],
                vec![
                    "acks (an acknowledged record",
                    "sasl.username (use SHOP_KAFKA_TLS",
                    "ssl.key.password (it has no",
                    "compression.type (use SHOP_KAFKA_COMPRESSION)",
                ],
            ),
            // The message of librdkafka.
            (
                vec![("client.rock", "hunter2")],
                vec!["No such configuration property: \"client.rock\""],
            ),
            (
                vec![("fetch.min.bytes", "0")],
                vec!["Configuration property \"fetch.min.bytes\" value 0 is outside allowed range"],
            ),
            (
                vec![("max.in.flight", "6")],
                vec!["`max.in.flight` must be set <= 5 when `enable.idempotence` is true"],
            ),
            (
                vec![("max.poll.interval.ms", "1")],
                vec!["must be >= `session.timeout.ms`"],
            ),
        ] {
            let options = properties.iter().fold(
                KafkaLogOptions::new("localhost:9092"),
                |options, (name, value)| options.with_property(*name, *value),
            );
            let error = options.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let text = error.chain().to_string();
            assert!(!text.contains("hunter2"), "{text}");
            for reason in reasons {
                assert!(text.contains(reason), "{reason}: {text}");
            }
        }
    }

    #[test]
    fn debug_output_hides_the_password() {
        let mut options =
            KafkaLogOptions::new("localhost:9092").with_property("ssl.key.password", "hunter2");
        options.password = Some("hunter2".to_owned().into());
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
