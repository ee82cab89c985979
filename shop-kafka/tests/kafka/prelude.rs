//! What most tests of this crate use.

pub(crate) use shop_core::conformance::LogFixture as _;
pub(crate) use shop_core::log::{DeadLetter, Log as _, LogSource as _, SourceEvent};
pub(crate) use shop_core::ports::PurchaseSink as _;
pub(crate) use shop_core::{ErrorKind, Purchase};
pub(crate) use shop_kafka::KafkaLog;

pub(crate) use crate::fixture::{InProcessCluster, KafkaFixture, one_broker};
pub(crate) use crate::support::{
    OF, next_batch, publish_with_retries, purchase, read_all, scanned, soon,
};
