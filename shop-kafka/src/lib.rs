//! The purchase log on Apache Kafka, implemented with librdkafka.
//!
//! A [`KafkaLog`] is a topic of a cluster. It implements the ports of a log of [`shop_core`]:
//!
//! | port | type | responsible for |
//! |---|---|---|
//! | sink | [`KafkaSink`] | publishes purchases |
//! | source | [`KafkaSource`] | consumes records as a member of a consumer group |
//!
//! # Publish
//!
//! [`KafkaLog::sink`] publishes with `acks=all` and an idempotent producer. A receipt states the
//! minimum number of in-sync replicas that contain the purchase.
//!
//! ```no_run
//! use shop_core::ports::PurchaseSink;
//! use shop_core::{Clock, NewPurchase, SystemClock};
//! use shop_kafka::{KafkaLog, KafkaLogOptions};
//!
//! # async fn example(new: NewPurchase) -> shop_core::Result<()> {
//! let log = KafkaLog::open(KafkaLogOptions::new("kafka-1:9092,kafka-2:9092")).await?;
//! let purchase = new.into_purchase(SystemClock.now(), || SystemClock.fresh_id());
//! let receipt = log.sink().publish(&purchase).await?;
//! println!("durable: {:?}, at {:?}", receipt.durability, receipt.position);
//! # Ok(())
//! # }
//! ```
//!
//! # Consume
//!
//! [`KafkaLog::source`] starts a member of a consumer group. [`Ingest`](shop_core::ingest::Ingest)
//! reads records from the source, writes them to a store, and commits an offset only after the
//! write. When partitions move to another member, ingest first stores and commits the records that
//! it already read from these partitions, within
//! [`revocation_timeout`](KafkaLogOptions::revocation_timeout). Records that can never be stored
//! are kept, byte for byte, in the topic `<topic>.dlq`, see [`KafkaLog`].
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use shop_core::Purchase;
//! use shop_core::ingest::{Ingest, IngestOptions};
//! use shop_core::ports::RecordStore;
//! use shop_kafka::KafkaLog;
//!
//! # async fn example(log: KafkaLog, store: Arc<dyn RecordStore<Purchase>>) -> shop_core::Result<()> {
//! let source = Arc::new(log.source("purchase-group")?);
//! let ingest = Ingest::new(source, store, Arc::new(log), IngestOptions::default());
//! ingest.run(std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Outages
//!
//! A log can be opened while Kafka is unavailable. Its ports then return
//! [`Unavailable`](shop_core::ErrorKind::Unavailable), and recover without a restart.
//!
//! - A publish fails after [`publish_timeout`](KafkaLogOptions::publish_timeout). The
//!   [outcome](shop_core::Error::outcome) of the error states whether the purchase may be in the
//!   log.
//! - If the queue of the producer is full, the publish of a single purchase fails at once with
//!   [`Overloaded`](shop_core::ErrorKind::Overloaded). A batch waits for room, at most for
//!   [`publish_timeout`](KafkaLogOptions::publish_timeout).
//! - A missing topic is created, unless [`create_topics`](KafkaLogOptions::create_topics) is off.
//!
//! # Authentication and TLS
//!
//! The mechanism `PLAIN` needs no feature of this crate. TLS, client certificates, SCRAM and
//! OAUTHBEARER need OpenSSL, which one of two features adds:
//!
//! | feature | OpenSSL |
//! |---|---|
//! | `tls` | the OpenSSL of the system |
//! | `tls-static` | built from source and linked statically |
//!
//! ```
//! use shop_kafka::{KafkaLogOptions, SaslMechanism, SecretString};
//!
//! let options = KafkaLogOptions::new("kafka.internal:9093")
//!     .tls(true)
//!     .mechanism(SaslMechanism::ScramSha512)
//!     .username("shop".to_owned())
//!     .password(SecretString::from("secret"));
//! assert!(!format!("{options:?}").contains("secret"), "passwords are not printed");
//! ```
//!
//! The tokens of OAUTHBEARER come from an [`OauthTokenProvider`]. librdkafka's administrative
//! clients get no token (<https://github.com/confluentinc/librdkafka/issues/3753>). So with
//! OAUTHBEARER, the topic and its dead-letter topic must exist, and receipts do not state how many
//! replicas contain the purchase.
//!
//! # Command line
//!
//! | feature | adds |
//! |---|---|
//! | `clap` | `KafkaArgs`: the settings of a log as flags and variables of a program |

#![cfg_attr(docsrs, feature(doc_cfg))]

// The test support in `tests/` is compiled into unit tests too, and refers to this crate by name.
#[cfg(test)]
extern crate self as shop_kafka;

mod acknowledged;
#[cfg(feature = "clap")]
mod args;
mod batch;
mod batch_limit;
mod client;
mod config;
mod dead_letters;
mod delivery;
mod error;
#[cfg(test)]
#[path = "../tests/kafka/fixture.rs"]
mod fixture;
mod log;
mod number;
mod options;
mod producer;
mod record;
mod scan;
mod shared;
mod sink;
mod source;
mod standalone;
mod topic;
mod topic_monitor;

#[cfg(feature = "clap")]
pub use args::KafkaArgs;
pub use log::KafkaLog;
pub use options::{Compression, KafkaLogOptions, OauthToken, OauthTokenProvider, SaslMechanism};
/// The password in [`KafkaLogOptions`].
pub use secrecy::SecretString;
pub use sink::KafkaSink;
pub use source::KafkaSource;

/// Compiles the code of the package's README with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
