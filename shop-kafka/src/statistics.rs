//! The few numbers of librdkafka's many that are worth a metric.

use std::collections::BTreeMap;
use std::fmt::Debug;

use rdkafka::Statistics;

/// Is told [`KafkaStatistics`] every now and then, by a thread that must not be kept waiting.
pub trait StatisticsObserver: Debug + Send + Sync + 'static {
    /// Takes note.
    fn observe(&self, statistics: &KafkaStatistics);
}

/// What one client says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KafkaStatistics {
    /// A producer.
    #[non_exhaustive]
    Producer {
        /// The brokers that it is connected to.
        brokers_up: u64,
        /// The records that wait to be sent or acknowledged.
        waiting: u64,
    },
    /// A member of a group.
    #[non_exhaustive]
    Consumer {
        /// The group.
        group: String,
        /// The brokers that it is connected to.
        brokers_up: u64,
        /// How many records the group's committed position is behind the end, for each partition that this
        /// member owns.
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

/// How many records the committed position of each partition of `topic` is behind its end, as far as that is known.
pub(crate) fn lag(statistics: &Statistics, topic: &str) -> BTreeMap<u32, u64> {
    let partitions = statistics.topics.get(topic).into_iter().flat_map(|topic| topic.partitions.values());
    let lag = |partition: &rdkafka::statistics::Partition| {
        // -1 is the partition that collects what belongs to none.
        let index = u32::try_from(partition.partition).ok()?;
        let known = u64::try_from(partition.consumer_lag);
        // Unknown as long as the group has committed nothing: it begins at the earliest record.
        let all = || u64::try_from(partition.hi_offset - partition.lo_offset.max(0));
        let records = if partition.committed_offset < 0 { known.or_else(|_| all()) } else { known };
        Some((index, records.ok()?))
    };
    partitions.filter_map(lag).collect()
}

fn brokers_up(statistics: &Statistics) -> u64 {
    // Addresses to begin with have no number.
    let up = statistics.brokers.values().filter(|broker| broker.nodeid >= 0 && broker.state == "UP");
    up.count() as u64
}
