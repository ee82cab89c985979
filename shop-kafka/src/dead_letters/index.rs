//! An index of a dead-letter topic, which contains the positions of its pending dead letters.
//!
//! A marker that resolves a dead letter may be anywhere behind it in the topic. So the index reads
//! the whole topic once, and then only the records that were added. A listing first asks the index
//! for positions, and then reads the records at these positions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use futures_util::TryStreamExt;
use shop_core::log::{
    DeadLetter, DeadLetterFilter, LogRecord, ReasonKind, RecordId, RecordPosition,
    ResolvedDeadLetter,
};
use shop_core::{Result, Timestamp};

use super::codec::{decode, decode_marker};
use crate::scan::{OffsetRanges, ScanRange, scan};
use crate::shared::KafkaLogInner;

/// The maximum distance between two dead letters that one scan reads. The records between the two
/// are read and skipped.
const MAX_DISTANCE: u64 = 256;

/// An index of the dead-letter topic, which finds pending dead letters without a scan of the whole
/// topic.
///
/// The index is kept in memory. Before each use, [`catch_up`](Self::catch_up) reads the records
/// that were written since the last use. The index contains an entry for each dead letter, pending
/// or resolved, but no record.
#[derive(Default)]
pub(crate) struct DlqIndex {
    /// The id of the topic that was read, if the brokers report it. Another id makes the index
    /// start empty.
    topic_id: Option<Arc<str>>,
    /// The next offset to read in each partition.
    next_offsets: BTreeMap<u32, u64>,
    /// The pending dead letters, by the id of the record and the partition of the dead-letter
    /// topic. A dead letter that was put several times may have a copy in several partitions.
    pending: BTreeMap<(RecordId, u32), IndexedDeadLetter>,
    /// The ids of the records with a pending dead letter, by the position of the record in the log.
    /// Two ids may share a position, because a gap may start at the offset of a record.
    ids_by_log_position: BTreeMap<RecordPosition, BTreeSet<RecordId>>,
    /// The markers of resolved dead letters, by the id of the record.
    pub(super) resolved: BTreeMap<RecordId, ResolvedDeadLetter>,
}

/// The properties of a dead letter by which a filter selects it, and its offset.
struct IndexedDeadLetter {
    /// The position of the record in the log.
    log_position: RecordPosition,
    reason: ReasonKind,
    /// The timestamp of the record.
    time: Timestamp,
    /// The offset of the dead letter in the dead-letter topic.
    offset: u64,
}

/// The partition and the offset of a dead letter in the dead-letter topic. The position of its
/// record in the log is a [`RecordPosition`].
pub(crate) type DlqPosition = (u32, u64);

impl DlqIndex {
    /// Reads the records that were written to `topic` since the last call.
    ///
    /// If the topic was deleted and created again since then, empties the index and reads the whole
    /// topic.
    ///
    /// # Errors
    /// The errors of the scan.
    pub(crate) async fn catch_up(
        &mut self,
        log: &Arc<KafkaLogInner>,
        topic: &Arc<str>,
    ) -> Result<()> {
        let mut batches = scan(log, topic, ScanRange::From(self.next_offsets.clone()))
            .await?
            .batches;
        // The client learned the id of the topic when it started the scan.
        let topic_id = log.health.topic_id(topic);
        if self.topic_id != topic_id {
            *self = Self {
                topic_id,
                ..Self::default()
            };
            batches = scan(log, topic, ScanRange::All).await?.batches;
        }

        while let Some((partition, records)) = batches.try_next().await? {
            for record in records {
                self.index_record(partition, &record);
                self.next_offsets.insert(partition, record.offset + 1);
            }
        }
        Ok(())
    }

    /// Returns whether the index contains a pending or resolved dead letter for the record `id`.
    pub(crate) fn contains(&self, id: RecordId) -> bool {
        self.resolved.contains_key(&id) || self.find_pending(id).is_some()
    }

    /// Returns the positions in the dead-letter topic of the pending dead letters that `filter`
    /// selects, for the first `limit` failed records in the order of the log.
    ///
    /// The page can contain more than `limit` dead letters: a gap may start at the offset of a
    /// failed record, and then has a dead letter of its own.
    pub(crate) fn select_page(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> BTreeSet<DlqPosition> {
        // The index narrows the search by `positions` or by `after`. `select_pending` then applies
        // the whole filter, so that `after` also restricts the named positions.
        if filter.positions.is_empty() {
            let after = filter
                .after
                .as_ref()
                .map_or(Bound::Unbounded, Bound::Excluded);
            let ids_after = self.ids_by_log_position.range((after, Bound::Unbounded));
            self.select_pending(ids_after.map(|(_, ids)| ids), filter, limit)
        } else {
            let positions = filter.positions.iter();
            // A position without a pending dead letter selects nothing.
            let ids_at = positions.filter_map(|position| self.ids_by_log_position.get(position));
            self.select_pending(ids_at, filter, limit)
        }
    }

    /// Returns the positions in the dead-letter topic of the pending dead letters with
    /// `candidate_ids` that `filter` selects.
    ///
    /// Each item of `candidate_ids` contains the record ids at one position of the log. The
    /// selection ends after `limit` items with a selected dead letter.
    fn select_pending<'a>(
        &self,
        candidate_ids: impl Iterator<Item = &'a BTreeSet<RecordId>>,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> BTreeSet<DlqPosition> {
        let mut selected = BTreeSet::new();
        let mut selected_position_count = 0;
        for ids in candidate_ids {
            if selected_position_count == limit {
                break;
            }
            let mut is_position_selected = false;
            for id in ids {
                if let Some((dlq_position, entry)) = self.find_pending(*id)
                    && filter.selects_at(&entry.log_position, entry.reason, entry.time)
                {
                    selected.insert(dlq_position);
                    is_position_selected = true;
                }
            }
            selected_position_count += usize::from(is_position_selected);
        }
        selected
    }

