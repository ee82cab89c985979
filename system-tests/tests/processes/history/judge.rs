//! Checks a history of purchases.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use shop_client::{Price, Purchase, PurchaseId, Summary, Total, UserId};

use super::{Call, Entry, Outcome, Sees};

/// The result of checking a history.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// The numbers of acknowledged purchases, and of reads, by these names. Of purchases, how many a read did not include
    /// although everything was stored ("missing"), included twice ("twice"), or did not include although the service had
    /// waited for them ("stale own reads").
    pub(crate) figures: BTreeMap<&'static str, u64>,
    /// All violations as text, including these.
    pub(crate) violations: Vec<String>,
}

impl Verdict {
    fn count(&mut self, figure: &'static str) {
        *self.figures.entry(figure).or_default() += 1;
    }
}

/// All attempts to buy one purchase.
#[derive(Debug)]
struct Bought {
    price: Price,
    begin: u64,
    /// When it was first acknowledged.
    acknowledged: Option<u64>,
    position: Option<(u32, u64)>,
    /// It may have been written more than once.
    is_repeated: bool,
}

/// The part of a history that is about one user.
#[derive(Debug)]
struct UserHistory<'a> {
    user: &'a UserId,
    bought: BTreeMap<PurchaseId, Bought>,
    /// The starts of calls that may have bought a purchase with an unknown id.
    unnamed: Vec<u64>,
    /// The purchases that a read has found, with the end of the first such read.
    seen: BTreeMap<PurchaseId, u64>,
}

/// Judges a whole history.
pub(crate) fn judge(entries: &[Entry]) -> Verdict {
    let mut users: BTreeMap<&UserId, UserHistory<'_>> = BTreeMap::new();
    for entry in entries {
        if let Call::Buy { user, .. } = &entry.call {
            let history = users.entry(user).or_insert_with(|| UserHistory::of(user));
            history.add(entry);
        }
    }
    let mut verdict = Verdict::default();
    for figure in [
        "acknowledged",
        "missing",
        "twice",
        "stale own reads",
        "reads",
    ] {
        verdict.figures.insert(figure, 0);
    }
    for entry in entries {
        let (Call::List { user, sees } | Call::Sum { user, sees }) = &entry.call else {
            continue;
        };
        let history = users.entry(user).or_insert_with(|| UserHistory::of(user));
        match &entry.outcome {
            Outcome::Listed(found) => history.judge_list(entry, *sees, found, &mut verdict),
            Outcome::Summed(found) => history.judge_sum(entry, *sees, *found, &mut verdict),
            _ => continue,
        }
        verdict.count("reads");
    }
    let mut positions = BTreeMap::new();
    for history in users.values() {
        for (id, bought) in &history.bought {
            if bought.acknowledged.is_some() {
                verdict.count("acknowledged");
            }
            let Some(other) = bought.position.and_then(|at| positions.insert(at, *id)) else {
                continue;
            };
            verdict.violations.push(format!(
                "{id} and {other} were acknowledged with one position"
            ));
        }
        history.judge_sequence("position", |id| history.bought[id].position, &mut verdict);
    }
    verdict
}

