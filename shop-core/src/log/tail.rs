//! Records of a log, and those that are appended later.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::stream::BoxStream;

use super::Batch;
use crate::Result;

/// The offset of the next record to read, by partition.
pub type Offsets = BTreeMap<u32, u64>;

/// The records of a topic from an offset of each partition on, without an end.
#[non_exhaustive]
pub struct LogTail {
    /// The cluster of the topic.
    pub cluster: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// Replaced when the log is restored from a backup: the same offsets may have other records then. `None` for a log
    /// that was not restored.
    pub generation: Option<Arc<str>>,
    /// The offset at which each partition starts.
    pub start: Offsets,
    /// The end of each partition at the time of the call, as far as it can be read.
    pub end: Offsets,
    /// The number of offsets behind these ends, by partition: other producers had not ended their transactions.
    /// Partitions without any are absent.
    pub unstable: BTreeMap<u32, u64>,
    /// Whether offsets may have no record though none was deleted: those of the markers of transactions, for example.
    pub is_sparse: bool,
    /// Batches of one partition each, with epoch 0, as soon as they are in the log.
    pub batches: BoxStream<'static, Result<Batch>>,
}

impl LogTail {
    /// Creates a tail of the partitions of `topic`, which yields `batches`.
    ///
    /// `spans` are the partitions, each with the offset at which its records start, and the one at which the log ended at
    /// the time of the call.
    #[must_use]
    pub fn new(
        cluster: Arc<str>,
        topic: Arc<str>,
        spans: impl IntoIterator<Item = (u32, (u64, u64))>,
        batches: BoxStream<'static, Result<Batch>>,
    ) -> Self {
        let offsets = spans
            .into_iter()
            .map(|(partition, (start, end))| ((partition, start), (partition, end)));
        let (start, end) = offsets.unzip();
        Self {
            cluster,
            topic,
            generation: None,
            start,
            end,
            unstable: Offsets::new(),
            is_sparse: false,
            batches,
        }
    }

    /// The offset at which a tail from `start` on starts in `partition`, whose first record is at `first` and whose next
    /// one will be at `end`.
    #[must_use]
    pub fn start_offset(start: &Offsets, partition: u32, first: u64, end: u64) -> u64 {
        start
            .get(&partition)
            .copied()
            .filter(|at| (first..=end).contains(at))
            .unwrap_or(first)
    }
}

impl fmt::Debug for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("topic", &self.topic)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}
