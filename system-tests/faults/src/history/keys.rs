//! The rules of idempotency keys: repeated calls with one key buy once.

use std::collections::BTreeMap;

use shop_core::{PurchaseId, UserId};

use super::user::{Erasure, UserHistory};
use super::{Acknowledgement, Call, Entry, Outcome};

/// The attempts to buy one purchase, in the order of their begins.
#[derive(Debug, Default)]
pub(super) struct Attempts<'a> {
    entries: Vec<&'a Entry>,
}

/// Groups the attempts of a history by the id of their purchase.
pub(super) fn attempts_by_id(entries: &[Entry]) -> BTreeMap<PurchaseId, Attempts<'_>> {
    let mut attempts: BTreeMap<_, Attempts<'_>> = BTreeMap::new();
    for entry in entries {
        let Call::Buy { id, .. } = entry.call else {
            continue;
        };
        let id = match &entry.outcome {
            Outcome::Bought(acknowledgement) => Some(acknowledgement.id),
            _ => id,
        };
        if let Some(id) = id {
            attempts.entry(id).or_default().entries.push(entry);
        }
    }
    attempts
}

impl Attempts<'_> {
    /// Returns the user who has made these attempts.
    pub(super) fn user(&self) -> Option<&UserId> {
        match &self.entries.first()?.call {
            Call::Buy { user, .. } => Some(user),
            _ => None,
        }
    }

    /// Returns the violations among these attempts of a user to buy the purchase `id`.
    pub(super) fn violations(&self, id: PurchaseId, user: &UserHistory<'_>) -> Vec<String> {
        let mut violations = Vec::new();
        for (number, entry) in self.entries.iter().enumerate() {
            let violation = match &entry.outcome {
                Outcome::Bought(acknowledgement) => {
                    self.violation_of_acknowledgement(number, acknowledgement, user)
                }
                Outcome::Conflict if !self.has_another_price(number) => {
                    Some("is refused as a conflict, and no other purchase has its key".to_owned())
                }
                Outcome::BoughtBeforeErasure if !user.has_erasure_before(entry.end) => {
                    Some("is refused as erased, and its user was not".to_owned())
                }
                _ => None,
            };
            violations.extend(violation.map(|violation| format!("{id} {violation}")));
        }
        violations
    }

    fn violation_of_acknowledgement(
        &self,
        number: usize,
        acknowledgement: &Acknowledgement,
        user: &UserHistory<'_>,
    ) -> Option<String> {
        let entry = self.entries[number];
        let Call::Buy { price, .. } = entry.call else {
            return None;
        };
        let purchase = acknowledgement.purchase.as_ref();
        if let Some(other) = purchase.filter(|purchase| purchase.price != price) {
            return Some(format!("is used for another purchase: {other:?}"));
        }
        if acknowledgement.is_replayed && !self.may_have_bought_beside(number) {
            return Some("is said to be bought before, and was not".to_owned());
        }

        let (first_end, first) = self.stored_before(entry.begin)?;
        let is_after = |erasure: &&Erasure| first_end < erasure.begin && erasure.begin < entry.end;
        match user.erasures.iter().find(is_after) {
            Some(erasure) if erasure.end < entry.begin => {
                Some("was erased, and is bought again".to_owned())
            }
            Some(_) => None,
            None if acknowledgement.is_replayed && purchase == first.purchase.as_ref() => None,
            None => Some(format!(
                "was bought as {first:?}, and again as {acknowledgement:?}"
            )),
        }
    }

    /// Returns whether an attempt beside this one may have bought the purchase before this one ended.
    fn may_have_bought_beside(&self, number: usize) -> bool {
        let end = self.entries[number].end;
        self.others(number)
            .any(|other| other.begin < end && other.outcome.may_have_bought())
    }

    /// Returns whether an attempt beside this one may have bought the purchase for another price.
    fn has_another_price(&self, number: usize) -> bool {
        let price_of = |entry: &Entry| match entry.call {
            Call::Buy { price, .. } => Some(price),
            _ => None,
        };
        let entry = self.entries[number];
        self.others(number).any(|other| {
            let may_be_first = other.begin < entry.end && other.outcome.may_have_bought();
            may_be_first && price_of(other) != price_of(entry)
        })
    }

    fn others(&self, number: usize) -> impl Iterator<Item = &Entry> {
        let others = self.entries.iter().enumerate();
        others.filter_map(move |(other, entry)| (other != number).then_some(*entry))
    }

    /// Returns the first acknowledgement of the stored purchase before `begin`, with its end.
    fn stored_before(&self, begin: u64) -> Option<(u64, &Acknowledgement)> {
        self.entries.iter().find_map(|entry| match &entry.outcome {
            Outcome::Bought(first) if first.is_stored && entry.end < begin => {
                Some((entry.end, first))
            }
            _ => None,
        })
    }
}
