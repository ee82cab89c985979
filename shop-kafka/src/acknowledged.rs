//! Follows the responses of the brokers to the records of each partition: the acknowledged offsets,
//! and the failures.
//!
//! The acknowledged offsets show when the log lost records. The offsets of a partition grow. If a
//! record is sent after another record was acknowledged, and gets the same or a lower offset, then
//! acknowledged records are gone: an unclean election made a replica without these records the
//! leader. If no consumer read the lost records, only the producer can notice the loss.
//!
//! A record proves a loss only if it was sent after the other record was acknowledged, because
//! tasks may wait for two acknowledgements in another order than they arrived.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::client::lock;

/// How long a partition counts as unavailable after its last failure. The next records of the
/// partition show whether it still is unavailable.
const FAILURE_VALIDITY: Duration = Duration::from_secs(30);

/// The acknowledgements of all topics of a producer.
#[derive(Default)]
pub(crate) struct Acknowledgements {
    /// The number of acknowledgements so far. It serves as a clock that orders sends and
    /// acknowledgements.
    count: AtomicU64,
    partitions: Mutex<BTreeMap<(Arc<str>, u32), PartitionAcknowledgements>>,
    /// The ranges of acknowledged records that the log lost, until
    /// [`take_lost_ranges`](Self::take_lost_ranges) removes them.
    lost_ranges: Mutex<Vec<LostRange>>,
}

/// The responses of the brokers to the records of one partition.
#[derive(Default)]
struct PartitionAcknowledgements {
    highest: Option<HighestOffset>,
    /// The time of the last failure, unless a record was acknowledged after it.
    failed_at: Option<Instant>,
}

/// The highest acknowledged offset of a partition.
struct HighestOffset {
    offset: u64,
    /// The number of acknowledgements up to this one.
    count: u64,
    /// How often topics were created again before this acknowledgement.
    topic_changes: u64,
}

/// Acknowledged records that the log no longer contains: from offset `from` to before `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostRange {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// How often topics were created again before the loss was noticed.
    pub(crate) topic_changes: u64,
}

impl Acknowledgements {
    /// Returns the number of acknowledgements so far. The caller sends a record next, and passes
    /// the number to [`record_acknowledged`](Self::record_acknowledged) later.
    pub(crate) fn acknowledgement_count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Records that a broker acknowledged a record at `offset`. If the offset proves that the log
    /// lost earlier records, adds a range for [`take_lost_ranges`](Self::take_lost_ranges).
    ///
    /// `acknowledgements_at_send` is the number of acknowledgements before the record was sent, see
    /// [`acknowledgement_count`](Self::acknowledgement_count). `topic_changes` is the number of
    /// times that topics were created again so far.
    pub(crate) fn record_acknowledged(
        &self,
        topic: &Arc<str>,
        partition: u32,
        offset: u64,
        acknowledgements_at_send: u64,
        topic_changes: u64,
    ) {
        let mut partitions = lock(&self.partitions);
        let acknowledgements = partitions
            .entry((Arc::clone(topic), partition))
            .or_default();
        acknowledgements.failed_at = None;
        let count = self.count.fetch_add(1, Ordering::AcqRel) + 1;

        // Offsets grow, so an offset at or before the highest acknowledged one has one of two
        // causes: the reports came in another order, or the log lost records.
        if let Some(highest) = &acknowledgements.highest
            && highest.topic_changes == topic_changes
            && highest.offset >= offset
        {
            // The record was sent before the highest offset was acknowledged. So only the order of
            // the two reports differs.
            if highest.count > acknowledgements_at_send {
                return;
            }
            lock(&self.lost_ranges).push(LostRange {
                topic: Arc::clone(topic),
                partition,
                from: offset,
                to: highest.offset + 1,
                topic_changes,
            });
        }

        acknowledgements.highest = Some(HighestOffset {
            offset,
            count,
            topic_changes,
        });
    }

    /// Records that a record of the partition was not acknowledged in time.
    pub(crate) fn record_failure(&self, topic: &Arc<str>, partition: u32) {
        let mut partitions = lock(&self.partitions);
        let acknowledgements = partitions
            .entry((Arc::clone(topic), partition))
            .or_default();
        acknowledgements.failed_at = Some(Instant::now());
    }

    /// Returns the partitions of `topic` whose last records were not acknowledged in time.
    pub(crate) fn failing_partitions(&self, topic: &str) -> Vec<u32> {
        let partitions = lock(&self.partitions);
        let mut failing = Vec::new();
        for ((name, partition), acknowledgements) in partitions.iter() {
            if **name == *topic
                && let Some(failed_at) = acknowledgements.failed_at
                && failed_at.elapsed() < FAILURE_VALIDITY
            {
                failing.push(*partition);
            }
        }
        failing
    }

    /// Returns whether there are lost ranges, in any topic, that
    /// [`take_lost_ranges`](Self::take_lost_ranges) has not removed yet.
    pub(crate) fn has_lost_ranges(&self) -> bool {
        !lock(&self.lost_ranges).is_empty()
    }

    /// Removes and returns the ranges whose loss was detected in `topic` since the last call.
    pub(crate) fn take_lost_ranges(&self, topic: &str) -> Vec<LostRange> {
        lock(&self.lost_ranges)
            .extract_if(.., |lost_range| *lost_range.topic == *topic)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_record_at_an_earlier_offset_is_a_cut() {
        let topic: Arc<str> = "purchases".into();
        let log = Acknowledgements::default();
        let concurrent = log.acknowledgement_count();
        log.record_acknowledged(&topic, 3, 39, log.acknowledgement_count(), 0);
        // It was sent before offset 39 was acknowledged, and its acknowledgement was waited for
        // later.
        log.record_acknowledged(&topic, 3, 38, concurrent, 0);
        log.record_acknowledged(&topic, 4, 5, log.acknowledgement_count(), 0);
        assert_eq!(log.take_lost_ranges(&topic), []);

        log.record_acknowledged(&topic, 3, 20, log.acknowledgement_count(), 0);
        log.record_acknowledged(&topic, 3, 21, log.acknowledgement_count(), 0);
        let cut = LostRange {
            topic: Arc::clone(&topic),
            partition: 3,
            from: 20,
            to: 40,
            topic_changes: 0,
        };
        assert_eq!(log.take_lost_ranges("events"), []);
        assert_eq!(log.take_lost_ranges(&topic), [cut]);
        assert_eq!(log.take_lost_ranges(&topic), []);

        log.record_acknowledged(&topic, 3, 0, log.acknowledgement_count(), 1);
        assert_eq!(
            log.take_lost_ranges(&topic),
            [],
            "the topic was created again"
        );
    }

    #[test]
    fn a_partition_fails_until_it_acknowledges_a_record() {
        let topic: Arc<str> = "purchases".into();
        let log = Acknowledgements::default();
        log.record_failure(&topic, 1);
        log.record_failure(&topic, 2);
        log.record_acknowledged(&topic, 1, 0, 0, 0);
        assert_eq!(log.failing_partitions(&topic), [2]);
        assert!(log.failing_partitions("events").is_empty());
    }
}