    /// Finds the pending dead letter of the record `id`. If several partitions of the dead-letter
    /// topic contain a copy, returns the copy in the lowest partition.
    fn find_pending(&self, id: RecordId) -> Option<(DlqPosition, &IndexedDeadLetter)> {
        let ((_, partition), entry) = self.pending.range((id, 0)..=(id, u32::MAX)).next()?;
        Some(((*partition, entry.offset), entry))
    }

    /// Adds a record of the dead-letter topic to the index: a dead letter, or a marker. Ignores all
    /// other records.
    fn index_record(&mut self, partition: u32, record: &LogRecord) {
        let Some(dead_letter) = decode(record) else {
            if let Some(marker) = decode_marker(record) {
                self.resolve(marker, partition);
            }
            return;
        };
        let id = dead_letter.record_id();
        let reason = dead_letter.reason.kind();
        // A gap may be pending again after it was resolved, because the same offsets may be lost
        // again.
        let is_resolved = reason != ReasonKind::Gap && self.resolved.contains_key(&id);
        if is_resolved || self.pending.contains_key(&(id, partition)) {
            return;
        }

        let mut log_position = dead_letter.position();
        // The positions share one allocation of the topic's name, which saves memory.
        if let Some((other_position, _)) = self.ids_by_log_position.first_key_value()
            && other_position.topic == log_position.topic
        {
            log_position.topic = Arc::clone(&other_position.topic);
        }
        self.ids_by_log_position
            .entry(log_position.clone())
            .or_default()
            .insert(id);
        let entry = IndexedDeadLetter {
            log_position,
            reason,
            time: dead_letter.record.time,
            offset: record.offset,
        };
        self.pending.insert((id, partition), entry);
    }

    /// Applies the marker of a resolved dead letter, which was read from `partition`.
    ///
    /// The marker of a record resolves the copies of the dead letter in all partitions. The marker
    /// of a gap resolves only the copy in `partition`, which was written before the marker.
    fn resolve(&mut self, marker: ResolvedDeadLetter, partition: u32) {
        let id = marker.record_id;
        self.resolved.insert(id, marker);

        let copies = self.pending.range((id, 0)..=(id, u32::MAX));
        let resolved_copies = copies.filter(|((_, copy_partition), copy)| {
            copy.reason != ReasonKind::Gap || *copy_partition == partition
        });
        let resolved_keys: Vec<_> = resolved_copies.map(|(key, _)| *key).collect();
        let mut removed_copy = None;
        for key in resolved_keys {
            removed_copy = self.pending.remove(&key);
        }
        // All copies name the same position in the log, so any of them will do.
        let Some(IndexedDeadLetter { log_position, .. }) = removed_copy else {
            return;
        };

        // The id stays at its position as long as another partition contains a pending copy.
        if self.find_pending(id).is_none()
            && let Some(ids) = self.ids_by_log_position.get_mut(&log_position)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.ids_by_log_position.remove(&log_position);
            }
        }
    }
}

/// Reads the dead letters at `positions` in the dead-letter topic, and returns the dead letters in
/// the order of their records in the log.
///
/// Returns `None` if the topic no longer contains a record at one of the positions, or if a record
/// there is not a dead letter. The index that returned the positions is then out of date.
///
/// # Errors
/// The errors of the scans.
pub(crate) async fn read_dead_letters(
    log: &Arc<KafkaLogInner>,
    topic: &Arc<str>,
    positions: &BTreeSet<DlqPosition>,
) -> Result<Option<Vec<DeadLetter>>> {
    let mut unread_offsets = BTreeMap::<u32, BTreeSet<u64>>::new();
    for (partition, offset) in positions {
        unread_offsets
            .entry(*partition)
            .or_default()
            .insert(*offset);
    }

    let mut dead_letters = BTreeMap::new();
    while !unread_offsets.is_empty() {
        // Each scan reads one run of nearby offsets from every partition.
        let runs: OffsetRanges = unread_offsets
            .iter()
            .map(|(partition, offsets)| (*partition, first_run(offsets)))
            .collect();
        let mut batches = scan(log, topic, ScanRange::Between(runs.clone()))
            .await?
            .batches;
        while let Some((partition, records)) = batches.try_next().await? {
            for record in records {
                let dlq_position = (partition, record.offset);
                if !positions.contains(&dlq_position) {
                    continue;
                }
                let Some(dead_letter) = decode(&record) else {
                    return Ok(None);
                };
                dead_letters.insert((dead_letter.position(), dlq_position), dead_letter);
            }
        }

        unread_offsets.retain(|partition, offsets| {
            // `runs` contains each of these partitions.
            let (_, end) = runs[partition];
            offsets.retain(|offset| *offset >= end);
            !offsets.is_empty()
        });
    }

    if dead_letters.len() != positions.len() {
        return Ok(None);
    }
    Ok(Some(dead_letters.into_values().collect()))
}

/// Returns the first offset and the end of the first run of `offsets`. The offsets of a run are each
/// at most [`MAX_DISTANCE`] behind the previous one.
fn first_run(offsets: &BTreeSet<u64>) -> (u64, u64) {
    // The caller keeps no empty set.
    let first_offset = offsets.first().copied().unwrap_or_default();
    let mut last_offset = first_offset;
    for offset in offsets {
        // After the first offset that is too far away, `last_offset` stays, so all later offsets
        // are too far away as well.
        if *offset - last_offset <= MAX_DISTANCE {
            last_offset = *offset;
        }
    }
    (first_offset, last_offset + 1)
}
