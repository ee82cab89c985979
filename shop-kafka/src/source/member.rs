//! The state of a group member: the owned partitions, the consumer to commit with, and the lag.
//!
//! | thread | access |
//! |---|---|
//! | reader thread | takes and releases ownership of partitions, marks records as delivered |
//! | reader thread, within a poll | replaces the lag whenever librdkafka emits statistics |
//! | a thread of the runtime's blocking pool | commits positions |
//! | callers of the source | read the lag |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Partition as PartitionStatistics;
use rdkafka::{Offset, Statistics, TopicPartitionList};
use shop_core::log::{CommitOffset, CommitOutcome, Lag, Partition};
use shop_core::{ErrorKind, Outcome, Result};

use super::queue::EventQueue;
use crate::client::{Context, StatisticsHandler, create_client, lock};
use crate::config;
use crate::error::{from_kafka, kafka_error};
use crate::number::{int32, unsigned};
use crate::shared::KafkaLogInner;

/// librdkafka's consumer, through which one membership polls, commits and makes requests.
pub(super) type Consumer = BaseConsumer<Context<Arc<Member>>>;

/// The state of a group member. It outlives the memberships: when one ends by an error, the member
/// joins the group again with a new consumer.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) log: Arc<KafkaLogInner>,
    /// The name of the consumer group.
    pub(super) group: String,
    /// The events that the callers of the source receive.
    pub(super) queue: EventQueue,
    /// The owned partitions, by index.
    owned: Mutex<BTreeMap<u32, Ownership>>,
    /// The consumer of the present membership, to commit with. It is dead while the member is
    /// between two memberships.
    ///
    /// The lock is held during a commit, and while ownership is given up. Kafka numbers the rounds
    /// of assignments of a group, the generations, and rejects a commit of an earlier generation.
    /// librdkafka stamps a commit with the generation that is current when it sends the request,
    /// not with the one in which the records were read. So Kafka would accept the commit of a
    /// partition that is given up between the check of its ownership and the request.
    pub(super) commit_consumer: Mutex<Weak<Consumer>>,
    /// The group's lag by partition, from the latest statistics.
    lag: Mutex<BTreeMap<u32, u64>>,
    /// The last stable offset of each partition with an open transaction, from the latest
    /// statistics.
    stable_offsets: Mutex<BTreeMap<u32, StableOffset>>,
    /// Whether partitions were assigned since the reader thread last paused them.
    pub(super) assigned_since_pause: AtomicBool,
    /// Whether partitions were assigned since the reader thread last compared committed positions
    /// with the log.
    pub(super) assigned_since_check: AtomicBool,
    /// The id of the topic that this membership reads, once it is known. The reader thread resets
    /// it when a membership begins to read.
    pub(super) topic_id: Mutex<Option<Arc<str>>>,
}

/// The ownership of one partition.
#[derive(Debug, Clone)]
struct Ownership {
    /// The partition, in the epoch of this ownership.
    ///
    /// Each time that the member takes ownership of a partition, it does so in a new epoch, which
    /// is greater than all earlier ones. The epoch tells the present ownership from an earlier one
    /// of the same partition. It is not Kafka's leader epoch.
    partition: Partition,
    /// The offset after the last record that was polled in this epoch, or `None` if none was.
    delivered_end: Option<i64>,
}

/// The last stable offset of a partition: the offset of the first record of the oldest open
/// transaction.
///
/// Records from this offset on cannot be read before the transaction ends.
#[derive(Debug)]
struct StableOffset {
    offset: i64,
    /// The time of the first statistics with this offset. The transaction is open at least since
    /// then.
    unmoved_since: Instant,
}

impl Member {
    /// Creates a member of `group` without partitions and without a consumer.
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

