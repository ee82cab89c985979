//! The maximum size of the batches of a producer, which all its topics must accept.
//!
//! The setting `max.message.bytes` of a topic limits a whole batch, and librdkafka does not split a
//! batch that a broker refuses. With librdkafka's default batch size of 1 MB, records would be
//! rejected by a topic with a lower limit, although each record fits by itself.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::lock;

/// librdkafka's default of `batch.size`.
pub(crate) const DEFAULT_BATCH_BYTES: usize = 1_000_000;
/// The number of bytes that are reserved for the parts of a batch other than its records.
const BATCH_OVERHEAD_BYTES: usize = 512;
/// The minimum size of a batch. A larger record is a batch by itself.
const MIN_BATCH_BYTES: usize = 1_024;

/// The size limits of the topics that one producer writes to, and the batch size that fits all of
/// them.
#[derive(Debug)]
pub(crate) struct BatchLimit {
    /// The `max.message.bytes` of each topic whose settings can be read.
    topics: Mutex<BTreeMap<String, usize>>,
    /// The maximum size of a batch, in bytes.
    batch_bytes: AtomicUsize,
}

impl Default for BatchLimit {
    fn default() -> Self {
        Self {
            topics: Mutex::default(),
            batch_bytes: AtomicUsize::new(DEFAULT_BATCH_BYTES),
        }
    }
}

impl BatchLimit {
    /// Records the `max.message.bytes` of a topic, which was just read, and adapts the batch size
    /// to the lowest limit.
    pub(crate) fn set_topic_limit(&self, topic: &str, max_message_bytes: usize) {
        let mut topics = lock(&self.topics);
        topics.insert(topic.to_owned(), max_message_bytes);
        let lowest_limit = topics.values().min().copied().unwrap_or(usize::MAX);
        self.set_batch_bytes(lowest_limit.saturating_sub(BATCH_OVERHEAD_BYTES));
    }

    /// Sets the batch size to half of `batch_bytes`, the size of a batch that a broker refused
    /// although each of its records fits by itself.
    ///
    /// The smaller size applies until the settings of a topic are read again.
    pub(crate) fn reduce_batch_bytes(&self, batch_bytes: usize) {
        self.set_batch_bytes(batch_bytes / 2);
    }

    /// Sets the batch size, between [`MIN_BATCH_BYTES`] and [`DEFAULT_BATCH_BYTES`].
    fn set_batch_bytes(&self, batch_bytes: usize) {
        let batch_bytes = batch_bytes.clamp(MIN_BATCH_BYTES, DEFAULT_BATCH_BYTES);
        self.batch_bytes.store(batch_bytes, Ordering::Release);
    }

    /// Returns the `max.message.bytes` of a topic, if it is known.
    pub(crate) fn topic_limit(&self, topic: &str) -> Option<usize> {
        lock(&self.topics).get(topic).copied()
    }

    /// Returns the maximum size of a batch that all topics accept, in bytes.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.batch_bytes.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_as_large_as_every_topic_takes() {
        let limit = BatchLimit::default();
        assert_eq!(limit.batch_bytes(), DEFAULT_BATCH_BYTES);
        limit.set_topic_limit("purchases.dlq", 8 << 20);
        assert_eq!(limit.batch_bytes(), DEFAULT_BATCH_BYTES);
        limit.set_topic_limit("purchases", 20_000);
        assert_eq!(limit.batch_bytes(), 20_000 - BATCH_OVERHEAD_BYTES);
        limit.reduce_batch_bytes(limit.batch_bytes());
        assert_eq!(limit.batch_bytes(), (20_000 - BATCH_OVERHEAD_BYTES) / 2);
        limit.set_topic_limit("purchases", 10);
        assert_eq!(limit.batch_bytes(), MIN_BATCH_BYTES);
        assert_eq!(limit.topic_limit("purchases"), Some(10));
    }
}
