//! The state of a group member: owned partitions, commits and lag.
//!
//! | thread | access |
//! |---|---|
//! | reader thread | takes and releases partitions, marks records as delivered |
//! | librdkafka's statistics, on the reader thread | replace the lag |
//! | of the runtime's blocking pool | commits positions |
//! | callers of the source | read the lag |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Partition as PartitionStatistics;
use rdkafka::{Offset, Statistics, TopicPartitionList};
use shop_core::log::{CommitOffset, CommitOutcome, Lag, Partition};
use shop_core::{ErrorKind, Outcome, Result};

use super::membership::OwnedPartition;
use super::queue::EventQueue;
use crate::client::{Context, StatisticsHandler, lock};
use crate::config;
use crate::error::{from_kafka, kafka_error};
use crate::number::unsigned;
use crate::shared::KafkaLogInner;

pub(super) type Consumer = BaseConsumer<Context<Arc<Member>>>;

/// The state of a group member, which outlives its memberships.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) log: Arc<KafkaLogInner>,
    pub(super) group: String,
    pub(super) queue: EventQueue,
    owned: Mutex<BTreeMap<u32, Ownership>>,
    /// The consumer to commit with. The lock is held during a commit: librdkafka uses the generation that is current
    /// when it sends the request, so the owned partitions must not change in between.
    pub(super) commit_consumer: Mutex<Weak<Consumer>>,
    /// The group's lag by partition, from the latest statistics.
    lag: Mutex<BTreeMap<u32, u64>>,
    /// The last stable offset of each partition that has records after it.
    stable_offsets: Mutex<BTreeMap<u32, StableOffset>>,
    /// Whether partitions were assigned since the reader thread last paused them.
    pub(super) assigned_since_pause: AtomicBool,
    /// Whether partitions were assigned since the reader thread last compared their positions with the log.
    pub(super) assigned_since_check: AtomicBool,
    /// The id of the topic that is read, if the brokers state it.
    pub(super) topic_id: Mutex<Option<Arc<str>>>,
}

/// The ownership of a partition.
#[derive(Debug, Clone, Copy)]
struct Ownership {
    epoch: u64,
    /// The offset after the last record that was delivered in this epoch.
    delivered_end: Option<i64>,
}

/// A last stable offset, which does not move while a transaction is open.
#[derive(Debug)]
struct StableOffset {
    offset: i64,
    unmoved_since: Instant,
}

impl Member {
    pub(super) fn new(log: Arc<KafkaLogInner>, group: &str) -> Self {
        let queue = EventQueue::new(log.options.batch_bytes);
        Self {
            log,
            group: group.to_owned(),
            queue,
            owned: Mutex::default(),
            commit_consumer: Mutex::default(),
            lag: Mutex::default(),
            stable_offsets: Mutex::default(),
            assigned_since_pause: AtomicBool::new(false),
            assigned_since_check: AtomicBool::new(false),
            topic_id: Mutex::default(),
        }
    }

    /// Returns the id of the topic that was known first in this membership: a change of the id ends the membership.
    pub(super) fn topic_id(&self) -> Option<Arc<str>> {
        let mut id = lock(&self.topic_id);
        if id.is_none() {
            *id = self.log.health.topic_id(&self.log.topic.name);
        }
        id.clone()
    }

    /// Adds the id of the topic to positions that are to be committed.
    ///
    /// A topic that is created again under the same name contains other records at the same offsets.
    pub(super) fn add_topic_id(&self, list: &mut TopicPartitionList) {
        if let Some(id) = self.topic_id() {
            for mut element in list.elements() {
                element.set_metadata(&*id);
            }
        }
    }

    /// Creates a consumer that has not joined the group.
    pub(super) fn create_consumer(member: &Arc<Self>) -> Result<Arc<Consumer>> {
        let context = Context::new(Arc::clone(&member.log.health), Arc::clone(member));
        let config = config::consumer(&member.log.options, &member.group);
        let consumer = Consumer::from_config_and_context(&config, context).map_err(from_kafka)?;
        let consumer = Arc::new(consumer);
        *lock(&member.commit_consumer) = Arc::downgrade(&consumer);
        Ok(consumer)
    }

