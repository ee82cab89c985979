//! The purchase log on Apache Kafka, implemented with librdkafka.
//!
//! | item | purpose |
//! |---|---|
//! | [`KafkaLog`], [`KafkaLogOptions`] | a topic of a cluster, and its connection settings |
//! | [`KafkaSink`] | publishes purchases, acknowledged by all in-sync replicas |
//! | [`KafkaSource`] | consumes as a member of a consumer group |
//! | [`KafkaDeadLetters`] | stores rejected records in the topic `<topic>.dlq` |
//! | [`KafkaStatistics`], [`StatisticsObserver`] | client statistics for metrics |
//!
//! A log can be opened while Kafka is unavailable. Its ports then return
//! [`Unavailable`](shop_core::ErrorKind::Unavailable), and recover without a restart.
//!
//! | feature | adds |
//! |---|---|
//! | `tls` | TLS and SCRAM, with the system's OpenSSL |
//! | `tls-static` | TLS and SCRAM, with OpenSSL built from source and linked statically |

#![cfg_attr(docsrs, feature(doc_cfg))]

// The test support in `tests/` is compiled into unit tests too, and refers to this crate by name.
#[cfg(test)]
extern crate self as shop_kafka;

mod admin;
mod client;
mod config;
mod dead_letters;
mod error;
#[cfg(test)]
#[path = "../tests/kafka/fixture.rs"]
mod fixture;
mod log;
mod options;
mod producer;
mod record;
mod resolution;
mod scan;
mod sink;
mod source;
mod statistics;
mod thread;
mod topic;
mod topic_monitor;

pub use dead_letters::KafkaDeadLetters;
pub use log::KafkaLog;
pub use options::{AssignmentStrategy, Compression, KafkaLogOptions, SaslMechanism, UnknownName};
/// The password in [`KafkaLogOptions`].
pub use secrecy::SecretString;
pub use sink::KafkaSink;
pub use source::KafkaSource;
pub use statistics::{KafkaStatistics, StatisticsObserver};

/// Compiles the code of the package's README with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