impl<'a> UserHistory<'a> {
    const fn of(user: &'a UserId) -> Self {
        Self {
            user,
            bought: BTreeMap::new(),
            unnamed: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Adds an attempt to buy.
    fn add(&mut self, entry: &Entry) {
        let Call::Buy { id, price, .. } = &entry.call else {
            return;
        };
        match (&entry.outcome, id) {
            (Outcome::Bought { id, position }, _) => {
                let bought = self.attempt(*id, *price, entry.begin);
                if bought.acknowledged.is_none() {
                    bought.acknowledged = Some(entry.end);
                    bought.position = *position;
                }
            }
            (Outcome::Unknown, Some(id)) => drop(self.attempt(*id, *price, entry.begin)),
            (Outcome::Unknown, None) => self.unnamed.push(entry.begin),
            _ => {}
        }
    }

    /// Entries are in the order of their begins, so the first attempt is the earliest.
    fn attempt(&mut self, id: PurchaseId, price: Price, begin: u64) -> &mut Bought {
        let first = Bought {
            price,
            begin,
            acknowledged: None,
            position: None,
            is_repeated: false,
        };
        self.bought
            .entry(id)
            .and_modify(|bought| bought.is_repeated = true)
            .or_insert(first)
    }

    /// The purchases that a read must include.
    fn required(&self, entry: &Entry, sees: Sees) -> BTreeSet<PurchaseId> {
        let earlier = self.seen.iter().filter(|(_, end)| **end < entry.begin);
        let mut required: BTreeSet<_> = earlier.map(|(id, _)| *id).collect();
        match sees {
            Sees::Earlier => {}
            Sees::Own(id) => drop(required.insert(id)),
            Sees::All => {
                let is_due =
                    |bought: &Bought| bought.acknowledged.is_some_and(|end| end < entry.begin);
                let due = self.bought.iter().filter(|(_, bought)| is_due(bought));
                required.extend(due.map(|(id, _)| *id));
            }
        }
        required
    }

    /// A list has all that it must have, and only purchases of the user, once, unchanged, oldest first.
    fn judge_list(&mut self, entry: &Entry, sees: Sees, found: &[Purchase], verdict: &mut Verdict) {
        let user = self.user;
        let mut ids = BTreeSet::new();
        let mut unexpected = 0;
        for purchase in found {
            let id = purchase.id;
            if !ids.insert(id) {
                verdict.count("twice");
                verdict.violations.push(format!("{user} found {id} twice"));
            }
            match self.bought.get(&id) {
                Some(bought) if bought.begin < entry.end => {
                    if bought.price != purchase.price || purchase.user_id != *user {
                        let changed = format!("{user} did not buy {purchase:?} so");
                        verdict.violations.push(changed);
                    }
                }
                _ => unexpected += 1,
            }
        }
        if unexpected > self.unnamed_before(entry.end) {
            verdict.violations.push(format!(
                "{user} found {unexpected} purchases that they did not buy"
            ));
        }
        for id in self.required(entry, sees).difference(&ids) {
            let is_acknowledged = |id| {
                let bought: Option<&Bought> = self.bought.get(id);
                bought.is_some_and(|bought| bought.acknowledged.is_some())
            };
            let what = match sees {
                Sees::Own(own) if own == *id => {
                    verdict.count("stale own reads");
                    "its own"
                }
                Sees::All if is_acknowledged(id) => {
                    verdict.count("missing");
                    "an acknowledged"
                }
                _ => "an earlier seen",
            };
            verdict.violations.push(format!(
                "{user} did not find {what} purchase {id} at {}",
                entry.begin
            ));
        }
        if !found.is_sorted_by_key(|purchase| (purchase.timestamp, purchase.id)) {
            verdict.violations.push(format!(
                "{user} found purchases in another order than that of time and id"
            ));
        }
        let times: BTreeMap<_, _> = found
            .iter()
            .map(|purchase| (purchase.id, purchase.timestamp))
            .collect();
        self.judge_sequence("time", |id| times.get(id).copied(), verdict);
        for id in ids {
            let first = self.seen.entry(id).or_insert(entry.end);
            *first = entry.end.min(*first);
        }
    }

    fn unnamed_before(&self, end: u64) -> usize {
        self.unnamed.iter().filter(|begin| **begin < end).count()
    }

    /// A sum counts the purchases that it must include, and some that it may include. When all is stored, it is that of
    /// the list ([`list_and_sum`](super::History::list_and_sum)).
    fn judge_sum(&self, entry: &Entry, sees: Sees, found: Summary, verdict: &mut Verdict) {
        // Refunds are not counted.
        let is_counted = |id: &PurchaseId| {
            let bought = self.bought.get(id);
            bought.is_none_or(|bought| !bought.price.is_negative())
        };
        let required = self.required(entry, sees);
        let least = required.iter().filter(|id| is_counted(id)).count();
        let begun = self.bought.iter().filter(|(id, bought)| {
            bought.begin < entry.end && is_counted(id) && !required.contains(id)
        });
        let most = least + begun.count() + self.unnamed_before(entry.end);
        let count = usize::try_from(found.count).unwrap();
        if (least..=most).contains(&count) {
            return;
        }
        if matches!(sees, Sees::Own(_)) {
            verdict.count("stale own reads");
        }
        verdict.violations.push(format!(
            "{} found the sum of {count} at {}, not of {least} to {most}",
            self.user, entry.begin
        ));
    }

    /// A purchase that began when another one was acknowledged does not have a smaller `what`.
    fn judge_sequence<K: Ord + Copy + fmt::Debug>(
        &self,
        what: &str,
        key: impl Fn(&PurchaseId) -> Option<K>,
        verdict: &mut Verdict,
    ) {
        let mut begun = Vec::new();
        for (id, bought) in &self.bought {
            if let (Some(end), Some(key), false) =
                (bought.acknowledged, key(id), bought.is_repeated)
            {
                begun.push((bought.begin, end, key, id));
            }
        }
        let mut ended = begun.clone();
        begun.sort_unstable();
        ended.sort_unstable_by_key(|(_, end, ..)| *end);
        let mut ended = ended.into_iter().peekable();
        let mut greatest = None;
        for (begin, _, key, id) in begun {
            while let Some((.., earlier, _)) = ended.next_if(|(_, end, ..)| *end < begin) {
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

/// The sum of a list, which counts its purchases, not its refunds.
pub(super) fn summary_of(list: &[Purchase]) -> Summary {
    let prices = || list.iter().map(|purchase| purchase.price);
    let count = prices().filter(|price| !price.is_negative()).count();
    Summary::new(count as u64, Total::checked_sum(prices()).unwrap())
}
