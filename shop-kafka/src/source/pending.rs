//! Records that become batches.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use shop_core::log::LogRecord;

/// The batches that are being filled: one for each partition.
#[derive(Debug, Default)]
pub(super) struct Pending {
    partitions: BTreeMap<u32, BatchBuilder>,
}

#[derive(Debug)]
pub(super) struct BatchBuilder {
    pub(super) epoch: u64,
    pub(super) records: Vec<LogRecord>,
    bytes: usize,
    since: Instant,
    /// Where the bytes of its records stand.
    buffer: BytesMut,
}

/// What a batch's buffer begins with, and grows by: enough for a hundred short records.
const BUFFER: usize = 16 << 10;

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Pending {
    /// Adds the record that `make` writes into a batch's buffer; answers the batch that it did not fit into any more.
    pub(super) fn add(
        &mut self,
        (index, epoch): (u32, u64),
        make: impl FnOnce(&mut BytesMut) -> LogRecord,
        limits: Limits,
    ) -> Option<BatchBuilder> {
        let filling = self.partitions.entry(index).or_insert_with(|| BatchBuilder::new(epoch));
        if filling.epoch != epoch {
            // What an epoch that is over has left goes.
            *filling = BatchBuilder::new(epoch);
        }
        let record = make(&mut filling.buffer);
        let size = record.size();
        let is_full = filling.records.len() >= limits.records || filling.bytes + size > limits.bytes;
        let full = (is_full && !filling.records.is_empty())
            .then(|| std::mem::replace(filling, BatchBuilder::new(epoch)));
        filling.bytes += size;
        filling.records.push(record);
        full
    }

    /// Takes the batch of a partition, other than `but`, that has been filled for at least as long as `linger`.
    pub(super) fn pop(&mut self, linger: Duration, but: Option<u32>) -> Option<(u32, BatchBuilder)> {
        let is_due = |(index, filling): (&u32, &BatchBuilder)| {
            (but != Some(*index) && filling.since.elapsed() >= linger).then_some(*index)
        };
        let index = self.partitions.iter().find_map(is_due)?;
        self.partitions.remove_entry(&index)
    }

    /// Since when the oldest batch is being filled.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.partitions.values().map(|filling| filling.since).min()
    }
}

impl BatchBuilder {
    fn new(epoch: u64) -> Self {
        let buffer = BytesMut::with_capacity(BUFFER);
        Self { epoch, records: Vec::new(), bytes: 0, since: Instant::now(), buffer }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shop_core::Timestamp;

    use super::*;

    fn record(offset: u64) -> LogRecord {
        LogRecord::new(offset, Timestamp::MIN, Some(Bytes::from_static(b"0123456789")))
    }

    #[test]
    fn batches_are_cut_by_count_bytes_and_epoch() {
        let size = record(0).size();
        let mut pending = Pending::default();
        let by_count = Limits { records: 2, bytes: usize::MAX };
        assert!(pending.add((0, 1), |_| record(0), by_count).is_none());
        assert!(pending.add((0, 1), |_| record(1), by_count).is_none());
        assert_eq!(pending.add((0, 1), |_| record(2), by_count).unwrap().records.len(), 2);
        let by_bytes = Limits { records: 100, bytes: size };
        assert_eq!(pending.add((0, 1), |_| record(3), by_bytes).unwrap().records, [record(2)]);
        assert!(
            pending.add((0, 2), |_| record(0), by_bytes).is_none(),
            "what is left of an old epoch is dropped"
        );
        let (index, filling) = pending.pop(Duration::ZERO, None).unwrap();
        assert_eq!((index, filling.epoch, filling.records), (0, 2, vec![record(0)]));
        assert!(pending.oldest().is_none());
    }

    #[test]
    fn what_is_handed_over_early_has_waited_and_is_not_of_the_partition_that_is_read() {
        let mut pending = Pending::default();
        let limits = Limits { records: 2, bytes: usize::MAX };
        for index in [3, 5] {
            drop(pending.add((index, 1), |_| record(0), limits));
        }
        let index = |popped: Option<(u32, BatchBuilder)>| popped.map(|(index, _)| index);
        assert_eq!(index(pending.pop(Duration::from_secs(3_600), None)), None);
        assert_eq!(index(pending.pop(Duration::ZERO, Some(3))), Some(5));
        assert_eq!(index(pending.pop(Duration::ZERO, Some(3))), None);
        assert_eq!(index(pending.pop(Duration::ZERO, None)), Some(3));
    }
}
