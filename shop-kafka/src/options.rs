//! How a log on Kafka is opened.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::kafka_error;
use secrecy::SecretString;
use shop_core::{ErrorKind, Result};

use crate::StatisticsObserver;

/// How a [`KafkaLog`](crate::KafkaLog) is opened. [`new`](Self::new) takes what has no default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KafkaLogOptions {
    /// Where to begin to look for the cluster: `host:port`, several with commas between them.
    pub brokers: String,
    /// The topic, `purchases` unless chosen.
    pub topic: String,
    /// The partitions of a topic that we create, 5 unless chosen.
    pub partitions: u32,
    /// The replicas of a topic that we create; the broker's default unless chosen. A topic that has fewer than
    /// chosen is used, with a warning.
    pub replication_factor: Option<u32>,
    /// Whether the topic and that of the dead letters are created if they are missing, as they are unless chosen.
    /// Otherwise they are waited for, and the ports are not ready until they exist.
    pub create_topics: bool,
    /// Whether nothing is ever deleted from a topic that we create, not so unless chosen: who rebuilds what it has heard
    /// of another service reads all of it.
    pub infinite_retention: bool,
    /// The identity of this member over restarts; none unless chosen. A member that has one keeps its
    /// partitions over a restart that is shorter than the session's time-out, and must be the only one with it.
    pub group_instance_id: Option<String>,
    /// Who logs in; nobody unless chosen.
    pub username: Option<String>,
    /// The password of that user.
    pub password: Option<SecretString>,
    /// How the user logs in, `PLAIN` unless chosen.
    pub mechanism: SaslMechanism,
    /// Whether connections are encrypted, not so unless chosen. Needs the feature `tls` of this crate.
    pub tls: bool,
    /// The certificates of who may sign the brokers' ones; the system's unless chosen.
    pub ca_file: Option<PathBuf>,
    /// How records are compressed, not at all unless chosen.
    pub compression: Compression,
    /// Which partitions a rebalance takes away, only those that move unless chosen.
    pub assignment: AssignmentStrategy,
    /// The most records of a batch, 1,000 unless chosen.
    pub batch_records: usize,
    /// The size in bytes at which a batch is closed, 1 MiB unless chosen.
    pub batch_bytes: usize,
    /// How long a batch waits for more records while the reader is busy, 5 ms unless chosen; a reader that
    /// waits is given what there is.
    pub batch_linger: Duration,
    /// The bytes that librdkafka reads ahead for a consumer, over all its partitions, 8 MiB unless chosen:
    /// with 32 MiB five million small records took 20 MiB more memory, and no less time (`docs/performance.md`).
    pub consumer_queue_bytes: usize,
    /// After how long without a heartbeat a member is thrown out, 6 s unless chosen.
    pub session_timeout: Duration,
    /// How often a member says that it lives, every 2 s unless chosen. It learns of a rebalance by that too.
    pub heartbeat_interval: Duration,
    /// How long a rebalance waits for partitions to be given up, 5 s unless chosen; less than the session's
    /// time-out.
    pub revocation_timeout: Duration,
    /// How long a publish is tried, 5 s unless chosen. librdkafka gives a record up after nine tenths of that, and
    /// looks once in a second which ones.
    pub publish_timeout: Duration,
    /// How long the producer waits for more records before it sends, 0.5 ms unless chosen. Who waits for the
    /// answer waits for this too.
    pub producer_linger: Duration,
    /// The most records that may wait in the producer, 10,000 unless chosen; a further one is refused at once.
    pub producer_queue_capacity: usize,
    /// Who is told the statistics; nobody unless chosen.
    pub statistics: Option<Arc<dyn StatisticsObserver>>,
    /// How often the statistics are told, every 5 s unless chosen. So old is the lag that a source knows.
    pub statistics_interval: Duration,
}

/// An enum whose values have names, which `FromStr` reads whatever their case.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$value_doc:meta])* $value:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$value_doc])* $value,)+
        }

        impl $type {
            /// The name that librdkafka has for it.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                let all = [$(Self::$value),+];
                let known = all.into_iter().find(|value| value.as_str().eq_ignore_ascii_case(text));
                known.ok_or(UnknownName(&[$($name),+]))
            }
        }
    };
}

named!(
    /// How a user logs in.
    SaslMechanism {
        /// The password as it is: only over TLS, or in a network that is trusted.
        Plain = "PLAIN",
        /// SCRAM-SHA-256. Needs the feature `tls` of this crate.
        ScramSha256 = "SCRAM-SHA-256",
        /// SCRAM-SHA-512. Needs the feature `tls` of this crate.
        ScramSha512 = "SCRAM-SHA-512",
    }
);

