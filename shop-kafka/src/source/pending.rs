//! Records that become batches.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::BytesMut;
use shop_core::record::LogRecord;

/// The batches that are being filled: one for each partition.
#[derive(Debug, Default)]
pub(super) struct Pending {
    partitions: BTreeMap<u32, Filling>,
}

#[derive(Debug)]
pub(super) struct Filling {
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
    ) -> Option<Filling> {
        let filling = self.partitions.entry(index).or_insert_with(|| Filling::new(epoch));
        if filling.epoch != epoch {
            // What an epoch that is over has left goes.
            *filling = Filling::new(epoch);
        }
        let record = make(&mut filling.buffer);
        let size = record.size();
        let is_full = filling.records.len() >= limits.records || filling.bytes + size > limits.bytes;
        let full =
            (is_full && !filling.records.is_empty()).then(|| std::mem::replace(filling, Filling::new(epoch)));
        filling.bytes += size;
        filling.records.push(record);
        full
    }

    /// Takes the batch of one partition.
    pub(super) fn pop(&mut self) -> Option<(u32, Filling)> {
        self.partitions.pop_first()
    }

    /// Since when the oldest batch is being filled.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.partitions.values().map(|filling| filling.since).min()
    }
}

impl Filling {
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
        let (index, filling) = pending.pop().unwrap();
        assert_eq!((index, filling.epoch, filling.records), (0, 2, vec![record(0)]));
        assert!(pending.oldest().is_none());
    }
}
