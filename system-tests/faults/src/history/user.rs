//! The part of a history that is about one user, and what the reads of this user may have found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use shop_core::ports::{ListOrder, Summary};
use shop_core::{Price, Purchase, PurchaseId, UserId};

use super::judge::Verdict;
use super::{Call, Entry, Outcome, Sees};

/// All attempts to buy one purchase.
#[derive(Debug)]
pub(super) struct Bought<'a> {
    price: Price,
    /// When the first attempt began.
    pub(super) begin: u64,
    /// When the purchase was first acknowledged.
    pub(super) acknowledged: Option<u64>,
    /// When the purchase was first acknowledged as stored.
    stored: Option<u64>,
    /// The purchase as it was acknowledged.
    purchase: Option<&'a Purchase>,
    pub(super) position: Option<(u32, u64)>,
    /// Whether it may have been written more than once.
    is_repeated: bool,
}

impl Bought<'_> {
    /// Returns whether a listing may show `purchase` as this one.
    ///
    /// If several attempts reach a log, the store keeps one of them, which may have another time than the acknowledged one.
    fn is_unchanged_in(&self, purchase: &Purchase) -> bool {
        let is_exact = self.stored.is_some() || !self.is_repeated;
        match self.purchase {
            Some(bought) if is_exact => bought == purchase,
            _ => self.price == purchase.price,
        }
    }
}

/// The erasure of a user.
#[derive(Debug, Clone, Copy)]
pub(super) struct Erasure {
    pub(super) begin: u64,
    /// When the erasure was confirmed, or the maximum if it was not.
    pub(super) end: u64,
}

/// The part of a history that is about one user.
#[derive(Debug)]
pub(super) struct UserHistory<'a> {
    pub(super) user: &'a UserId,
    pub(super) bought: BTreeMap<PurchaseId, Bought<'a>>,
    /// The calls that may have bought a purchase with an unknown id: their begins and prices.
    unnamed: Vec<(u64, Price)>,
    pub(super) erasures: Vec<Erasure>,
    /// The purchases that a read has found, with the end of the first such read.
    seen: BTreeMap<PurchaseId, u64>,
}

