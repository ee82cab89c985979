//! The requests that a member of a consumer group makes to the brokers about the partitions that it
//! owns.
//!
//! [`Positions`](super::positions::Positions) decides by the responses which records the log lost.
//! It uses the trait [`Membership`], which [`Consumer`] implements, so that its tests run without
//! brokers. The requests block the reader thread.

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

/// The group's committed position in a partition.
pub(super) struct Committed {
    /// The offset of the next record to read.
    pub(super) offset: i64,
    /// Whether the position is in an earlier topic of the same name, which was deleted. Such an
    /// offset means nothing in the present topic.
    pub(super) is_of_earlier_topic: bool,
    /// The position as the brokers returned it, in a list of one element. The element carries the
    /// epoch of the leader that the last record was read from, which rdkafka does not expose. The
    /// list is empty if no broker returned the position.
    list: TopicPartitionList,
}

impl Committed {
    /// Creates a position in an earlier topic of the same name. No broker returned the position, so
    /// it carries no leader epoch.
    pub(super) fn in_earlier_topic(offset: i64) -> Self {
        Self {
            offset,
            is_of_earlier_topic: true,
            list: TopicPartitionList::new(),
        }
    }

    /// Creates a position in the present topic, without a leader epoch.
    #[cfg(test)]
    pub(super) fn in_present_topic(offset: i64) -> Self {
        Self {
            offset,
            is_of_earlier_topic: false,
            list: TopicPartitionList::new(),
        }
    }
}

/// A membership in a consumer group, and the requests that it makes to the brokers.
pub(super) trait Membership {
    /// Returns the partitions that the member owns now.
    fn owned_partitions(&self) -> Vec<Partition>;

    /// Requests the group's committed position in partition `index`. Returns `None` if there is
    /// none.
    fn committed(&self, index: u32, timeout: Duration) -> Result<Option<Committed>>;

    /// Seeks the partition to the committed position, or to the place where the log was cut before
    /// this position.
    ///
    /// An unclean leader election may cut the log, and other records may be written at the same
    /// offsets. librdkafka recognizes the cut by the leader epoch that the position carries: it asks
    /// the present leader for the offset at which this epoch ends
    /// (<https://cwiki.apache.org/confluence/display/KAFKA/KIP-320>). librdkafka asks when a consumer
    /// seeks, but not when a consumer starts at a position. Without the seek, the records between
    /// the cut and the position would be skipped. A position without a leader epoch is not checked.
    fn seek_to_committed(&self, committed: Committed, timeout: Duration) -> Result<()>;

    /// Returns whether the brokers stated the id of the topic.
    ///
    /// Kafka gives each topic an id. The id distinguishes a topic from an earlier one of the same
    /// name.
    fn knows_topic_id(&self) -> bool;

    /// Seeks partition `index` to `offset`, so that reading continues there.
    fn seek_to(&self, index: u32, offset: i64, timeout: Duration) -> Result<()>;

    /// Requests the low and the high watermark of partition `index`: the offset of the oldest
    /// record, and the offset after the newest record.
    fn watermarks(&self, index: u32, timeout: Duration) -> Result<(i64, i64)>;

    /// Returns the offset up to which the member has polled partition `index`, or `None` if it has
    /// polled nothing since the partition was assigned or sought. Makes no request.
    ///
    /// The returned offset may be higher than the offset after the last record: librdkafka also
    /// counts the markers of transactions as polled, although it does not return them. Every record
    /// before the returned offset was returned by a poll.
    fn polled_end(&self, index: u32) -> Result<Option<i64>>;

    /// Commits `low`, the offset of the oldest record, as the first position of the group in
    /// partition `index`.
    ///
    /// With this position, a later deletion of unread records is recognized as a gap. Does not wait
    /// for the response: without the position, the group starts at the oldest record again. Logs a
    /// warning if records were deleted before the group was created.
    fn commit_start(&self, index: u32, low: i64) -> Result<()>;

    /// Blocks for `time`, or until the source is closed.
    fn sleep_unless_closed(&self, time: Duration);
}

/// Creates a gap in `partition`: the records at `offsets` are lost, and reading continues at
/// `next_offset`.
pub(super) fn new_gap(
    partition: &Partition,
    offsets: Range<i64>,
    cause: GapCause,
    next_offset: i64,
) -> Gap {
    Gap::new(
        partition.clone(),
        unsigned(offsets.start),
        unsigned(offsets.end),
        cause,
    )
    .with_next_offset(unsigned(next_offset))
}

/// Each membership of a [`Member`](super::member::Member) uses its own consumer, which joins the
/// group once.
impl Membership for Consumer {
    fn owned_partitions(&self) -> Vec<Partition> {
        self.context().client_state.owned_partitions()
    }

    fn committed(&self, index: u32, timeout: Duration) -> Result<Option<Committed>> {
        let mut requested = TopicPartitionList::new();
        requested.add_partition(&self.context().client_state.log.topic.name, int32(index));
        let list = self
            .committed_offsets(requested, timeout)
            .map_err(from_kafka)?;

        // The list contains one element, for the requested partition. Its offset is invalid if
        // nothing was committed.
        let mut committed = None;
        for element in list.elements() {
            element.error().map_err(from_kafka)?;
            if let Offset::Offset(offset) = element.offset() {
                // Members of the group commit the id of the topic as the metadata of their
                // positions.
                let topic_id = self.context().client_state.topic_id();
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
        let sought_positions = self
            .seek_partitions(committed.list, timeout)
            .map_err(from_kafka)?;

        for element in sought_positions.elements() {
            element.error().map_err(from_kafka)?;
        }
        Ok(())
    }

    fn knows_topic_id(&self) -> bool {
        self.context().client_state.topic_id().is_some()
    }

    fn seek_to(&self, index: u32, offset: i64, timeout: Duration) -> Result<()> {
        let topic = &self.context().client_state.log.topic.name;
        self.seek(topic, int32(index), Offset::Offset(offset), timeout)
            .map_err(from_kafka)
    }

    fn watermarks(&self, index: u32, timeout: Duration) -> Result<(i64, i64)> {
        self.fetch_watermarks(
            &self.context().client_state.log.topic.name,
            int32(index),
            timeout,
        )
        .map_err(from_kafka)
    }

    fn polled_end(&self, index: u32) -> Result<Option<i64>> {
        let positions = self.position().map_err(from_kafka)?;
        let topic = &self.context().client_state.log.topic.name;
        let element = positions.find_partition(topic, int32(index));
        Ok(match element.map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => Some(offset),
            // Nothing was polled yet.
            _ => None,
        })
    }

    fn commit_start(&self, index: u32, low: i64) -> Result<()> {
        let member = &self.context().client_state;
        // A low watermark above 0 shows that the log deleted records.
        if low > 0 {
            tracing::warn!(
                log.group = &*member.group,
                log.partition = index,
                log.offset = low,
                "no committed position: the group starts at the oldest record of a log that has deleted others"
            );
        }

        let mut positions = TopicPartitionList::new();
        positions
            .add_partition_offset(&member.log.topic.name, int32(index), Offset::Offset(low))
            .map_err(from_kafka)?;
        member.add_topic_id(&mut positions);

        self.commit(&positions, CommitMode::Async)
            .map_err(from_kafka)
    }

    fn sleep_unless_closed(&self, time: Duration) {
        self.context().client_state.queue.wait_for_close(time);
    }
}