    /// Marks the record at `offset` as delivered by the reader thread.
    ///
    /// Returns the partition of the record, or `None` if the member does not own it.
    pub(super) fn mark_delivered(&self, index: u32, offset: i64) -> Option<OwnedPartition> {
        let mut owned = lock(&self.owned);
        let ownership = owned.get_mut(&index)?;
        ownership.delivered_end = Some(offset + 1);
        Some(OwnedPartition {
            index,
            epoch: ownership.epoch,
        })
    }

    /// Returns the public form of `owned`, or `None` while the id of the cluster is unknown.
    ///
    /// The id is known before the member joins its group, and so before anything is delivered.
    pub(super) fn partition(&self, owned: OwnedPartition) -> Option<Partition> {
        let cluster = self.log.monitor.cluster().ok()?;
        Some(Partition::new(
            cluster,
            Arc::clone(&self.log.topic.name),
            owned.index,
            owned.epoch,
        ))
    }

    /// Takes ownership of partitions in a new epoch, and returns the epoch.
    pub(super) fn take_ownership(&self, indices: &[u32]) -> u64 {
        let epoch = self.log.next_epoch();
        let ownership = Ownership {
            epoch,
            delivered_end: None,
        };
        lock(&self.owned).extend(indices.iter().map(|index| (*index, ownership)));
        self.assigned_since_pause.store(true, Ordering::Release);
        self.assigned_since_check.store(true, Ordering::Release);
        epoch
    }

    /// Returns the owned partitions.
    pub(super) fn owned_partitions(&self) -> Vec<OwnedPartition> {
        let owned = lock(&self.owned);
        let partitions = owned.iter().map(|(index, ownership)| OwnedPartition {
            index: *index,
            epoch: ownership.epoch,
        });
        partitions.collect()
    }

    /// Returns the group's lag in the owned partitions.
    pub(super) fn lag(&self) -> Lag {
        let owned = lock(&self.owned).clone();
        let mut records = lock(&self.lag).clone();
        records.retain(|index, _| owned.contains_key(index));
        let mut lag = Lag::new(
            Arc::clone(&self.log.topic.name),
            self.group.clone(),
            records,
        );

        for (index, stable) in lock(&self.stable_offsets).iter() {
            if owned.contains_key(index) {
                lag.open_transactions.insert(*index, stable.unmoved_since);
            }
        }
        lag
    }

    /// Gives up ownership of `partitions`, whose commits are fenced from now on. Waits for a commit in flight.
    pub(super) fn release(&self, partitions: &[OwnedPartition]) {
        let _no_commit = lock(&self.commit_consumer);
        let mut owned = lock(&self.owned);
        for partition in partitions {
            let ownership = owned.get(&partition.index);
            if ownership.is_some_and(|ownership| ownership.epoch == partition.epoch) {
                owned.remove(&partition.index);
            }
        }
    }

    /// Commits the `positions` in owned partitions. Blocks until the brokers respond.
    ///
    /// # Errors
    /// - [`ErrorKind::Invalid`] if a position is out of Kafka's range
    /// - [`ErrorKind::Unavailable`] if the member is rejoining its group, or has lost its partitions
    /// - an error of librdkafka or of the brokers
    pub(super) fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        let commit_consumer = lock(&self.commit_consumer);
        let mut outcomes = Vec::with_capacity(positions.len());
        let mut next_offsets = BTreeMap::new();
        for position in positions {
            if self.owns(&position.partition) {
                let index = to_kafka_number(position.partition.index)?;
                next_offsets.insert(index, to_kafka_number(position.next_offset)?);
                outcomes.push(CommitOutcome::Committed);
            } else {
                outcomes.push(CommitOutcome::Fenced);
            }
        }
        if next_offsets.is_empty() {
            return Ok(outcomes);
        }

        let Some(consumer) = commit_consumer.upgrade() else {
            return Err(kafka_error(
                ErrorKind::Unavailable,
                "this member is rejoining its group",
            ));
        };
        // librdkafka would commit without a membership, which a group without other members accepts.
        if consumer.assignment_lost() {
            // The revocation has not been delivered yet. After the delivery, commits are fenced.
            let lost = kafka_error(
                ErrorKind::Unavailable,
                "this member has lost its partitions",
            );
            return Err(lost.with_outcome(Outcome::NotApplied));
        }

