//! The state of a group member: owned partitions, commits and lag.

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

use super::queue::EventQueue;
use crate::client::{Context, State, lock};
use crate::config;
use crate::error::{from_kafka, kafka_error};
use crate::number::unsigned;
use crate::shared::Shared;

pub(super) type Consumer = BaseConsumer<Context<Arc<Member>>>;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) log: Arc<Shared>,
    pub(super) group: String,
    pub(super) queue: EventQueue,
    /// The owned partitions, each with its epoch, and the offset after the last record that the reader thread has taken.
    owned: Mutex<BTreeMap<u32, (u64, Option<i64>)>>,
    /// The consumer to commit with. The lock is held during a commit: librdkafka uses the generation that is current
    /// when it sends the request, so the owned partitions must not change in between.
    pub(super) committing: Mutex<Weak<Consumer>>,
    /// The group's lag by partition, from the latest statistics.
    lag: Mutex<BTreeMap<u32, u64>>,
    /// Per partition that has records behind it, the last stable offset, and since when it has not moved.
    unstable: Mutex<BTreeMap<u32, (i64, Instant)>>,
    /// Whether partitions were assigned since the reader thread last paused them.
    pub(super) assigned: AtomicBool,
    /// Whether partitions were assigned since the reader thread last compared their positions with the log.
    pub(super) unchecked: AtomicBool,
    /// The id of the topic that is read, if the brokers state it.
    pub(super) topic_id: Mutex<Option<Arc<str>>>,
}

impl Member {
    pub(super) fn new(log: Arc<Shared>, group: &str) -> Self {
        let queue = EventQueue::new(log.options.batch_bytes);
        Self {
            log,
            group: group.to_owned(),
            queue,
            owned: Mutex::default(),
            committing: Mutex::default(),
            lag: Mutex::default(),
            unstable: Mutex::default(),
            assigned: AtomicBool::new(false),
            unchecked: AtomicBool::new(false),
            topic_id: Mutex::default(),
        }
    }

    /// The id that was known first in this membership: another one ends it.
    pub(super) fn topic_id(&self) -> Option<Arc<str>> {
        let mut id = lock(&self.topic_id);
        *id = id
            .take()
            .or_else(|| self.log.health.topic_id(&self.log.topic.name));
        id.clone()
    }

    /// Commits the positions with the id of their topic: another one of its name has other records at the same offsets.
    pub(super) fn state_topic_id(&self, list: &mut TopicPartitionList) {
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
        let consumer =
            Arc::new(Consumer::from_config_and_context(&config, context).map_err(from_kafka)?);
        *lock(&member.committing) = Arc::downgrade(&consumer);
        Ok(consumer)
    }

    /// Returns the epoch of partition `index`; `None` if it is not owned.
    pub(super) fn epoch(&self, index: u32) -> Option<u64> {
        lock(&self.owned).get(&index).map(|(epoch, _)| *epoch)
    }

    /// Notes that the reader thread takes the record at `offset`. Returns the epoch; `None` if the partition is not
    /// owned.
    pub(super) fn deliver(&self, index: u32, offset: i64) -> Option<u64> {
        let mut owned = lock(&self.owned);
        let (epoch, delivered) = owned.get_mut(&index)?;
        *delivered = Some(offset + 1);
        Some(*epoch)
    }

    /// Returns partition `index` with `epoch`; `None` while the cluster's id is unknown and nothing was delivered.
    pub(super) fn partition(&self, index: u32, epoch: u64) -> Option<Partition> {
        let cluster = self.log.monitor.cluster().ok()?;
        Some(Partition::new(
            cluster,
            Arc::clone(&self.log.topic.name),
            index,
            epoch,
        ))
    }

    /// Takes ownership of partitions. Returns their epoch.
    pub(super) fn own(&self, indices: impl Iterator<Item = u32>) -> u64 {
        let epoch = self.log.next_epoch();
        lock(&self.owned).extend(indices.map(|index| (index, (epoch, None))));
        self.assigned.store(true, Ordering::Release);
        self.unchecked.store(true, Ordering::Release);
        epoch
    }

    /// Returns the owned partitions, with their epochs.
    pub(super) fn owned(&self) -> Vec<(u32, u64)> {
        lock(&self.owned)
            .iter()
            .map(|(index, (epoch, _))| (*index, *epoch))
            .collect()
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
        let unstable = lock(&self.unstable)
            .clone()
            .into_iter()
            .filter(|(index, _)| owned.contains_key(index));
        lag.open_transactions = unstable.map(|(index, (_, since))| (index, since)).collect();
        lag
    }

    /// Gives up ownership of `partitions`: their commits are fenced from now on. Waits for a commit in flight.
    pub(super) fn disown(&self, partitions: &[(u32, u64)]) {
        let _no_commit = lock(&self.committing);
        let mut owned = lock(&self.owned);
        for (index, epoch) in partitions {
            if owned.get(index).is_some_and(|(owned, _)| owned == epoch) {
                owned.remove(index);
            }
        }
    }

