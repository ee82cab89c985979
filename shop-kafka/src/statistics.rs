//! The subset of librdkafka's statistics that is exposed.

use std::collections::BTreeMap;
use std::fmt::Debug;

use rdkafka::Statistics;

/// Receives [`KafkaStatistics`] at every [`statistics_interval`](crate::KafkaLogOptions::statistics_interval).
///
/// ```
/// use shop_kafka::{KafkaStatistics, StatisticsObserver};
///
/// #[derive(Debug)]
/// struct Print;
///
/// impl StatisticsObserver for Print {
///     fn observe(&self, statistics: &KafkaStatistics) {
///         if let KafkaStatistics::Consumer { group, lag, .. } = statistics {
///             println!("{group} is {} records behind", lag.values().sum::<u64>());
///         }
///     }
/// }
/// ```
pub trait StatisticsObserver: Debug + Send + Sync + 'static {
    /// Called on a client's thread. Must not block.
    fn observe(&self, statistics: &KafkaStatistics);
}

/// The statistics of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KafkaStatistics {
    /// A producer.
    #[non_exhaustive]
    Producer {
        /// Number of connected brokers.
        brokers_up: u64,
        /// Number of records that are queued or in flight.
        waiting: u64,
    },
    /// A consumer.
    #[non_exhaustive]
    Consumer {
        /// The consumer group.
        group: String,
        /// Number of connected brokers.
        brokers_up: u64,
        /// Consumer lag in records, by partition owned by this member: the end of the partition minus the group's
        /// committed offset.
        lag: BTreeMap<u32, u64>,
    },
}

impl KafkaStatistics {
    pub(crate) fn from_producer(statistics: &Statistics) -> Self {
        Self::Producer { brokers_up: brokers_up(statistics), waiting: statistics.msg_cnt }
    }

    pub(crate) fn from_consumer(statistics: &Statistics, topic: &str, group: &str) -> Self {
        Self::Consumer {
            group: group.to_owned(),
            brokers_up: brokers_up(statistics),
            lag: lag(statistics, topic),
        }
    }
}

/// Returns the consumer lag of each partition of `topic` for which it is known.
pub(crate) fn lag(statistics: &Statistics, topic: &str) -> BTreeMap<u32, u64> {
    let partitions = statistics.topics.get(topic).into_iter().flat_map(|topic| topic.partitions.values());
    let lag = |partition: &rdkafka::statistics::Partition| {
        // -1 is librdkafka's internal partition for records without one.
        let index = u32::try_from(partition.partition).ok()?;
        let known = u64::try_from(partition.consumer_lag);
        // Without a committed offset, the lag is the whole partition: the group starts at its first record.
        let all = || u64::try_from(partition.hi_offset - partition.lo_offset.max(0));
        let records = if partition.committed_offset < 0 { known.or_else(|_| all()) } else { known };
        Some((index, records.ok()?))
    };
    partitions.filter_map(lag).collect()
}

fn brokers_up(statistics: &Statistics) -> u64 {
    // Bootstrap addresses have no node id.
    let up = statistics.brokers.values().filter(|broker| broker.nodeid >= 0 && broker.state == "UP");
    up.count() as u64
}