    /// Returns the id of the topic that this membership reads, or `None` if the brokers stated no
    /// id yet.
    ///
    /// Keeps the first id that is known in the membership. If the topic is created again,
    /// [`ClientHealth`](crate::client::ClientHealth) knows the id of the new topic at once, but the
    /// records and positions of this membership belong to the earlier one.
    pub(super) fn topic_id(&self) -> Option<Arc<str>> {
        let mut topic_id = lock(&self.topic_id);
        if topic_id.is_none() {
            *topic_id = self.log.health.topic_id(&self.log.topic.name);
        }
        topic_id.clone()
    }

    /// Sets the metadata of `positions`, which are committed next, to the id of the topic. Leaves
    /// the metadata empty if the id is not known.
    ///
    /// The next membership reads the metadata with the committed position. A topic that is created
    /// again under the same name contains other records at the same offsets. The id shows that a
    /// position belongs to the earlier topic.
    pub(super) fn add_topic_id(&self, positions: &mut TopicPartitionList) {
        if let Some(topic_id) = self.topic_id() {
            for mut position in positions.elements() {
                position.set_metadata(&*topic_id);
            }
        }
    }

    /// Creates a consumer for the next membership, which commits go through from now on. The
    /// consumer is not in the group yet.
    ///
    /// # Errors
    /// If librdkafka rejects the options.
    pub(super) fn create_consumer(member: &Arc<Self>) -> Result<Arc<Consumer>> {
        let log = &member.log;
        let config = config::consumer(&log.options, &member.group);
        let consumer = Arc::new(create_client(&config, &log.health, Arc::clone(member))?);
        // The reference is weak, because the reader thread leaves the group by dropping the
        // consumer.
        *lock(&member.commit_consumer) = Arc::downgrade(&consumer);
        Ok(consumer)
    }

    /// Marks the polled record at `offset` of partition `index` as delivered. The lag depends on
    /// the last delivered record.
    ///
    /// Returns the partition in its present epoch. Returns `None` and marks nothing if the member
    /// does not own the partition.
    pub(super) fn mark_delivered(&self, index: u32, offset: i64) -> Option<Partition> {
        let mut owned = lock(&self.owned);
        let ownership = owned.get_mut(&index)?;
        ownership.delivered_end = Some(offset + 1);
        Some(ownership.partition.clone())
    }

    /// Takes ownership of the partitions at `indices` in a new epoch, and returns the epoch.
    ///
    /// Sets two flags for the reader thread, which then pauses the new partitions if the queue is
    /// full, and compares their committed positions with the log.
    pub(super) fn take_ownership(&self, indices: &[u32]) -> u64 {
        let epoch = self.log.next_epoch();
        // The id of the cluster is known: the reader thread waits for the id before it joins the
        // group.
        let cluster = self.log.monitor.cluster().unwrap_or_default();
        let mut owned = lock(&self.owned);
        for index in indices {
            let topic = Arc::clone(&self.log.topic.name);
            let ownership = Ownership {
                partition: Partition::new(Arc::clone(&cluster), topic, *index, epoch),
                delivered_end: None,
            };
            owned.insert(*index, ownership);
        }
        drop(owned);

        self.assigned_since_pause.store(true, Ordering::Release);
        self.assigned_since_check.store(true, Ordering::Release);
        epoch
    }

    /// Returns the partitions that this member owns now, each in its present epoch.
    pub(super) fn owned_partitions(&self) -> Vec<Partition> {
        lock(&self.owned)
            .values()
            .map(|ownership| ownership.partition.clone())
            .collect()
    }

    /// Returns the group's lag and the open transactions in the owned partitions, as of
    /// librdkafka's latest statistics.
    pub(super) fn lag(&self) -> Lag {
        let owned = lock(&self.owned).clone();
        // A partition may have been given up since the statistics.
        let mut unread_counts = lock(&self.lag).clone();
        unread_counts.retain(|index, _| owned.contains_key(index));
        let mut lag = Lag::new(
            Arc::clone(&self.log.topic.name),
            self.group.clone(),
            unread_counts,
        );

        for (index, stable) in lock(&self.stable_offsets).iter() {
            if owned.contains_key(index) {
                lag.open_transactions.insert(*index, stable.unmoved_since);
            }
        }
        lag
    }