impl<'a> UserHistory<'a> {
    pub(super) const fn new(user: &'a UserId) -> Self {
        Self {
            user,
            bought: BTreeMap::new(),
            unnamed: Vec::new(),
            erasures: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Adds an attempt to buy, or an erasure.
    pub(super) fn add(&mut self, entry: &'a Entry) {
        if let Call::Erase(_) = entry.call {
            let is_confirmed = matches!(entry.outcome, Outcome::Done);
            self.erasures.push(Erasure {
                begin: entry.begin,
                end: if is_confirmed { entry.end } else { u64::MAX },
            });
        }
        let Call::Buy { id, price, .. } = &entry.call else {
            return;
        };
        match (&entry.outcome, id) {
            (Outcome::Bought(acknowledgement), _) => {
                let bought = self.attempt(acknowledgement.id, *price, entry.begin);
                if bought.acknowledged.is_none() {
                    bought.acknowledged = Some(entry.end);
                    bought.position = acknowledgement.position;
                    bought.purchase = acknowledgement.purchase.as_ref();
                }
                if acknowledgement.is_stored {
                    bought.stored.get_or_insert(entry.end);
                }
            }
            (Outcome::Unknown, Some(id)) => drop(self.attempt(*id, *price, entry.begin)),
            (Outcome::Unknown, None) => self.unnamed.push((entry.begin, *price)),
            _ => {}
        }
    }

    /// Entries are in the order of their begins, so the first attempt is the earliest.
    fn attempt(&mut self, id: PurchaseId, price: Price, begin: u64) -> &mut Bought<'a> {
        let first = Bought {
            price,
            begin,
            acknowledged: None,
            stored: None,
            purchase: None,
            position: None,
            is_repeated: false,
        };
        self.bought
            .entry(id)
            .and_modify(|bought| bought.is_repeated = true)
            .or_insert(first)
    }

    pub(super) fn has_erasure_before(&self, time: u64) -> bool {
        self.erasures.iter().any(|erasure| erasure.begin < time)
    }

    /// Returns whether an erasure may have removed the purchase before a read ended.
    fn may_be_erased(&self, bought: &Bought<'_>, read_end: u64) -> bool {
        let removes = |erasure: &Erasure| erasure.begin > bought.begin && erasure.begin < read_end;
        self.erasures.iter().any(removes)
    }

    /// Returns whether an erasure may have removed a purchase, whose attempt is not known, between the read that has found it
    /// and the end of another read.
    fn may_be_erased_since_seen(&self, id: &PurchaseId, read_end: u64) -> bool {
        let seen = self.seen.get(id).copied().unwrap_or_default();
        let removes = |erasure: &Erasure| erasure.end > seen && erasure.begin < read_end;
        self.erasures.iter().any(removes)
    }

    /// Returns whether an erasure has removed the purchase for good before a read began. One that was only in the log, or
    /// whose outcome is unknown, may be stored after the erasure.
    fn is_erased(&self, bought: &Bought<'_>, read_begin: u64) -> bool {
        let Some(stored) = bought.stored else {
            return false;
        };
        let removes = |erasure: &Erasure| erasure.begin > stored && erasure.end < read_begin;
        self.erasures.iter().any(removes)
    }

    /// The purchases that a read must include.
    fn required(&self, entry: &Entry, sees: Sees) -> BTreeSet<PurchaseId> {
        let earlier = self.seen.iter().filter(|(_, end)| **end < entry.begin);
        let mut required: BTreeSet<_> = earlier.map(|(id, _)| *id).collect();
        if let Sees::Own(id) = sees {
            required.insert(id);
        }
        for (id, bought) in &self.bought {
            let due = if sees == Sees::All {
                bought.acknowledged
            } else {
                bought.stored
            };
            if due.is_some_and(|end| end < entry.begin) {
                required.insert(*id);
            }
        }
        required.retain(|id| match self.bought.get(id) {
            Some(bought) => !self.may_be_erased(bought, entry.end),
            None => !self.may_be_erased_since_seen(id, entry.end),
        });
        required
    }

    /// A listing has all that it must have, once, and only purchases of the user that were not erased.
    pub(super) fn judge_list(
        &self,
        entry: &Entry,
        sees: Sees,
        found: &[Purchase],
        verdict: &mut Verdict,
    ) {
        let user = self.user;
        let mut ids = BTreeSet::new();
        for purchase in found {
            let id = purchase.id;
            if !ids.insert(id) {
                verdict.count("twice");
                verdict.violations.push(format!("{user} found {id} twice"));
            }
            let bought = self.bought.get(&id);
            if bought.is_some_and(|bought| self.is_erased(bought, entry.begin)) {
                verdict
                    .violations
                    .push(format!("{user} found {id}, which was erased"));
            }
        }
        self.judge_content(entry.end, found, verdict);
        for id in self.required(entry, sees).difference(&ids) {
            let bought = self.bought.get(id);
            let what = match sees {
                Sees::Own(own) if own == *id => {
                    verdict.count("stale own reads");
                    "its own"
                }
                _ if bought.is_some_and(|bought| bought.acknowledged.is_some()) => {
                    verdict.count("missing");
                    "an acknowledged"
                }
                _ => "an earlier seen",
            };
            verdict.violations.push(format!(
                "{user} did not find {what} purchase {id} at {}: {bought:?}",
                entry.begin
            ));
        }
    }

    /// Each purchase was bought by the user, as it is. One with an unknown id is of an attempt with its price.
    pub(super) fn judge_content<'p>(
        &self,
        read_end: u64,
        found: impl IntoIterator<Item = &'p Purchase>,
        verdict: &mut Verdict,
    ) {
        let user = self.user;
        let mut strangers: BTreeMap<Price, BTreeSet<PurchaseId>> = BTreeMap::new();
        for purchase in found {
            match self.bought.get(&purchase.id) {
                Some(bought) if bought.begin < read_end => {
                    if !bought.is_unchanged_in(purchase) || purchase.user_id != *user {
                        verdict.violations.push(format!(
                            "{user} did not buy {purchase:?} so, but {bought:?}"
                        ));
                    }
                }
                _ => {
                    let ids = strangers.entry(purchase.price).or_default();
                    ids.insert(purchase.id);
                }
            }
        }
        for (price, ids) in strangers {
            let is_attempt =
                |(begin, attempted): &&(u64, Price)| *begin < read_end && *attempted == price;
            let attempts = self.unnamed.iter().filter(is_attempt).count();
            if ids.len() > attempts {
                verdict.violations.push(format!(
                    "{user} did not buy {ids:?} for {price}: {attempts} attempts may have"
                ));
            }
        }
    }

