//! What a log has put aside, as little of it as can be held to the records.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;

use crate::log::{DeadLetterState, LogAdmin, ReasonKind, RecordId, Resolution};
use crate::{PurchaseId, Result};

/// Ids of records and purchases.
#[derive(Debug, Default)]
pub(super) struct DeadLetterIndex {
    kept: BTreeMap<RecordId, ReasonKind>,
    settled: BTreeSet<RecordId>,
    replayed: BTreeSet<PurchaseId>,
}

/// What the log's side knows of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    DeadLettered(ReasonKind),
    Settled,
}

impl DeadLetterIndex {
    pub(super) async fn read(log: &dyn LogAdmin) -> Result<Self> {
        let mut aside = Self::default();
        let mut all = log.scan_dead_letters().await?;
        while let Some(state) = all.try_next().await? {
            match state {
                DeadLetterState::Pending(letter) => {
                    aside.kept.insert(letter.record_id(), letter.reason.kind());
                }
                DeadLetterState::Resolved(letter) => {
                    aside.settled.insert(letter.record_id);
                    if letter.resolution == Resolution::Replayed {
                        aside.replayed.extend(letter.id.and_then(|id| id.parse::<PurchaseId>().ok()));
                    }
                }
            }
        }
        Ok(aside)
    }

    /// What is known of `record`.
    pub(super) fn fate(&self, record: &RecordId) -> Option<Disposition> {
        // Whatever was settled before: a letter that is kept waits for somebody now.
        if let Some(reason) = self.kept.get(record) {
            return Some(Disposition::DeadLettered(*reason));
        }
        self.settled.contains(record).then_some(Disposition::Settled)
    }

    /// Whether a record with this id was replayed: then somebody has chosen which of two contents is to be stored.
    pub(super) fn was_replayed(&self, id: &PurchaseId) -> bool {
        self.replayed.contains(id)
    }
}
