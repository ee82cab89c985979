//! What a log has put aside, as little of it as can be held to the records.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures_util::{Stream, TryStreamExt};

use crate::log::{DeadLetterState, ReasonKind, Resolution};
use crate::{PurchaseId, Result};

/// Ids of places and purchases.
#[derive(Debug, Default)]
pub(super) struct Aside {
    kept: BTreeMap<PurchaseId, ReasonKind>,
    settled: BTreeSet<PurchaseId>,
    replayed: BTreeSet<PurchaseId>,
}

/// What the log's side knows of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    DeadLettered(ReasonKind),
    Settled,
}

impl Aside {
    pub(super) async fn read(all: impl Stream<Item = Result<DeadLetterState>> + Send) -> Result<Self> {
        let mut aside = Self::default();
        let mut all = pin!(all);
        while let Some(put_aside) = all.try_next().await? {
            match put_aside {
                DeadLetterState::Pending(letter) => {
                    aside.kept.insert(letter.place(), letter.reason.kind());
                }
                DeadLetterState::Resolved(letter) => {
                    aside.settled.insert(letter.place);
                    let replayed = letter.settlement == Resolution::Replayed;
                    aside.replayed.extend(letter.purchase.filter(|_| replayed));
                }
            }
        }
        Ok(aside)
    }

    /// What is known of the record at `place`.
    pub(super) fn fate(&self, place: &PurchaseId) -> Option<Fate> {
        // Whatever was settled before: a letter that is kept waits for somebody now.
        if let Some(reason) = self.kept.get(place) {
            return Some(Fate::DeadLettered(*reason));
        }
        self.settled.contains(place).then_some(Fate::Settled)
    }

    /// Whether a record with this id was replayed: then somebody has chosen which of two contents is to be stored.
    pub(super) fn was_replayed(&self, id: &PurchaseId) -> bool {
        self.replayed.contains(id)
    }
}