    pub(super) fn judge_order(&self, order: ListOrder, found: &[Purchase], verdict: &mut Verdict) {
        let key = |purchase: &Purchase| (purchase.timestamp, purchase.id);
        let is_sorted = match order {
            ListOrder::OldestFirst => found.is_sorted_by_key(key),
            ListOrder::NewestFirst => found.iter().rev().is_sorted_by_key(key),
        };
        if !is_sorted {
            verdict.violations.push(format!(
                "{} found purchases in another order than that of time and id",
                self.user
            ));
        }
    }

    pub(super) fn judge_times(&self, found: &[Purchase], verdict: &mut Verdict) {
        let times: BTreeMap<_, _> = found
            .iter()
            .map(|purchase| (purchase.id, purchase.timestamp))
            .collect();
        self.judge_sequence("time", |id| times.get(id).copied(), verdict);
    }

    pub(super) fn note_seen(&mut self, entry: &Entry, found: &[Purchase]) {
        for purchase in found {
            let first = self.seen.entry(purchase.id).or_insert(entry.end);
            *first = entry.end.min(*first);
        }
    }

    /// A sum counts the purchases that it must include, and some that it may include. When all is stored, it is that of
    /// the listing.
    pub(super) fn judge_sum(
        &self,
        entry: &Entry,
        sees: Sees,
        found: Summary,
        verdict: &mut Verdict,
    ) {
        // Refunds are not counted.
        let is_counted = |id: &PurchaseId| {
            let bought = self.bought.get(id);
            bought.is_none_or(|bought| !bought.price.is_negative())
        };
        let required = self.required(entry, sees);
        let min = required.iter().filter(|id| is_counted(id)).count();
        let possible = self.bought.iter().filter(|(id, bought)| {
            bought.begin < entry.end && is_counted(id) && !required.contains(id)
        });
        let unnamed = self.unnamed.iter().filter(|(begin, _)| *begin < entry.end);
        let max = min + possible.count() + unnamed.count();
        if usize::try_from(found.count).is_ok_and(|count| (min..=max).contains(&count)) {
            return;
        }
        if matches!(sees, Sees::Own(_)) {
            verdict.count("stale own reads");
        }
        verdict.violations.push(format!(
            "{} found the sum of {} at {}, not of {min} to {max}",
            self.user, found.count, entry.begin
        ));
    }

    /// A purchase that began when another one was acknowledged does not have a smaller `what`.
    pub(super) fn judge_sequence<K: Ord + Copy + fmt::Debug>(
        &self,
        what: &str,
        key: impl Fn(&PurchaseId) -> Option<K>,
        verdict: &mut Verdict,
    ) {
        let mut by_begin = Vec::new();
        for (id, bought) in &self.bought {
            if let (Some(end), Some(key), false) =
                (bought.acknowledged, key(id), bought.is_repeated)
            {
                by_begin.push((bought.begin, end, key, id));
            }
        }
        let mut by_end = by_begin.clone();
        by_begin.sort_unstable();
        by_end.sort_unstable_by_key(|(_, end, ..)| *end);
        let mut by_end = by_end.into_iter().peekable();
        let mut greatest = None;
        for (begin, _, key, id) in by_begin {
            while let Some((.., earlier, _)) = by_end.next_if(|(_, end, ..)| *end < begin) {
                greatest = greatest.max(Some(earlier));
            }
            if greatest.is_some_and(|greatest| key < greatest) {
                verdict.violations.push(format!(
                    "{} bought {id} later, but its {what} is {key:?}",
                    self.user
                ));
            }
        }
    }
}
