//! Collects the records that the reader thread polls into batches, with at most one incomplete
//! batch for each partition.
//!
//! A batch leaves [`Pending`] when the next record would exceed its limits, when it is old enough,
//! or when a gap must be delivered after its records.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use shop_core::log::{LogRecord, Partition};

use crate::KafkaLogOptions;

/// The initial capacity of a batch's buffer in bytes: enough for a hundred short records.
const BUFFER_CAPACITY: usize = 16 << 10;

/// The incomplete batches, by the index of their partition.
#[derive(Default)]
pub(super) struct Pending {
    batches: BTreeMap<u32, BatchBuilder>,
}

/// An incomplete batch of records from one epoch of a partition.
pub(super) struct BatchBuilder {
    pub(super) partition: Partition,
    pub(super) records: Vec<LogRecord>,
    /// The total size of the records in bytes.
    bytes: usize,
    started_at: Instant,
    /// The memory into which the records are copied, and which they share.
    buffer: BytesMut,
}

impl Pending {
    /// Adds a record to the batch of `partition`.
    ///
    /// `copy_record` copies the record into the buffer of the batch.
    ///
    /// If the record would make the batch exceed the limits of `options`, the record starts a new
    /// batch, and the full batch is returned. Only a batch of a single record may exceed the
    /// limits.
    ///
    /// A batch of another epoch of the partition is discarded. The ownership in that epoch ended,
    /// and its records are read again in the new epoch, unless they were committed.
    pub(super) fn add(
        &mut self,
        partition: &Partition,
        copy_record: impl FnOnce(&mut BytesMut) -> LogRecord,
        options: &KafkaLogOptions,
    ) -> Option<BatchBuilder> {
        let batch = self
            .batches
            .entry(partition.index)
            .or_insert_with(|| BatchBuilder::new(partition));
        if batch.partition.epoch != partition.epoch {
            *batch = BatchBuilder::new(partition);
        }

        let record = copy_record(&mut batch.buffer);
        let size = record.size();
        let exceeds_limits = batch.records.len() >= options.batch_records
            || batch.bytes + size > options.batch_bytes;
        let mut full_batch = None;
        // An empty batch is never full: it takes a record that exceeds the limits by itself.
        if exceeds_limits && !batch.records.is_empty() {
            full_batch = Some(std::mem::replace(batch, BatchBuilder::new(partition)));
        }

        batch.bytes += size;
        batch.records.push(record);
        full_batch
    }

    /// Removes and returns one batch that is at least `min_age` old, or returns `None` if there is
    /// none. The batch of partition `except` stays.
    pub(super) fn pop_older_than(
        &mut self,
        min_age: Duration,
        except: Option<u32>,
    ) -> Option<BatchBuilder> {
        let (&index, _) = self.batches.iter().find(|(index, batch)| {
            Some(**index) != except && batch.started_at.elapsed() >= min_age
        })?;
        self.batches.remove(&index)
    }

    /// Removes and returns the batch of partition `index`, if there is one.
    pub(super) fn take_batch(&mut self, index: u32) -> Option<BatchBuilder> {
        self.batches.remove(&index)
    }

    /// Returns the time at which the oldest batch was started, or `None` if there is no batch.
    pub(super) fn oldest_start(&self) -> Option<Instant> {
        self.batches.values().map(|batch| batch.started_at).min()
    }
}

impl BatchBuilder {
    /// Creates an empty batch, whose age is measured from now.
    fn new(partition: &Partition) -> Self {
        Self {
            partition: partition.clone(),
            records: Vec::new(),
            bytes: 0,
            started_at: Instant::now(),
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

    fn partition(index: u32, epoch: u64) -> Partition {
        Partition::new("cluster".into(), "topic".into(), index, epoch)
    }

    fn limits(max_records: usize, max_bytes: usize) -> KafkaLogOptions {
        KafkaLogOptions::new("")
            .batch_records(max_records)
            .batch_bytes(max_bytes)
    }

    #[test]
    fn batches_are_cut_by_count_bytes_and_epoch() {
        let size = record(0).size();
        let mut pending = Pending::default();
        // The records of the batch that is cut when this record of this epoch comes.
        let mut cut = |epoch, offset, limits: KafkaLogOptions| {
            let batch = pending.add(&partition(0, epoch), |_| record(offset), &limits);
            batch.map(|batch| batch.records)
        };
        let by_count = || limits(2, usize::MAX);
        let by_bytes = || limits(100, size);
        assert_eq!(cut(1, 0, by_count()), None);
        assert_eq!(cut(1, 1, by_count()), None);
        assert_eq!(cut(1, 2, by_count()), Some(vec![record(0), record(1)]));
        assert_eq!(cut(1, 3, by_bytes()), Some(vec![record(2)]));
        // Records of an earlier epoch are discarded.
        assert_eq!(cut(2, 0, by_bytes()), None);

        let batch = pending.pop_older_than(Duration::ZERO, None).unwrap();
        assert_eq!(batch.partition, partition(0, 2));
        assert_eq!(batch.records, [record(0)]);
        assert!(pending.oldest_start().is_none() && pending.take_batch(0).is_none());
        let two_fit = &limits(100, 2 * size);
        for offset in 0..2 {
            let cut = pending.add(&partition(0, 2), |_| record(offset), two_fit);
            assert!(cut.is_none());
        }
        assert!(pending.oldest_start().is_some());
        let taken = pending.take_batch(0).unwrap();
        assert_eq!(taken.records, [record(0), record(1)]);
    }

    #[test]
    fn pop_respects_linger_and_skips_the_current_partition() {
        let mut pending = Pending::default();
        let limits = &limits(2, usize::MAX);
        for index in [3, 5] {
            drop(pending.add(&partition(index, 1), |_| record(0), limits));
        }
        let index = |popped: Option<BatchBuilder>| popped.map(|batch| batch.partition.index);
        assert_eq!(
            index(pending.pop_older_than(Duration::from_secs(3_600), None)),
            None
        );
        assert_eq!(
            index(pending.pop_older_than(Duration::ZERO, Some(3))),
            Some(5)
        );
        assert_eq!(index(pending.pop_older_than(Duration::ZERO, Some(3))), None);
        assert_eq!(index(pending.pop_older_than(Duration::ZERO, None)), Some(3));
    }
}
