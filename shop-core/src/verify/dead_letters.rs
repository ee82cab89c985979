//! The dead letters of the log: which records were dead-lettered, and which of them an operator
//! resolved.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;

use super::VerifyReport;
use super::lookup::PendingRecord;
use crate::log::{DeadLetter, DeadLetterState, Gap, Log, ReasonKind, RecordId, Resolution};
use crate::record::{Record as _, header};
use crate::{Purchase, PurchaseId, Result};

/// The dead letters of the log, by record and by purchase.
#[derive(Debug, Default)]
pub(super) struct DeadLetterIndex {
    /// The state of the dead letter of each record.
    ///
    /// Pending takes precedence over resolved, because a dead letter may be put again after it was
    /// resolved.
    pub(super) records: BTreeMap<RecordId, Disposition>,
    /// The ids of purchases whose dead letter an operator replayed.
    replayed: BTreeSet<PurchaseId>,
    /// The state of the dead letters about refunds, by the id of the refund.
    ///
    /// A refund that waited in the store is dead-lettered under one of several records of the
    /// refund.
    refunds: BTreeMap<PurchaseId, Disposition>,
    /// The gaps whose dead letter is pending: the ranges of offsets that the log lost.
    pub(super) gaps: Vec<Gap>,
}

/// The state of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    /// The dead letter is pending, for this reason.
    DeadLettered(ReasonKind),
    /// An operator replayed or discarded the dead letter.
    Resolved,
}

impl VerifyReport {
    /// Counts a record by the state of its dead letter.
    pub(super) fn count_disposition(&mut self, disposition: Disposition) {
        match disposition {
            Disposition::DeadLettered(reason) => {
                self.dead_lettered += 1;
                self.conflicts += u64::from(reason == ReasonKind::Conflict);
            }
            Disposition::Resolved => self.resolved += 1,
        }
    }
}

impl DeadLetterIndex {
    /// Reads all dead letters of `log`, pending and resolved.
    ///
    /// # Errors
    /// Returns the errors of the log.
    pub(super) async fn read(log: &dyn Log) -> Result<Self> {
        let mut index = Self::default();
        let mut dead_letters = log.scan_dead_letters().await?;
        while let Some(state) = dead_letters.try_next().await? {
            match state {
                DeadLetterState::Pending(dead_letter) => {
                    let disposition = Disposition::DeadLettered(dead_letter.reason.kind());
                    index.gaps.extend(dead_letter.gap());
                    index.records.insert(dead_letter.record_id(), disposition);
                    if let Some(id) = refund_id(&dead_letter) {
                        index.refunds.insert(id, disposition);
                    }
                }
                DeadLetterState::Resolved(dead_letter) => {
                    index
                        .records
                        .entry(dead_letter.record_id)
                        .or_insert(Disposition::Resolved);
                    // The dead letter of a gap, or of a record that does not decode, may have no
                    // id.
                    let Some(id) = dead_letter.id.and_then(|id| id.parse().ok()) else {
                        continue;
                    };
                    if dead_letter.resolution == Resolution::Replayed {
                        index.replayed.insert(id);
                    }
                    index.refunds.entry(id).or_insert(Disposition::Resolved);
                }
            }
        }
        Ok(index)
    }

    /// Returns the state of the dead letter that accounts for the pending `record`, or `None` if there
    /// is none.
    ///
    /// This is the dead letter of the record itself. A record whose id is stored with other content is
    /// also accounted for by a replayed dead letter about the same purchase: by the replay, an
    /// operator decided which of the two contents to store, so the other content is no mismatch.
    pub(super) fn pending_disposition(&self, record: &PendingRecord) -> Option<Disposition> {
        if let Some(disposition) = self.records.get(&record.record_id) {
            return Some(*disposition);
        }
        let is_replayed = record.differs && self.replayed.contains(&record.id);
        is_replayed.then_some(Disposition::Resolved)
    }

    /// Returns the state of the dead letter about the refund in `record`, which may have been put for
    /// another record of the same refund.
    ///
    /// Returns `None` if there is no such dead letter, or if `record` is not a refund.
    pub(super) fn refund_disposition(&self, record: &PendingRecord) -> Option<Disposition> {
        if !record.purchase.as_ref()?.is_refund() {
            return None;
        }
        self.refunds.get(&record.id).copied()
    }
}

/// Returns the id of the refund in the record of `dead_letter`, or `None` if the record has no type
/// header, which every record of a refund has.
///
/// Another producer may use this header for purposes of its own. The id of such a record does no
/// harm, because only refunds are searched for by their id.
fn refund_id(dead_letter: &DeadLetter) -> Option<PurchaseId> {
    if !dead_letter.record.headers.contains(header::TYPE) {
        return None;
    }
    dead_letter.id(Purchase::TYPE)?.parse().ok()
}