        let mut list =
            offsets_to_commit(&consumer, &self.log.topic.name, next_offsets).map_err(from_kafka)?;
        self.add_topic_id(&mut list);
        // An error of the generation is not reported as fenced: in a cooperative rebalance it can change during a commit
        // while the partitions stay assigned. Until the rebalance has decided, a retry is right.
        consumer
            .commit(&list, CommitMode::Sync)
            .map_err(from_kafka)?;
        Ok(outcomes)
    }

    /// Returns whether this member owns `partition` in its epoch.
    pub(super) fn owns(&self, partition: &Partition) -> bool {
        *partition.topic == *self.log.topic.name
            && lock(&self.owned)
                .get(&partition.index)
                .is_some_and(|ownership| ownership.epoch == partition.epoch)
    }
}

impl StatisticsHandler for Arc<Member> {
    /// Replaces the lag and the last stable offsets of the topic.
    fn note_statistics(&self, statistics: &Statistics) {
        let owned = lock(&self.owned).clone();
        let mut stable_offsets = lock(&self.stable_offsets);
        let now = Instant::now();
        let mut lag = BTreeMap::new();
        let mut new_stable_offsets = BTreeMap::new();
        let topic = statistics.topics.get(&self.log.options.topic);
        for partition in topic
            .into_iter()
            .flat_map(|topic| topic.partitions.values())
        {
            // -1 is librdkafka's internal partition for records without one.
            let Ok(index) = u32::try_from(partition.partition) else {
                continue;
            };
            let delivered_end = owned
                .get(&index)
                .and_then(|ownership| ownership.delivered_end);
            if let Some(records) = consumer_lag(partition, delivered_end) {
                lag.insert(index, records);
            }

            let offset = partition.ls_offset;
            if (0..partition.hi_offset).contains(&offset) {
                let unmoved_since = match stable_offsets.get(&index) {
                    Some(previous) if previous.offset == offset => previous.unmoved_since,
                    _ => now,
                };
                new_stable_offsets.insert(
                    index,
                    StableOffset {
                        offset,
                        unmoved_since,
                    },
                );
            }
        }
        *lock(&self.lag) = lag;
        *stable_offsets = new_stable_offsets;
    }
}

/// Converts the index of a partition or an offset to the signed type of librdkafka.
fn to_kafka_number<T, U: TryFrom<T>>(number: T) -> Result<U> {
    U::try_from(number).map_err(|_| {
        kafka_error(
            ErrorKind::Invalid,
            "the partition or offset is out of kafka's range",
        )
        .with_source(RDKafkaErrorCode::InvalidArgument)
    })
}

/// Returns the positions at `next_offsets`, which are keyed by partition, with leader epochs where they are known.
///
/// By the leader epoch, the next member that seeks to its position notices that an unclean election has replaced records
/// before the position. Only librdkafka's own list of positions carries epochs. The epoch there is that of the last record
/// that was read, so it is at least as new as the committed record, but it is wrong for an offset that was not reached by
/// reading.
fn offsets_to_commit(
    consumer: &Consumer,
    topic: &str,
    mut next_offsets: BTreeMap<i32, i64>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = consumer.position()?;
    for mut element in list.elements() {
        let mut offset_to_commit = Offset::Invalid;
        if let Offset::Offset(read_end) = element.offset()
            && let Some(next_offset) = next_offsets.get(&element.partition())
            && read_end >= *next_offset
        {
            offset_to_commit = Offset::Offset(*next_offset);
            next_offsets.remove(&element.partition());
        }
        // An element without an offset is not committed.
        element.set_offset(offset_to_commit)?;
    }

    for (partition, next_offset) in next_offsets {
        list.add_partition(topic, partition)
            .set_offset(Offset::Offset(next_offset))?;
    }
    Ok(list)
}

/// Returns the consumer lag of a partition in records, or `None` if the end of the partition is unknown.
///
/// `delivered_end` is the offset after the last delivered record of the partition.
fn consumer_lag(partition: &PartitionStatistics, delivered_end: Option<i64>) -> Option<u64> {
    if partition.hi_offset < 0 {
        return None;
    }
    let committed = partition.committed_offset;
    let position = if committed < 0 {
        // Without a committed offset, the lag is the whole partition: the group starts at its first record.
        partition.lo_offset.max(0)
    } else if delivered_end > Some(committed) {
        committed
    } else {
        // Every delivered record is committed. The offsets that were passed after the last one are not records.
        committed.max(partition.app_offset)
    };
    Some(unsigned(partition.hi_offset - position))
}
