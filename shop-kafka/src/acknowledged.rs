//! Follows what brokers answer to the records of each partition: positions, and failures.
//!
//! The offsets of a partition grow. A record that was sent after another one was acknowledged, and that is at or before
//! its offset, proves that acknowledged records are gone: an unclean election has made a replica the leader that did not
//! have them. Only the producer can know of those that no consumer had read. Acknowledgements may be waited for in another
//! order than they arrived in, so only a record that was sent later is a proof.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::client::lock;

/// How long a partition counts as unavailable after its last failure. Its next records show whether it still is.
const FAILURE_VALIDITY: Duration = Duration::from_secs(30);

/// The acknowledgements of all topics of a producer.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements {
    /// The number of acknowledgements so far, by which they are ordered.
    count: AtomicU64,
    partitions: Mutex<BTreeMap<(Arc<str>, u32), PartitionAcknowledgements>>,
    /// The acknowledged ranges that the log has lost, until [`take_cuts`](Self::take_cuts) takes
    /// them.
    cuts: Mutex<Vec<LostRange>>,
}

/// The answers of the brokers to the records of one partition.
#[derive(Debug, Default)]
struct PartitionAcknowledgements {
    highest: Option<HighestOffset>,
    /// The time of the last failure, unless a record was acknowledged after it.
    failed_at: Option<Instant>,
}

/// The highest acknowledged offset of a partition.
#[derive(Debug)]
struct HighestOffset {
    offset: u64,
    /// The number of acknowledgements up to this one.
    count: u64,
    /// How often topics had been created again by then.
    topic_changes: u64,
}

/// Acknowledged records that the log no longer has: from offset `from` to before `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostRange {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// How often topics had been created again when this was noticed.
    pub(crate) topic_changes: u64,
}

impl Acknowledgements {
    /// Returns the number of acknowledgements so far. The caller sends a record next, and passes
    /// the number to [`acknowledged`](Self::acknowledged) later.
    pub(crate) fn before_send(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Records that a broker has acknowledged a record at `offset`, and detects a loss of earlier
    /// records.
    ///
    /// The record was sent after `sent_after` acknowledgements. `topic_changes` is the number of
    /// times that topics were created again so far.
    pub(crate) fn acknowledged(
        &self,
        topic: &Arc<str>,
        partition: u32,
        offset: u64,
        sent_after: u64,
        topic_changes: u64,
    ) {
        let mut partitions = lock(&self.partitions);
        let answers = partitions
            .entry((Arc::clone(topic), partition))
            .or_default();
        answers.failed_at = None;
        let count = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        let next = HighestOffset {
            offset,
            count,
            topic_changes,
        };
        // In the same topic, an offset at or before the highest acknowledged one needs an
        // explanation.
        if let Some(highest) = &answers.highest
            && highest.topic_changes == topic_changes
            && highest.offset >= offset
        {
            // The record was sent before the highest offset was acknowledged, so the two were only
            // reported in another order.
            if highest.count > sent_after {
                return;
            }
            lock(&self.cuts).push(LostRange {
                topic: Arc::clone(topic),
                partition,
                from: offset,
                to: highest.offset + 1,
                topic_changes,
            });
        }
        answers.highest = Some(next);
    }

    /// Records that a record of the partition was not acknowledged in time.
    pub(crate) fn failed(&self, topic: &Arc<str>, partition: u32) {
        let mut partitions = lock(&self.partitions);
        let answers = partitions
            .entry((Arc::clone(topic), partition))
            .or_default();
        answers.failed_at = Some(Instant::now());
    }

    /// Returns the partitions of `topic` whose last records were not acknowledged in time.
    pub(crate) fn failing(&self, topic: &str) -> Vec<u32> {
        let partitions = lock(&self.partitions);
        let mut failing = Vec::new();
        for ((name, partition), answers) in partitions.iter() {
            if **name == *topic
                && let Some(failed_at) = answers.failed_at
                && failed_at.elapsed() < FAILURE_VALIDITY
            {
                failing.push(*partition);
            }
        }
        failing
    }

    /// Returns whether a loss was detected in any topic, and not taken yet.
    pub(crate) fn has_cuts(&self) -> bool {
        !lock(&self.cuts).is_empty()
    }

    /// Removes and returns the losses that were detected in `topic` since the last call.
    pub(crate) fn take_cuts(&self, topic: &str) -> Vec<LostRange> {
        lock(&self.cuts)
            .extract_if(.., |cut| *cut.topic == *topic)
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
        let concurrent = log.before_send();
        log.acknowledged(&topic, 3, 39, log.before_send(), 0);
        // It was sent before offset 39 was acknowledged, and its acknowledgement was waited for later.
        log.acknowledged(&topic, 3, 38, concurrent, 0);
        log.acknowledged(&topic, 4, 5, log.before_send(), 0);
        assert_eq!(log.take_cuts(&topic), []);

        log.acknowledged(&topic, 3, 20, log.before_send(), 0);
        log.acknowledged(&topic, 3, 21, log.before_send(), 0);
        let cut = LostRange {
            topic: Arc::clone(&topic),
            partition: 3,
            from: 20,
            to: 40,
            topic_changes: 0,
        };
        assert_eq!(log.take_cuts("events"), []);
        assert_eq!(log.take_cuts(&topic), [cut]);
        assert_eq!(log.take_cuts(&topic), []);

        log.acknowledged(&topic, 3, 0, log.before_send(), 1);
        assert_eq!(log.take_cuts(&topic), [], "the topic was created again");
    }

    #[test]
    fn a_partition_fails_until_it_acknowledges_a_record() {
        let topic: Arc<str> = "purchases".into();
        let log = Acknowledgements::default();
        log.failed(&topic, 1);
        log.failed(&topic, 2);
        log.acknowledged(&topic, 1, 0, 0, 0);
        assert_eq!(log.failing(&topic), [2]);
        assert!(log.failing("events").is_empty());
    }
}