    /// Gives up ownership of `partitions`. From now on, commits of their epochs return
    /// [`CommitOutcome::Fenced`], which means that the position is not moved.
    ///
    /// Blocks until the brokers respond to a commit in flight, because the commit relies on the
    /// ownership.
    pub(super) fn release_ownership(&self, partitions: &[Partition]) {
        let _commit_lock = lock(&self.commit_consumer);
        let mut owned = lock(&self.owned);
        for partition in partitions {
            // A partition that was taken again in a later epoch stays owned.
            let ownership = owned.get(&partition.index);
            if ownership.is_some_and(|ownership| ownership.partition.epoch == partition.epoch) {
                owned.remove(&partition.index);
            }
        }
    }

    /// Commits each of the `positions` whose partition this member owns, and blocks until the
    /// brokers respond.
    ///
    /// Returns one outcome for each position, in the same order. A position whose partition this
    /// member does not own in the position's epoch is not committed: its outcome is
    /// [`CommitOutcome::Fenced`].
    ///
    /// # Errors
    /// - [`ErrorKind::Internal`] if an offset is out of Kafka's range
    /// - [`ErrorKind::Unavailable`] if the member is between two memberships, or lost its
    ///   partitions
    /// - an error of librdkafka or of the brokers
    pub(super) fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        // The lock is held until the brokers respond, so that no partition is given up between the
        // check of its ownership and the response.
        let commit_consumer = lock(&self.commit_consumer);
        let mut outcomes = Vec::with_capacity(positions.len());
        let mut next_offsets = BTreeMap::new();
        for position in positions {
            if self.owns(&position.partition) {
                let next_offset = i64::try_from(position.next_offset).map_err(|_out_of_range| {
                    let message = "the partition or offset is out of kafka's range";
                    kafka_error(ErrorKind::Internal, message)
                        .with_source(RDKafkaErrorCode::InvalidArgument)
                })?;
                next_offsets.insert(int32(position.partition.index), next_offset);
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
        // The group removed this member. The commit must not be sent: librdkafka would send it
        // without a membership, and Kafka accepts such a commit in a group without members. The
        // error asks for a retry, which is fenced after the next poll of the reader thread has
        // given up the partitions.
        if consumer.assignment_lost() {
            return Err(kafka_error(
                ErrorKind::Unavailable,
                "this member has lost its partitions",
            )
            .with_outcome(Outcome::NotApplied));
        }

        let mut list =
            offsets_to_commit(&consumer, &self.log.topic.name, next_offsets).map_err(from_kafka)?;
        self.add_topic_id(&mut list);
        // Kafka rejects the commit if a rebalance has begun a new generation. The rejection is
        // returned as an error and not as the outcome `Fenced`: in a cooperative rebalance, this
        // member may keep the partitions, and a retry in the new generation succeeds. If the member
        // gives the partitions up, the retry is fenced.
        consumer
            .commit(&list, CommitMode::Sync)
            .map_err(from_kafka)?;
        Ok(outcomes)
    }

    /// Returns whether this member owns `partition` now, in the epoch that `partition` names.
    pub(super) fn owns(&self, partition: &Partition) -> bool {
        *partition.topic == *self.log.topic.name
            && lock(&self.owned)
                .get(&partition.index)
                .is_some_and(|ownership| ownership.partition.epoch == partition.epoch)
    }
}

impl StatisticsHandler for Arc<Member> {
    /// Replaces the lag and the open transactions of this member by those in librdkafka's latest
    /// `statistics`.
    ///
    /// The statistics name the high watermark of a partition, the offset after its newest record,
    /// `hi_offset`. The last stable offset, `ls_offset`, is before the high watermark while a
    /// transaction is open, and does not move until the transaction ends. So the time since the
    /// last stable offset moved shows the age of the transaction.
    fn update_statistics(&self, statistics: &Statistics) {
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
            // librdkafka lists an internal partition -1, for records that are not assigned to a
            // partition yet.
            let Ok(index) = u32::try_from(partition.partition) else {
                continue;
            };
            let delivered_end = owned
                .get(&index)
                .and_then(|ownership| ownership.delivered_end);
            if let Some(unread_count) = consumer_lag(partition, delivered_end) {
                lag.insert(index, unread_count);
            }

            // A negative offset is unknown. At the high watermark, no transaction is open.
            let last_stable_offset = partition.ls_offset;
            if (0..partition.hi_offset).contains(&last_stable_offset) {
                let unmoved_since = match stable_offsets.get(&index) {
                    Some(previous) if previous.offset == last_stable_offset => {
                        previous.unmoved_since
                    }
                    // The offset moved, or is in the statistics for the first time.
                    _ => now,
                };
                new_stable_offsets.insert(
                    index,
                    StableOffset {
                        offset: last_stable_offset,
                        unmoved_since,
                    },
                );
            }
        }

