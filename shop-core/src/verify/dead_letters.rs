//! An index of the dead letters of a log.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;

use crate::log::{DeadLetterState, Gap, LogAdmin, ReasonKind, RecordId, Resolution};
use crate::{PurchaseId, Result};

/// Ids of records and purchases.
#[derive(Debug, Default)]
pub(super) struct DeadLetterIndex {
    pending: BTreeMap<RecordId, ReasonKind>,
    resolved: BTreeSet<RecordId>,
    replayed: BTreeSet<PurchaseId>,
    gaps: Vec<Gap>,
}

/// The state of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    DeadLettered(ReasonKind),
    Resolved,
}

impl DeadLetterIndex {
    pub(super) async fn read(log: &dyn LogAdmin) -> Result<Self> {
        let mut index = Self::default();
        let mut all = log.scan_dead_letters().await?;
        while let Some(state) = all.try_next().await? {
            match state {
                DeadLetterState::Pending(dead_letter) => {
                    index.gaps.extend(dead_letter.gap());
                    index.pending.insert(dead_letter.record_id(), dead_letter.reason.kind());
                }
                DeadLetterState::Resolved(dead_letter) => {
                    index.resolved.insert(dead_letter.record_id);
                    if dead_letter.resolution == Resolution::Replayed {
                        index.replayed.extend(dead_letter.id.and_then(|id| id.parse::<PurchaseId>().ok()));
                    }
                }
            }
        }
        Ok(index)
    }

    /// The state of `record`, if it was dead-lettered.
    pub(super) fn disposition(&self, record: &RecordId) -> Option<Disposition> {
        // Pending takes precedence: a dead letter may have been put again after it was resolved.
        if let Some(reason) = self.pending.get(record) {
            return Some(Disposition::DeadLettered(*reason));
        }
        self.resolved.contains(record).then_some(Disposition::Resolved)
    }

    /// The pending gaps, merged.
    pub(super) fn gaps(&mut self) -> Vec<Gap> {
        Gap::merge(std::mem::take(&mut self.gaps))
    }

    /// Whether a record with this id was replayed. An operator has then decided which of two contents to store.
    pub(super) fn was_replayed(&self, id: &PurchaseId) -> bool {
        self.replayed.contains(id)
    }
}
