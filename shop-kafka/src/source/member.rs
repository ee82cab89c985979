//! What a member owns, and what it commits.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use shop_core::log::{CommitOffset, CommitOutcome, Lag, Partition};
use shop_core::{Error, ErrorKind, Outcome, Result};

use super::queue::EventQueue;
use crate::client::{Context, OnStatistics, lock};
use crate::error::{from_kafka, is_fencing, kafka_error};
use crate::log::Shared;
use crate::statistics::lag;
use crate::{KafkaStatistics, config};

pub(super) type Consumer = BaseConsumer<Context<Arc<Member>>>;

pub(super) struct Member {
    pub(super) log: Arc<Shared>,
    pub(super) group: String,
    pub(super) inbox: EventQueue,
    /// The partitions of this member, each with its epoch.
    owned: Mutex<BTreeMap<u32, u64>>,
    /// The consumer to commit with. The lock is held during a commit: librdkafka commits in the name of the
    /// membership as it is when the request leaves, so a partition must not change hands in between.
    committing: Mutex<Weak<Consumer>>,
    /// How far the group is behind in each partition that the statistics have spoken of last.
    lag: Mutex<BTreeMap<u32, u64>>,
    /// Partitions were assigned since the reading thread has looked.
    pub(super) assigned: AtomicBool,
}

impl Member {
    pub(super) fn new(log: Arc<Shared>, group: &str) -> Self {
        let inbox = EventQueue::new(log.options.batch_bytes);
        Self {
            log,
            group: group.to_owned(),
            inbox,
            owned: Mutex::default(),
            committing: Mutex::default(),
            lag: Mutex::default(),
            assigned: AtomicBool::new(false),
        }
    }

    /// A consumer that is not a member yet.
    pub(super) fn make_consumer(member: &Arc<Self>) -> Result<Arc<Consumer>> {
        let options = &member.log.options;
        let (telling, observer) = (Arc::downgrade(member), options.statistics.clone());
        let tell: OnStatistics = Box::new(move |statistics| {
            let Some(member) = telling.upgrade() else { return };
            let topic = &member.log.options.topic;
            *lock(&member.lag) = lag(statistics, topic);
            if let Some(observer) = &observer {
                observer.observe(&KafkaStatistics::from_consumer(statistics, topic, &member.group));
            }
        });
        let context = Context::new(Arc::clone(&member.log.health), Some(tell), Arc::clone(member));
        let config = config::consumer(options, &member.group);
        let consumer = Arc::new(Consumer::from_config_and_context(&config, context).map_err(from_kafka)?);
        *lock(&member.committing) = Arc::downgrade(&consumer);
        Ok(consumer)
    }

    /// Waits for a commit that is on its way, and lets no further one use the consumer.
    pub(super) fn end_commits(&self) {
        *lock(&self.committing) = Weak::new();
    }

    /// The epoch in which partition `index` is owned now.
    pub(super) fn epoch(&self, index: u32) -> Option<u64> {
        lock(&self.owned).get(&index).copied()
    }

    /// Partition `index` in `epoch`; `None` before the cluster's id is known, when nothing was handed over.
    pub(super) fn partition(&self, index: u32, epoch: u64) -> Option<Partition> {
        let cluster = self.log.monitor.cluster()?;
        Some(Partition::new(cluster, Arc::clone(&self.log.topic.name), index, epoch))
    }

    pub(super) fn own(&self, indices: impl Iterator<Item = u32>) {
        let epoch = self.log.next_epoch();
        lock(&self.owned).extend(indices.map(|index| (index, epoch)));
        self.assigned.store(true, Ordering::Release);
    }

    /// The partitions that are owned, with their epochs.
    pub(super) fn owned(&self) -> Vec<(u32, u64)> {
        lock(&self.owned).iter().map(|(index, epoch)| (*index, *epoch)).collect()
    }

    /// How far the group is behind in the partitions that are owned.
    pub(super) fn lag(&self) -> Lag {
        let owned = lock(&self.owned).clone();
        let mut records = lock(&self.lag).clone();
        records.retain(|index, _| owned.contains_key(index));
        Lag::new(Arc::clone(&self.log.topic.name), self.group.clone(), records)
    }

    /// Owns `partitions` no more: their commits are fenced from here on. Waits for one that is on its way.
    pub(super) fn disown(&self, partitions: &[(u32, u64)]) {
        let _no_commit = lock(&self.committing);
        let mut owned = lock(&self.owned);
        for (index, epoch) in partitions {
            if owned.get(index) == Some(epoch) {
                owned.remove(index);
            }
        }
    }

    /// Commits those of `positions` that are owned. Blocks until the brokers have answered.
    pub(super) fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        let committing = lock(&self.committing);
        let outcomes: Vec<_> = positions.iter().map(|position| self.outcome(position)).collect();
        let mut list = TopicPartitionList::new();
        for (position, outcome) in positions.iter().zip(&outcomes) {
            if *outcome == CommitOutcome::Committed {
                add(&mut list, position)?;
            }
        }
        if list.count() == 0 {
            return Ok(outcomes);
        }
        let Some(consumer) = committing.upgrade() else {
            return Err(kafka_error(ErrorKind::Unavailable, "this member is just joining its group anew"));
        };
        // librdkafka would send it without a membership, which a group that has no other member takes.
        if consumer.assignment_lost() {
            return Err(lost());
        }
        let Err(error) = consumer.commit(&list, CommitMode::Sync) else { return Ok(outcomes) };
        if error.rdkafka_error_code().is_some_and(is_fencing) {
            // Not the word that it is fenced: in a cooperative rebalance a commit can meet the generation's
            // change, and its partitions stay. Whether they do, the rebalance says; until then asking again is
            // right.
            tracing::debug!(%error, "a commit met a change of the group");
        }
        Err(from_kafka(error))
    }

    fn outcome(&self, position: &CommitOffset) -> CommitOutcome {
        let CommitOffset { partition, .. } = position;
        let is_ours =
            *partition.topic == *self.log.topic.name && self.epoch(partition.index) == Some(partition.epoch);
        if is_ours { CommitOutcome::Committed } else { CommitOutcome::Fenced }
    }
}

/// Nobody has been told yet; from then on, commits are fenced.
fn lost() -> Error {
    kafka_error(ErrorKind::Unavailable, "this member has just lost its partitions")
        .with_outcome(Outcome::NotApplied)
}

fn add(list: &mut TopicPartitionList, position: &CommitOffset) -> Result<()> {
    let CommitOffset { partition, next_offset: next, .. } = position;
    let invalid = |_| {
        kafka_error(ErrorKind::Invalid, "no partition and no offset of kafka has such a number")
            .with_source(RDKafkaErrorCode::InvalidArgument)
    };
    let index = i32::try_from(partition.index).map_err(invalid)?;
    let next = i64::try_from(*next).map_err(invalid)?;
    list.add_partition_offset(&partition.topic, index, Offset::Offset(next)).map_err(from_kafka)
}

impl Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("group", &self.group)
            .field("inbox", &self.inbox)
            .field("owned", &self.owned)
            .finish_non_exhaustive()
    }
}