        *lock(&self.lag) = lag;
        *stable_offsets = new_stable_offsets;
    }
}

/// Creates librdkafka's list of the positions to commit, with leader epochs where they are known.
///
/// `next_offsets` are the positions by the index of the partition.
///
/// The leader epoch of a position tells which leader wrote the last record before it. A member that
/// later seeks to the position notices by the epoch if an unclean election replaced records before
/// the position, see
/// [`Membership::seek_to_committed`](super::membership::Membership::seek_to_committed).
///
/// rdkafka provides no call that sets a leader epoch. Only the list of the consumer's own read
/// positions carries epochs, so the offsets in this list are replaced by the offsets to commit. The
/// epoch there belongs to the last record that was read. It suits each position up to the one right
/// after this record, but not a later position.
fn offsets_to_commit(
    consumer: &Consumer,
    topic: &str,
    mut next_offsets: BTreeMap<i32, i64>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = consumer.position()?;
    for mut element in list.elements() {
        // librdkafka does not commit an element without a valid offset.
        let mut offset_to_commit = Offset::Invalid;
        if let Offset::Offset(read_end) = element.offset()
            && let Some(next_offset) = next_offsets.get(&element.partition())
            && read_end >= *next_offset
        {
            offset_to_commit = Offset::Offset(*next_offset);
            next_offsets.remove(&element.partition());
        }
        element.set_offset(offset_to_commit)?;
    }

    // The remaining positions are committed without a leader epoch.
    for (partition, next_offset) in next_offsets {
        list.add_partition(topic, partition)
            .set_offset(Offset::Offset(next_offset))?;
    }
    Ok(list)
}

/// Returns the group's lag in a partition: the number of offsets from the committed position to the
/// high watermark, which is the offset after the newest record. Returns `None` if the high
/// watermark is unknown.
///
/// `delivered_end` is the offset after the last record that was delivered to this member, if there
/// is one. If all delivered records are committed, the lag leaves out the offsets of transaction
/// markers and aborted records that were passed since.
fn consumer_lag(partition: &PartitionStatistics, delivered_end: Option<i64>) -> Option<u64> {
    // Negative offsets in the statistics are unknown.
    if partition.hi_offset < 0 {
        return None;
    }
    let committed = partition.committed_offset;
    let position = if committed < 0 {
        // The group committed nothing and starts at the oldest record, so the lag is the whole
        // partition.
        partition.lo_offset.max(0)
    } else if delivered_end > Some(committed) {
        committed
    } else {
        // Every delivered record is committed. `app_offset`, the position of the consumer, may be
        // after the last record: the offsets in between belong to no record that is delivered.
        committed.max(partition.app_offset)
    };
    Some(unsigned(partition.hi_offset - position))
}