    /// Commits the `positions` in owned partitions. Blocks until the brokers have responded.
    pub(super) fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        let committing = lock(&self.committing);
        let mut outcomes = Vec::with_capacity(positions.len());
        let mut next = BTreeMap::new();
        for position in positions {
            if self.owns(&position.partition) {
                let (partition, offset) = signed(position)?;
                next.insert(partition, offset);
                outcomes.push(CommitOutcome::Committed);
            } else {
                outcomes.push(CommitOutcome::Fenced);
            }
        }
        if next.is_empty() {
            return Ok(outcomes);
        }
        let Some(consumer) = committing.upgrade() else {
            return Err(kafka_error(
                ErrorKind::Unavailable,
                "this member is rejoining its group",
            ));
        };
        // librdkafka would commit without a membership, which a group without other members accepts.
        if consumer.assignment_lost() {
            // The revocation has not been delivered yet. After it, commits are fenced.
            let lost = kafka_error(
                ErrorKind::Unavailable,
                "this member has lost its partitions",
            );
            return Err(lost.with_outcome(Outcome::NotApplied));
        }
        let mut list = to_commit(&consumer, &self.log.topic.name, next).map_err(from_kafka)?;
        self.state_topic_id(&mut list);
        // An error of the generation is not reported as fenced: in a cooperative rebalance it can change during a commit
        // while the partitions stay assigned. Until the rebalance has decided, a retry is right.
        consumer
            .commit(&list, CommitMode::Sync)
            .map_err(from_kafka)?;
        Ok(outcomes)
    }

    /// Whether this member owns a partition in its epoch.
    fn owns(&self, partition: &Partition) -> bool {
        *partition.topic == *self.log.topic.name
            && self.epoch(partition.index) == Some(partition.epoch)
    }
}

impl State for Arc<Member> {
    /// Keeps what the statistics say of the topic.
    fn note_statistics(&self, statistics: &Statistics) {
        let owned = lock(&self.owned).clone();
        let mut known = lock(&self.unstable);
        let now = Instant::now();
        let mut lag = BTreeMap::new();
        let mut unstable = BTreeMap::new();
        let topic = statistics.topics.get(&self.log.options.topic);
        for partition in topic
            .into_iter()
            .flat_map(|topic| topic.partitions.values())
        {
            // -1 is librdkafka's internal partition for records without one.
            let Ok(index) = u32::try_from(partition.partition) else {
                continue;
            };
            let delivered = owned.get(&index).and_then(|(_, next)| *next);
            if let Some(records) = lag_of(partition, delivered) {
                lag.insert(index, records);
            }
            // The last stable offset, if there are records behind it.
            let stable = partition.ls_offset;
            if (0..partition.hi_offset).contains(&stable) {
                let unmoved = known.get(&index).filter(|(before, _)| *before == stable);
                let since = unmoved.map_or(now, |(_, since)| *since);
                unstable.insert(index, (stable, since));
            }
        }
        *lock(&self.lag) = lag;
        *known = unstable;
    }
}

/// The partition and the offset of a position.
fn signed(
    CommitOffset {
        partition,
        next_offset,
        ..
    }: &CommitOffset,
) -> Result<(i32, i64)> {
    let invalid = |_| {
        kafka_error(
            ErrorKind::Invalid,
            "the partition or offset is out of kafka's range",
        )
        .with_source(RDKafkaErrorCode::InvalidArgument)
    };
    Ok((
        i32::try_from(partition.index).map_err(invalid)?,
        i64::try_from(*next_offset).map_err(invalid)?,
    ))
}

/// The `next` offsets by partition, with the epoch of the leader. By it, the next member that seeks to its position
/// notices that an unclean election has replaced records before it. Only librdkafka's list of positions has epochs: that
/// of the last record that was read, which is at least as new. It is wrong for an offset that was not reached by
/// reading.
fn to_commit(
    consumer: &Consumer,
    topic: &str,
    mut next: BTreeMap<i32, i64>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = consumer.position()?;
    for mut element in list.elements() {
        let is_read =
            |next: &i64| matches!(element.offset(), Offset::Offset(read) if read >= *next);
        let reached = next.get(&element.partition()).copied().filter(is_read);
        if reached.is_some() {
            next.remove(&element.partition());
        }
        // An element without an offset is not committed.
        element.set_offset(reached.map_or(Offset::Invalid, Offset::Offset))?;
    }
    for (partition, offset) in next {
        list.add_partition(topic, partition)
            .set_offset(Offset::Offset(offset))?;
    }
    Ok(list)
}

/// Returns the consumer lag of a partition, if it is known. `delivered` is the offset after the last record of the
/// partition that was delivered, if there is one.
fn lag_of(partition: &PartitionStatistics, delivered: Option<i64>) -> Option<u64> {
    let PartitionStatistics {
        committed_offset,
        app_offset,
        hi_offset,
        lo_offset,
        ..
    } = *partition;
    let position = if committed_offset < 0 {
        // Without a committed offset, the lag is the whole partition: the group starts at its first record.
        lo_offset.max(0)
    } else if delivered.is_none_or(|next| next <= committed_offset) {
        // Every delivered record is committed. What was passed behind them is no record.
        committed_offset.max(app_offset)
    } else {
        committed_offset
    };
    (hi_offset >= 0).then(|| unsigned(hi_offset - position))
}
