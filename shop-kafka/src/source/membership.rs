//! The requests that a member of a consumer group makes to the brokers about its partitions.
//!
//! [`find_start`](super::start::find_start) and [`Positions`](super::positions::Positions) decide by the responses
//! which records the log has lost. They use the trait [`Membership`], so that their tests run without brokers.

use std::ops::Range;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use shop_core::Result;
use shop_core::log::{Gap, GapCause, Partition};

use super::member::Consumer;
use crate::client::is_of_other_topic;
use crate::error::from_kafka;
use crate::number::{int32, unsigned};

/// A partition that the member owns, in one epoch: each assignment of a partition starts a new epoch.
#[derive(Clone, Copy)]
pub(super) struct OwnedPartition {
    pub(super) index: u32,
    pub(super) epoch: u64,
}

/// The committed position of a partition.
pub(super) struct Committed {
    pub(super) offset: i64,
    /// Whether the position was committed in an earlier topic of the same name.
    pub(super) is_of_earlier_topic: bool,
    /// The position as the brokers returned it. It carries the leader epoch, which rdkafka does not expose.
    list: TopicPartitionList,
}

impl Committed {
    /// Creates a position without a leader epoch.
    pub(super) fn new(offset: i64, is_of_earlier_topic: bool) -> Self {
        Self {
            offset,
            is_of_earlier_topic,
            list: TopicPartitionList::new(),
        }
    }
}

/// A membership in a consumer group.
pub(super) trait Membership {
    /// Returns the partitions that the member owns now.
    fn owned_partitions(&self) -> Vec<OwnedPartition>;

    /// Returns the public form of `owned`, or `None` while the id of the cluster is unknown.
    fn partition(&self, owned: OwnedPartition) -> Option<Partition>;

    /// Returns the group's committed position in partition `index`, or `None` if the group has not committed one.
    fn committed(&self, index: u32, timeout: Duration) -> Result<Option<Committed>>;

    /// Continues to read at the committed position, or where the log was cut if it was cut before this position.
    ///
    /// The position carries the epoch of the leader that it was read from. librdkafka asks the present leader where
    /// that epoch ends when a consumer seeks, but not when a consumer starts at a position. Without the seek, records
    /// that were written after an unclean election would be skipped up to the position
    /// (<https://cwiki.apache.org/confluence/display/KAFKA/KIP-320>). A position without an epoch is not checked.
    fn seek_to_committed(&self, committed: Committed, timeout: Duration) -> Result<()>;

    /// Returns whether the id of the topic is known. If it is, a topic that is created again is recognized by its id.
    fn knows_topic_id(&self) -> bool;

    /// Continues to read partition `index` at `offset`.
    fn seek_to(&self, index: u32, offset: i64, timeout: Duration) -> Result<()>;

    /// Returns the low and the high watermark of partition `index`.
    fn watermarks(&self, index: u32, timeout: Duration) -> Result<(i64, i64)>;

    /// Commits `low`, the offset of the oldest record, as the first position of a group. Does not wait for the response.
    ///
    /// From then on, a deletion of unread records is a gap.
    fn commit_start(&self, index: u32, low: i64) -> Result<()>;

    /// Waits for `time`, or until the source is closed.
    fn pause(&self, time: Duration);

    /// Creates a gap of `offsets`, after which the record at `next` is delivered.
    ///
    /// Returns `None` while the id of the cluster is unknown.
    fn new_gap(
        &self,
        owned: OwnedPartition,
        offsets: Range<i64>,
        cause: GapCause,
        next: i64,
    ) -> Option<Gap> {
        let gap = Gap::new(
            self.partition(owned)?,
            unsigned(offsets.start),
            unsigned(offsets.end),
            cause,
        );
        Some(gap.with_next_offset(unsigned(next)))
    }
}

/// A consumer joins the group once, so each membership of a [`Member`](super::member::Member) is a consumer of its own.
impl Membership for Consumer {
    fn owned_partitions(&self) -> Vec<OwnedPartition> {
        self.context().own.owned_partitions()
    }

    fn partition(&self, owned: OwnedPartition) -> Option<Partition> {
        self.context().own.partition(owned)
    }

    fn committed(&self, index: u32, timeout: Duration) -> Result<Option<Committed>> {
        let mut requested = TopicPartitionList::new();
        requested.add_partition(&self.context().own.log.topic.name, int32(index));
        let list = self
            .committed_offsets(requested, timeout)
            .map_err(from_kafka)?;

        let mut committed = None;
        for element in list.elements() {
            element.error().map_err(from_kafka)?;
            if let Offset::Offset(offset) = element.offset() {
                let topic_id = self.context().own.topic_id();
                committed = Some(Committed {
                    offset,
                    is_of_earlier_topic: is_of_other_topic(element.metadata(), topic_id.as_ref()),
                    list: list.clone(),
                });
            }
        }
        Ok(committed)
    }

    fn seek_to_committed(&self, committed: Committed, timeout: Duration) -> Result<()> {
        let sought = self
            .seek_partitions(committed.list, timeout)
            .map_err(from_kafka)?;

        for element in sought.elements() {
            element.error().map_err(from_kafka)?;
        }
        Ok(())
    }

    fn knows_topic_id(&self) -> bool {
        self.context().own.topic_id().is_some()
    }

    fn seek_to(&self, index: u32, offset: i64, timeout: Duration) -> Result<()> {
        let topic = &self.context().own.log.topic.name;
        self.seek(topic, int32(index), Offset::Offset(offset), timeout)
            .map_err(from_kafka)
    }

    fn watermarks(&self, index: u32, timeout: Duration) -> Result<(i64, i64)> {
        self.fetch_watermarks(&self.context().own.log.topic.name, int32(index), timeout)
            .map_err(from_kafka)
    }

    fn commit_start(&self, index: u32, low: i64) -> Result<()> {
        let member = &self.context().own;
        if low > 0 {
            tracing::warn!(
                log.group = &*member.group,
                log.partition = index,
                log.offset = low,
                "no committed position: the group starts at the oldest record of a log that has deleted others"
            );
        }

        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&member.log.topic.name, int32(index), Offset::Offset(low))
            .map_err(from_kafka)?;
        member.add_topic_id(&mut list);

        self.commit(&list, CommitMode::Async).map_err(from_kafka)
    }

    fn pause(&self, time: Duration) {
        self.context().own.queue.wait_for_close(time);
    }
}
