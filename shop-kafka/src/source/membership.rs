//! The values that positions of a group are compared with.

use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use shop_core::Result;
use shop_core::log::Partition;

use super::member::{Consumer, Member};
use crate::client::is_of_other_topic;
use crate::error::from_kafka;
use crate::number::int32;

/// The committed position of a partition.
#[derive(Debug, Clone, Default)]
pub(super) struct Committed {
    pub(super) offset: i64,
    /// Whether it is a position in an earlier topic of this name.
    pub(super) is_of_earlier_topic: bool,
    /// The position as the brokers have returned it: with the epoch of the leader, which cannot be read here.
    list: TopicPartitionList,
}

impl Committed {
    pub(super) fn new(offset: i64, is_of_earlier_topic: bool) -> Self {
        Self {
            offset,
            is_of_earlier_topic,
            list: TopicPartitionList::new(),
        }
    }
}

/// A membership in a group, and what it learns from the brokers.
pub(super) trait Membership {
    /// The name of the group.
    fn group(&self) -> &str;

    /// Returns partition `index` with `epoch`; `None` while nothing was delivered.
    fn partition(&self, index: u32, epoch: u64) -> Option<Partition>;

    /// Returns the group's committed position; `None` if it has none.
    fn committed(&self, index: u32, timeout: Duration) -> Result<Option<Committed>>;

    /// Reads on at the committed position, or, if the log was cut before it, where it was cut.
    ///
    /// The position has the epoch of the leader that it was read from. librdkafka asks the present leader where that
    /// epoch ends when a consumer seeks. It does not ask when a consumer starts at a position: there, what was written
    /// after an unclean election would be skipped up to the position
    /// (<https://cwiki.apache.org/confluence/display/KAFKA/KIP-320>). A position without an epoch is not checked.
    fn seek_to_committed(&self, committed: &Committed, timeout: Duration) -> Result<()>;

    /// Whether the id of the topic is known: a topic that was created again is then noticed by its id.
    fn knows_topic_id(&self) -> bool;

    /// Continues to read at `offset`.
    fn seek(&self, index: u32, offset: i64, timeout: Duration) -> Result<()>;

    /// Returns the low and the high watermark of a partition.
    fn watermarks(&self, index: u32, timeout: Duration) -> Result<(i64, i64)>;

    /// Commits the position of a group that has none, without waiting for the response.
    fn commit_start(&self, index: u32, low: i64) -> Result<()>;

    /// Waits for `time`, or until the source is closed.
    fn pause(&self, time: Duration);
}

impl Membership for (&Member, &Consumer) {
    fn group(&self) -> &str {
        &self.0.group
    }

    fn partition(&self, index: u32, epoch: u64) -> Option<Partition> {
        self.0.partition(index, epoch)
    }

    fn committed(&self, index: u32, timeout: Duration) -> Result<Option<Committed>> {
        let (member, consumer) = self;
        let mut list = TopicPartitionList::new();
        list.add_partition(&member.log.topic.name, int32(index));
        let list = consumer
            .committed_offsets(list, timeout)
            .map_err(from_kafka)?;
        let mut committed = None;
        for element in list.elements() {
            element.error().map_err(from_kafka)?;
            if let Offset::Offset(offset) = element.offset() {
                let id = member.topic_id();
                let is_of_earlier_topic = is_of_other_topic(element.metadata(), id.as_ref());
                committed = Some(Committed::new(offset, is_of_earlier_topic));
            }
        }
        Ok(committed.map(|committed| Committed { list, ..committed }))
    }

    fn seek_to_committed(&self, committed: &Committed, timeout: Duration) -> Result<()> {
        let (_, consumer) = self;
        let sought = consumer
            .seek_partitions(committed.list.clone(), timeout)
            .map_err(from_kafka)?;
        for element in sought.elements() {
            element.error().map_err(from_kafka)?;
        }
        Ok(())
    }

    fn knows_topic_id(&self) -> bool {
        self.0.topic_id().is_some()
    }

    fn seek(&self, index: u32, offset: i64, timeout: Duration) -> Result<()> {
        let (member, consumer) = self;
        let offset = Offset::Offset(offset);
        consumer
            .seek(&member.log.topic.name, int32(index), offset, timeout)
            .map_err(from_kafka)
    }

    fn watermarks(&self, index: u32, timeout: Duration) -> Result<(i64, i64)> {
        let (member, consumer) = self;
        consumer
            .fetch_watermarks(&member.log.topic.name, int32(index), timeout)
            .map_err(from_kafka)
    }

    fn commit_start(&self, index: u32, low: i64) -> Result<()> {
        let (member, consumer) = self;
        let mut list = TopicPartitionList::new();
        let topic = &member.log.topic.name;
        list.add_partition_offset(topic, int32(index), Offset::Offset(low))
            .map_err(from_kafka)?;
        member.state_topic_id(&mut list);
        consumer
            .commit(&list, CommitMode::Async)
            .map_err(from_kafka)
    }

    fn pause(&self, time: Duration) {
        self.0.queue.wait_for_close(time);
    }
}
