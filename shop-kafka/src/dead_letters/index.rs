//! An index of a dead-letter topic: where its pending dead letters are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use shop_core::log::{
    DeadLetter, DeadLetterFilter, LogRecord, ReasonKind, RecordId, RecordPosition,
    ResolvedDeadLetter,
};
use shop_core::{Result, Timestamp};

use super::codec::{decode, marker_of};
use crate::scan::{OffsetRanges, ScanRange, scan};
use crate::shared::KafkaLogInner;

/// The greatest distance of two records that are read by one request. The records between them are skipped.
const MAX_DISTANCE: u64 = 256;

/// Kept in memory, and brought up to date by reading what was written since the last call. It has an entry for each dead
/// letter, pending or resolved, and no record.
#[derive(Debug, Default)]
pub(crate) struct DlqIndex {
    /// The id of the topic, if the brokers state it.
    topic_id: Option<Arc<str>>,
    /// The next offset to read, by partition.
    next: BTreeMap<u32, u64>,
    /// The pending dead letters, by record and partition: several partitions may have copies of one.
    pending: BTreeMap<(RecordId, u32), IndexedDeadLetter>,
    /// Their records, by position: a gap may start at the offset of a record.
    positions: BTreeMap<RecordPosition, BTreeSet<RecordId>>,
    pub(super) resolved: BTreeMap<RecordId, ResolvedDeadLetter>,
}

#[derive(Debug)]
struct IndexedDeadLetter {
    position: RecordPosition,
    kind: ReasonKind,
    time: Timestamp,
    /// Its offset in the dead-letter topic.
    offset: u64,
}

/// The partition and the offset of a dead letter in the dead-letter topic.
pub(crate) type DlqPosition = (u32, u64);

impl DlqIndex {
    /// Reads what was written since the last call.
    pub(crate) async fn catch_up(
        &mut self,
        log: &Arc<KafkaLogInner>,
        topic: &Arc<str>,
    ) -> Result<()> {
        let mut batches = scan(log, topic, ScanRange::From(self.next.clone()))
            .await?
            .1;
        // The scan has learned the id.
        let topic_id = log.health.topic_id(topic);
        if self.topic_id != topic_id {
            *self = Self {
                topic_id,
                ..Self::default()
            };
            batches = scan(log, topic, ScanRange::All).await?.1;
        }
        let mut batches = pin!(batches);
        while let Some((partition, records)) = batches.try_next().await? {
            for record in records {
                self.add(partition, &record);
                self.next.insert(partition, record.offset + 1);
            }
        }
        Ok(())
    }

    /// Whether `id` is or was among the dead letters.
    pub(crate) fn contains(&self, id: RecordId) -> bool {
        self.resolved.contains_key(&id) || self.first(id).is_some()
    }

    /// Where the dead letters are that `filter` selects, of the first `limit` positions.
    pub(crate) fn page(&self, filter: &DeadLetterFilter, limit: usize) -> BTreeSet<DlqPosition> {
        let selected = |id: &RecordId| {
            let (place, entry) = self.first(*id)?;
            filter
                .selects_at(&entry.position, entry.kind, entry.time)
                .then_some(place)
        };
        let after = (
            filter
                .after
                .as_ref()
                .map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let all = self
            .positions
            .range(after)
            .map(|(_, ids)| ids)
            .take_while(|_| filter.positions.is_empty());
        let chosen = filter
            .positions
            .iter()
            .filter_map(|position| self.positions.get(position));
        all.chain(chosen)
            .map(|ids| ids.iter().filter_map(selected).collect::<Vec<_>>())
            .filter(|places| !places.is_empty())
            .take(limit)
            .flatten()
            .collect()
    }

    /// The first copy of the dead letter `id`.
    fn first(&self, id: RecordId) -> Option<(DlqPosition, &IndexedDeadLetter)> {
        let ((_, partition), entry) = self.pending.range((id, 0)..=(id, u32::MAX)).next()?;
        Some(((*partition, entry.offset), entry))
    }

    fn add(&mut self, partition: u32, record: &LogRecord) {
        if let Some(dead_letter) = decode(record) {
            let id = dead_letter.record_id();
            let kind = dead_letter.reason.kind();
            // The same offsets may be lost again.
            let is_resolved = kind != ReasonKind::Gap && self.resolved.contains_key(&id);
            if is_resolved || self.pending.contains_key(&(id, partition)) {
                return;
            }
            let mut position = dead_letter.position();
            if let Some((other, _)) = self.positions.first_key_value()
                && other.topic == position.topic
            {
                position.topic = Arc::clone(&other.topic);
            }
            self.positions
                .entry(position.clone())
                .or_default()
                .insert(id);
            let entry = IndexedDeadLetter {
                position,
                kind,
                time: dead_letter.record.time,
                offset: record.offset,
            };
            self.pending.insert((id, partition), entry);
        } else if let Some(marker) = marker_of(record) {
            self.resolve(marker, partition);
        }
    }

    /// A marker resolves a record in all partitions, and a gap in its own `partition`, where it was put before.
    fn resolve(&mut self, marker: ResolvedDeadLetter, partition: u32) {
        let id = marker.record_id;
        self.resolved.insert(id, marker);
        let all = self.pending.range((id, 0)..=(id, u32::MAX));
        let resolved =
            all.filter(|((_, other), entry)| entry.kind != ReasonKind::Gap || *other == partition);
        let keys: Vec<_> = resolved.map(|(key, _)| *key).collect();
        let removed = keys
            .iter()
            .filter_map(|key| self.pending.remove(key))
            .last();
        let Some(IndexedDeadLetter { position, .. }) = removed else {
            return;
        };
        if self.first(id).is_none()
            && let Some(ids) = self.positions.get_mut(&position)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.positions.remove(&position);
            }
        }
    }
}

/// The dead letters at `places`, in the order of their positions; `None` if one of them is not there any more.
pub(crate) async fn read(
    log: &Arc<KafkaLogInner>,
    topic: &Arc<str>,
    places: &BTreeSet<DlqPosition>,
) -> Result<Option<Vec<DeadLetter>>> {
    let mut wanted = BTreeMap::<u32, BTreeSet<u64>>::new();
    for (partition, offset) in places {
        wanted.entry(*partition).or_default().insert(*offset);
    }
    let mut found = BTreeMap::new();
    while !wanted.is_empty() {
        let spans: OffsetRanges = wanted
            .iter()
            .map(|(partition, offsets)| (*partition, first_run(offsets)))
            .collect();
        let mut batches = pin!(scan(log, topic, ScanRange::Between(spans.clone())).await?.1);
        while let Some((partition, records)) = batches.try_next().await? {
            for record in records
                .iter()
                .filter(|record| places.contains(&(partition, record.offset)))
            {
                let Some(dead_letter) = decode(record) else {
                    return Ok(None);
                };
                found.insert(
                    (dead_letter.position(), partition, record.offset),
                    dead_letter,
                );
            }
        }
        wanted.retain(|partition, offsets| {
            let end = spans.get(partition).map_or(0, |(_, end)| *end);
            offsets.retain(|offset| *offset >= end);
            !offsets.is_empty()
        });
    }
    Ok((found.len() == places.len()).then(|| found.into_values().collect()))
}

/// From the first offset to the end of those that are not far behind each other.
fn first_run(offsets: &BTreeSet<u64>) -> (u64, u64) {
    let first = offsets.first().copied().unwrap_or_default();
    let mut last = first;
    for offset in offsets {
        // Those behind the first one that is far are still farther away.
        if *offset - last <= MAX_DISTANCE {
            last = *offset;
        }
    }
    (first, last + 1)
}