named!(
    /// How records are compressed. The replaced systems' consumers can read `None` and `Gzip` only.
    Compression {
        /// Not at all.
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

/// A text that names no value of an option; its message lists the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownName(&'static [&'static str]);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be one of: {}", self.0.join(", "))
    }
}

impl std::error::Error for UnknownName {}

/// Which partitions a rebalance takes from their owners. All members of a group must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssignmentStrategy {
    /// Only those that are to move; the others are read on meanwhile.
    CooperativeSticky,
    /// All of them, from all members, before any is given out again.
    Eager,
}

impl KafkaLogOptions {
    /// The defaults, on the cluster that `brokers` belong to.
    #[must_use]
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic: "purchases".to_owned(),
            partitions: 5,
            replication_factor: None,
            create_topics: true,
            infinite_retention: false,
            group_instance_id: None,
            username: None,
            password: None,
            mechanism: SaslMechanism::Plain,
            tls: false,
            ca_file: None,
            compression: Compression::None,
            assignment: AssignmentStrategy::CooperativeSticky,
            batch_records: 1_000,
            batch_bytes: 1 << 20,
            batch_linger: Duration::from_millis(5),
            consumer_queue_bytes: 8 << 20,
            session_timeout: Duration::from_secs(6),
            heartbeat_interval: Duration::from_secs(2),
            revocation_timeout: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(5),
            producer_linger: Duration::from_micros(500),
            producer_queue_capacity: 10_000,
            statistics: None,
            statistics_interval: Duration::from_secs(5),
        }
    }

    /// Says what is wrong with them, before anything is started.
    pub(crate) fn validate(&self) -> Result<()> {
        let problems = [
            (self.brokers.trim().is_empty(), "no broker is named: give at least one host:port"),
            (
                !is_topic_name(&self.topic),
                "the topic's name is not one that Kafka takes: up to 245 letters, digits, dots, dashes, underscores",
            ),
            (
                self.partitions == 0 || self.replication_factor == Some(0),
                "a topic needs at least one partition and one replica",
            ),
            (
                self.batch_records == 0 || self.batch_bytes == 0 || self.producer_queue_capacity == 0,
                "a batch and a queue must have room for at least one record",
            ),
            (
                self.heartbeat_interval.max(self.revocation_timeout) >= self.session_timeout,
                "the heartbeat and the grace must be shorter than the session's time-out",
            ),
            (
                self.publish_timeout < Duration::from_millis(100),
                "the deadline of a publish must be 100 ms at the least",
            ),
            (
                self.username.is_some() != self.password.is_some(),
                "a login needs a user name and a password: KAFKA_USERNAME and KAFKA_PASSWORD",
            ),
        ];
        if let Some((_, problem)) = problems.into_iter().find(|(is_wrong, _)| *is_wrong) {
            return Err(kafka_error(ErrorKind::Invalid, problem));
        }
        self.validate_features()
    }

    fn validate_features(&self) -> Result<()> {
        if cfg!(feature = "tls") {
            return Ok(());
        }
        let needs = |what: &str| {
            let message = format!("{what} needs a build with the feature tls (or tls-static) of shop-kafka");
            Err(kafka_error(ErrorKind::Unsupported, message))
        };
        if self.tls {
            return needs("an encrypted connection");
        }
        match self.mechanism {
            SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 if self.username.is_some() => {
                needs("a login with SCRAM")
            }
            _ => Ok(()),
        }
    }
}

/// Kafka takes 249 characters; four are kept for the ending of the dead letters' topic.
fn is_topic_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=245).contains(&name.len()) && name.bytes().all(fits) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use shop_core::Error;

    use super::*;

    fn problem(change: impl FnOnce(&mut KafkaLogOptions)) -> Option<Error> {
        let mut options = KafkaLogOptions::new("localhost:9092");
        change(&mut options);
        options.validate().err()
    }

    #[test]
    fn the_defaults_are_sound_and_nonsense_is_refused() {
        assert!(problem(|_| {}).is_none());
        let nonsense: [fn(&mut KafkaLogOptions); 6] = [
            |options| options.brokers.clear(),
            |options| options.topic = "no spaces".into(),
            |options| options.partitions = 0,
            |options| options.revocation_timeout = options.session_timeout,
            |options| options.username = Some("somebody".into()),
            |options| options.batch_records = 0,
        ];
        for change in nonsense {
            assert_eq!(problem(change).map(|error| error.kind()), Some(ErrorKind::Invalid));
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn what_this_build_cannot_do_names_the_feature() {
        let login = |options: &mut KafkaLogOptions| {
            options.username = Some("somebody".into());
            options.password = Some("secret".to_owned().into());
        };
        assert!(problem(login).is_none(), "PLAIN needs no OpenSSL");
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
    fn a_password_is_not_shown() {
        let mut options = KafkaLogOptions::new("localhost:9092");
        options.password = Some("hunter2".to_owned().into());
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
