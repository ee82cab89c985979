//! What most of these tests use.

pub(crate) use std::collections::BTreeSet;
pub(crate) use std::time::Duration;

pub(crate) use rdkafka::ClientConfig;
pub(crate) use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
pub(crate) use shop_core::ErrorKind;
pub(crate) use shop_core::conformance::LogFixture as _;
pub(crate) use shop_core::log::{
    CommitOffset, Log as _, LogExt as _, LogSource, RecordPosition, ScanEnd, SourceEvent,
};
pub(crate) use shop_core::ports::PurchaseSink as _;
pub(crate) use shop_kafka::{KafkaLog, KafkaLogOptions, SaslMechanism};

pub(crate) use crate::fixture::{KafkaFixture, environment};
pub(crate) use crate::kafka_container::KafkaContainer;
pub(crate) use crate::raw;
pub(crate) use crate::servers::{self, on_broker, on_broker_with};
pub(crate) use crate::support::*;
