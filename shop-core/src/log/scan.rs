//! What [`Log::scan`](super::Log::scan) returns: the records of a topic from given offsets on, read
//! outside of any consumer group.
//!
//! A scan ends at the end that the log has when the scan begins, or it never ends and waits for
//! records that are appended later. The live feed ([`PurchaseFeed`](crate::feed::PurchaseFeed))
//! follows a scan that never ends.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::stream::BoxStream;

use super::Batch;
use crate::Result;

/// The offset of the next record to read, by partition.
pub type Offsets = BTreeMap<u32, u64>;

/// Where a scan of a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanEnd {
    /// At the end that the log has at the time of the call: records appended later are excluded.
    Current,
    /// Never: after the last record, the scan waits for records that are appended later, until its
    /// stream is dropped.
    Never,
}

/// The records of a topic, from an offset of each partition on.
#[non_exhaustive]
pub struct LogScan {
    /// The id of the cluster or file that contains the topic.
    pub cluster: Arc<str>,
    /// The name of the topic.
    pub topic: Arc<str>,
    /// A text that is replaced whenever the log is restored from a backup: afterwards the same
    /// offsets may belong to other records. `None` for a log that was never restored.
    pub generation: Option<Arc<str>>,
    /// The offset at which each partition starts. It differs from the requested offset if the log
    /// does not contain that offset. A scan that ends may leave out a partition without records.
    pub start: Offsets,
    /// The end of each partition at the time of the call, as far as the partition can be read.
    pub end: Offsets,
    /// The number of offsets behind `end` that could not be read at the time of the call, by
    /// partition: other producers had not ended their transactions. Partitions without such offsets
    /// are absent. A scan that ends leaves out all.
    pub unstable: BTreeMap<u32, u64>,
    /// Whether an offset may be without a record although none was deleted, such as the offset of a
    /// transaction marker.
    pub is_sparse: bool,
    /// The batches of records, each of one partition and with epoch 0, as soon as they are in the
    /// log.
    pub batches: BoxStream<'static, Result<Batch>>,
}

impl LogScan {
    /// Creates a scan of the partitions of `topic`, which yields `batches`.
    ///
    /// `spans` contains each partition with two offsets: the one at which its records start, and
    /// the one at which the log ended at the time of the call.
    #[must_use]
    pub fn new(
        cluster: Arc<str>,
        topic: Arc<str>,
        spans: impl IntoIterator<Item = (u32, (u64, u64))>,
        batches: BoxStream<'static, Result<Batch>>,
    ) -> Self {
        let (start, end) = spans
            .into_iter()
            .map(|(partition, (start, end))| ((partition, start), (partition, end)))
            .unzip();
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

    /// Returns the offset at which a scan begins in `partition`, if it was requested from `start` on.
    ///
    /// `first` is the offset of the partition's first record, and `end` the offset of its next
    /// record. The scan begins at the requested offset if it is between `first` and `end`. It begins
    /// at `first` if `start` contains another offset, or no offset, for the partition.
    #[must_use]
    pub fn start_offset(start: &Offsets, partition: u32, first: u64, end: u64) -> u64 {
        match start.get(&partition) {
            Some(offset) if (first..=end).contains(offset) => *offset,
            _ => first,
        }
    }
}

impl fmt::Debug for LogScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogScan")
            .field("topic", &self.topic)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}
