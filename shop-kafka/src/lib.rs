//! The log of purchase tracking on Apache Kafka, by librdkafka.
//!
//! | item | what it is |
//! |---|---|
//! | [`KafkaLog`], [`KafkaLogOptions`] | a topic of a cluster, and how it is reached |
//! | [`KafkaSink`] | writes purchases, acknowledged by all replicas that are in sync |
//! | [`KafkaSource`] | reads as a member of a consumer group |
//! | [`KafkaDeadLetters`] | keeps what can never be stored, in the topic `<topic>.dlq` |
//! | [`KafkaStatistics`], [`StatisticsObserver`] | the few numbers worth a metric |
//!
//! Nothing here fails because Kafka is away: a log is opened without it, says
//! [`Unavailable`](shop_core::ErrorKind::Unavailable) meanwhile, and goes on by itself when Kafka is there.
//!
//! | feature | what it adds |
//! |---|---|
//! | `tls` | TLS and logins with SCRAM, by the system's OpenSSL |
//! | `tls-static` | the same by an OpenSSL that is built along |

// Test support names this crate by its name, in unit tests too.
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
pub use sink::KafkaSink;
pub use source::KafkaSource;
pub use statistics::{KafkaStatistics, StatisticsObserver};
