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

/// A membership in a group, and what it learns from the brokers.
pub(super) trait Membership {
    /// The name of the group.
    fn group(&self) -> &str;

    /// Returns partition `index` with `epoch`; `None` while nothing was delivered.
    fn partition(&self, index: u32, epoch: u64) -> Option<Partition>;

    /// Returns the group's committed position, and whether it is one of an earlier topic of this name; `None` if it has
    /// none.
    fn committed(&self, index: u32, timeout: Duration) -> Result<Option<(i64, bool)>>;

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

    fn committed(&self, index: u32, timeout: Duration) -> Result<Option<(i64, bool)>> {
        let (member, consumer) = self;
        let mut list = TopicPartitionList::new();
        list.add_partition(&member.log.topic.name, int32(index));
        let found = consumer
            .committed_offsets(list, timeout)
            .map_err(from_kafka)?;
        for element in found.elements() {
            element.error().map_err(from_kafka)?;
            if let Offset::Offset(offset) = element.offset() {
                return Ok(Some((
                    offset,
                    is_of_other_topic(element.metadata(), member.topic_id().as_ref()),
                )));
            }
        }
        Ok(None)
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
