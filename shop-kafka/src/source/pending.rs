//! Collects records into batches, one for each partition.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use shop_core::log::LogRecord;

/// The initial capacity of a batch's buffer in bytes: enough for a hundred short records.
const BUFFER_CAPACITY: usize = 16 << 10;

/// The incomplete batches, at most one for each partition.
#[derive(Default)]
pub(super) struct Pending {
    partitions: BTreeMap<u32, BatchBuilder>,
}

/// An incomplete batch of records from one epoch of a partition.
pub(super) struct BatchBuilder {
    pub(super) epoch: u64,
    pub(super) records: Vec<LogRecord>,
    bytes: usize,
    since: Instant,
    /// The memory that the records share.
    buffer: BytesMut,
}

/// The size that a batch does not exceed, unless a single record does.
#[derive(Clone, Copy)]
pub(super) struct BatchLimits {
    pub(super) max_records: usize,
    pub(super) max_bytes: usize,
}

impl Pending {
    /// Adds the record that `make` writes to the buffer of the partition's batch.
    ///
    /// If the record exceeds the limits, it starts a new batch, and the full batch is returned. Records of an earlier
    /// epoch are discarded.
    pub(super) fn add(
        &mut self,
        index: u32,
        epoch: u64,
        make: impl FnOnce(&mut BytesMut) -> LogRecord,
        limits: BatchLimits,
    ) -> Option<BatchBuilder> {
        let batch = self
            .partitions
            .entry(index)
            .or_insert_with(|| BatchBuilder::new(epoch));
        if batch.epoch != epoch {
            *batch = BatchBuilder::new(epoch);
        }

        let record = make(&mut batch.buffer);
        let size = record.size();
        let exceeds_limits =
            batch.records.len() >= limits.max_records || batch.bytes + size > limits.max_bytes;
        let mut full_batch = None;
        if exceeds_limits && !batch.records.is_empty() {
            full_batch = Some(std::mem::replace(batch, BatchBuilder::new(epoch)));
        }

        batch.bytes += size;
        batch.records.push(record);
        full_batch
    }

    /// Removes a batch that is at least `linger` old and does not belong to the partition `except`.
    pub(super) fn pop(
        &mut self,
        linger: Duration,
        except: Option<u32>,
    ) -> Option<(u32, BatchBuilder)> {
        let mut batches = self.partitions.iter();
        let (index, _) = batches
            .find(|(index, batch)| Some(**index) != except && batch.since.elapsed() >= linger)?;
        let index = *index;
        self.partitions.remove_entry(&index)
    }

    /// Removes the batch of partition `index`.
    pub(super) fn take(&mut self, index: u32) -> Option<BatchBuilder> {
        self.partitions.remove(&index)
    }

    /// Returns the start time of the oldest batch.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.partitions.values().map(|batch| batch.since).min()
    }
}

impl BatchBuilder {
    fn new(epoch: u64) -> Self {
        Self {
            epoch,
            records: Vec::new(),
            bytes: 0,
            since: Instant::now(),
            buffer: BytesMut::with_capacity(BUFFER_CAPACITY),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shop_core::Timestamp;

    use super::*;

    fn record(offset: u64) -> LogRecord {
        LogRecord::new(
            offset,
            Timestamp::MIN,
            Some(Bytes::from_static(b"0123456789")),
        )
    }

    #[test]
    fn batches_are_cut_by_count_bytes_and_epoch() {
        let size = record(0).size();
        let mut pending = Pending::default();
        let by_count = BatchLimits {
            max_records: 2,
            max_bytes: usize::MAX,
        };
        assert!(pending.add(0, 1, |_| record(0), by_count).is_none());
        assert!(pending.add(0, 1, |_| record(1), by_count).is_none());
        assert_eq!(
            pending
                .add(0, 1, |_| record(2), by_count)
                .unwrap()
                .records
                .len(),
            2
        );
        let by_bytes = BatchLimits {
            max_records: 100,
            max_bytes: size,
        };
        assert_eq!(
            pending.add(0, 1, |_| record(3), by_bytes).unwrap().records,
            [record(2)]
        );
        assert!(
            pending.add(0, 2, |_| record(0), by_bytes).is_none(),
            "records of an earlier epoch are discarded"
        );
        let (index, batch) = pending.pop(Duration::ZERO, None).unwrap();
        assert_eq!((index, batch.epoch, batch.records), (0, 2, vec![record(0)]));
        assert!(pending.oldest().is_none() && pending.take(0).is_none());
        let two_fit = BatchLimits {
            max_records: 100,
            max_bytes: 2 * size,
        };
        assert!((0..2).all(|offset| pending.add(0, 2, |_| record(offset), two_fit).is_none()));
        assert!(pending.oldest().is_some());
        assert_eq!(pending.take(0).unwrap().records, [record(0), record(1)]);
    }

    #[test]
    fn pop_respects_linger_and_skips_the_current_partition() {
        let mut pending = Pending::default();
        let limits = BatchLimits {
            max_records: 2,
            max_bytes: usize::MAX,
        };
        for index in [3, 5] {
            drop(pending.add(index, 1, |_| record(0), limits));
        }
        let index = |popped: Option<(u32, BatchBuilder)>| popped.map(|(index, _)| index);
        assert_eq!(index(pending.pop(Duration::from_secs(3_600), None)), None);
        assert_eq!(index(pending.pop(Duration::ZERO, Some(3))), Some(5));
        assert_eq!(index(pending.pop(Duration::ZERO, Some(3))), None);
        assert_eq!(index(pending.pop(Duration::ZERO, None)), Some(3));
    }
}
