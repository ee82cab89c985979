//! Checks a history of purchases.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use shop_client::{Price, Purchase, PurchaseId, Summary, Total, UserId};

use super::{Call, Entry, Outcome, Sees, rows};

/// The maximum number of purchases of which all subsets of a sum are tried.
const MAX_TRIED: usize = 12;

/// The result of checking a history.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) acknowledged: usize,
    /// Acknowledged purchases that a read did not include although everything was stored.
    pub(crate) missing: BTreeSet<PurchaseId>,
    /// Purchases that a read included twice.
    pub(crate) twice: BTreeSet<PurchaseId>,
    /// Own purchases that a read did not include although the service had waited for them.
    pub(crate) stale: BTreeSet<PurchaseId>,
    pub(crate) reads: usize,
    /// All violations as text, including these three.
    pub(crate) violations: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (acknowledged, missing, twice) =
            (self.acknowledged, self.missing.len(), self.twice.len());
        let stale = self.stale.len();
        let reads = self.reads;
        let violations = self.violations.len();
        write!(
            f,
            "acknowledged {acknowledged}, missing {missing}, twice {twice}, "
        )?;
        write!(
            f,
            "stale own reads {stale} of {reads}, violations {violations}"
        )
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
#[derive(Debug, Default)]
struct UserHistory<'a> {
    bought: BTreeMap<PurchaseId, Bought>,
    /// The starts of calls that may have bought a purchase with an unknown id.
    unnamed: Vec<(u64, Price)>,
    reads: Vec<Read<'a>>,
    /// The prices of the purchases that were read.
    listed: BTreeMap<PurchaseId, Price>,
}

#[derive(Debug, Clone, Copy)]
struct Read<'a> {
    begin: u64,
    end: u64,
    sees: Sees,
    found: Found<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Found<'a> {
    List(&'a [Purchase]),
    Sum(Summary),
}

/// Judges a whole history.
pub(crate) fn judge(entries: &[Entry]) -> Verdict {
    let mut users: BTreeMap<&UserId, UserHistory<'_>> = BTreeMap::new();
    for entry in entries {
        if let Call::Buy { user, .. } | Call::List { user, .. } | Call::Sum { user, .. } =
            &entry.call
        {
            users.entry(user).or_default().add(entry);
        }
    }
    let mut verdict = Verdict {
        violations: rows::judge(entries),
        ..Verdict::default()
    };
    let mut positions = BTreeMap::new();
    for (user, history) in &users {
        history.judge_reads(user, &mut verdict);
        history.judge_order(user, &mut verdict);
        verdict.acknowledged += history
            .bought
            .values()
            .filter(|one| one.acknowledged.is_some())
            .count();
        for (id, bought) in &history.bought {
            let Some(other) = bought.position.and_then(|at| positions.insert(at, *id)) else {
                continue;
            };
            verdict.violations.push(format!(
                "{id} and {other} were acknowledged with one position"
            ));
        }
    }
    verdict
}

impl<'a> UserHistory<'a> {
    fn add(&mut self, entry: &'a Entry) {
        let Entry {
            begin,
            end,
            call,
            outcome,
        } = entry;
        let read = |sees: &Sees, found| Read {
            begin: *begin,
            end: *end,
            sees: *sees,
            found,
        };
        match (call, outcome) {
            (Call::Buy { id: _, price, .. }, Outcome::Bought { id, position }) => {
                let bought = self.attempt(*id, *price, *begin);
                if bought.acknowledged.is_none() {
                    bought.acknowledged = Some(*end);
                    bought.position = *position;
                }
            }
            (
                Call::Buy {
                    id: Some(id),
                    price,
                    ..
                },
                Outcome::Unknown,
            ) => {
                self.attempt(*id, *price, *begin);
            }
            (
                Call::Buy {
                    id: None, price, ..
                },
                Outcome::Unknown,
            ) => self.unnamed.push((*begin, *price)),
            (Call::List { sees, .. }, Outcome::Listed(found)) => {
                self.reads.push(read(sees, Found::List(found)));
                self.listed
                    .extend(found.iter().map(|purchase| (purchase.id, purchase.price)));
            }
            (Call::Sum { sees, .. }, Outcome::Summed(found)) => {
                self.reads.push(read(sees, Found::Sum(*found)));
            }
            _ => {}
        }
    }

    fn attempt(&mut self, id: PurchaseId, price: Price, begin: u64) -> &mut Bought {
        let new = Bought {
            price,
            begin,
            acknowledged: None,
            position: None,
            is_repeated: false,
        };
        let bought = self
            .bought
            .entry(id)
            .and_modify(|bought| bought.is_repeated = true)
            .or_insert(new);
        bought.begin = bought.begin.min(begin);
        bought
    }

    fn judge_reads(&self, user: &UserId, verdict: &mut Verdict) {
        let mut seen = Seen::default();
        for read in &self.reads {
            verdict.reads += 1;
            let required = self.required(read, &seen);
            match read.found {
                Found::List(found) => {
                    self.judge_list(user, read, found, verdict);
                    self.judge_missing(user, read, found, &required, verdict);
                    seen.add(read.end, found.iter().map(|purchase| purchase.id));
                }
                Found::Sum(found) => self.judge_sum(user, read, found, &required, verdict),
            }
        }
    }

    /// The purchases that a read must include.
    fn required(&self, read: &Read<'_>, seen: &Seen<PurchaseId>) -> BTreeSet<PurchaseId> {
        let mut required = seen.before(read.begin);
        match read.sees {
            Sees::Earlier => {}
            Sees::Own(id) => drop(required.insert(id)),
            Sees::All => {
                let is_due =
                    |bought: &Bought| bought.acknowledged.is_some_and(|end| end < read.begin);
                required.extend(
                    self.bought
                        .iter()
                        .filter(|(_, bought)| is_due(bought))
                        .map(|(id, _)| *id),
                );
            }
        }
        required
    }

    fn judge_missing(
        &self,
        user: &UserId,
        read: &Read<'_>,
        found: &[Purchase],
        required: &BTreeSet<PurchaseId>,
        verdict: &mut Verdict,
    ) {
        let found: BTreeSet<_> = found.iter().map(|purchase| purchase.id).collect();
        for id in required.difference(&found) {
            let what = match read.sees {
                Sees::Own(own) if own == *id => {
                    verdict.stale.insert(*id);
                    "its own"
                }
                Sees::All
                    if self
                        .bought
                        .get(id)
                        .is_some_and(|bought| bought.acknowledged.is_some()) =>
                {
                    verdict.missing.insert(*id);
                    "an acknowledged"
                }
                _ => "an earlier seen",
            };
            verdict.violations.push(format!(
                "{user} did not find {what} purchase {id} at {}",
                read.begin
            ));
        }
    }

    /// A list has only purchases of the user, once, unchanged, oldest first.
    fn judge_list(
        &self,
        user: &UserId,
        read: &Read<'_>,
        found: &[Purchase],
        verdict: &mut Verdict,
    ) {
        let mut ids = BTreeSet::new();
        let mut unexpected = 0;
        for purchase in found {
            let id = purchase.id;
            if !ids.insert(id) {
                verdict.twice.insert(id);
                verdict.violations.push(format!("{user} found {id} twice"));
            }
            match self
                .bought
                .get(&id)
                .filter(|bought| bought.begin < read.end)
            {
                Some(bought) if bought.price == purchase.price && purchase.user_id == *user => {}
                Some(_) => verdict
                    .violations
                    .push(format!("{user} did not buy {purchase:?} so")),
                None => unexpected += 1,
            }
        }
        if unexpected
            > self
                .unnamed
                .iter()
                .filter(|(begin, _)| *begin < read.end)
                .count()
        {
            verdict.violations.push(format!(
                "{user} found {unexpected} purchases that they did not buy"
            ));
        }
        if !found.is_sorted_by_key(|purchase| (purchase.timestamp, purchase.id)) {
            verdict.violations.push(format!(
                "{user} found purchases in another order than that of time and id"
            ));
        }
        let times = found
            .iter()
            .map(|purchase| (purchase.id, purchase.timestamp))
            .collect();
        self.judge_sequence(user, "time", &times, verdict);
    }

    /// Positions in the log are in the order of the purchases.
    fn judge_order(&self, user: &UserId, verdict: &mut Verdict) {
        let positions = self
            .bought
            .iter()
            .filter_map(|(id, bought)| Some((*id, bought.position?)));
        // `judge` checks that positions are unique.
        self.judge_sequence(user, "position", &positions.collect(), verdict);
    }

    /// A purchase that began when another one was acknowledged does not have a smaller `what`.
    fn judge_sequence<K: Ord + fmt::Debug + Copy>(
        &self,
        user: &UserId,
        what: &str,
        keys: &BTreeMap<PurchaseId, K>,
        verdict: &mut Verdict,
    ) {
        let of = |(id, bought): (&PurchaseId, &Bought)| {
            let end = bought.acknowledged.filter(|_| !bought.is_repeated)?;
            Some((bought.begin, end, *keys.get(id)?, *id))
        };
        for (id, key) in overtaken(self.bought.iter().filter_map(of).collect()) {
            verdict.violations.push(format!(
                "{user} bought {id} later, but its {what} is {key:?}"
            ));
        }
    }

    /// A sum has exactly the purchases that it must include, and some that it may include.
    fn judge_sum(
        &self,
        user: &UserId,
        read: &Read<'_>,
        found: Summary,
        required: &BTreeSet<PurchaseId>,
        verdict: &mut Verdict,
    ) {
        let listed = |id: &PurchaseId| self.listed.get(id).copied();
        let price = |id: &PurchaseId| {
            self.bought
                .get(id)
                .map(|bought| bought.price)
                .or_else(|| listed(id))
        };
        let required_prices = Total::checked_sum(required.iter().filter_map(price)).unwrap();
        let named = self
            .bought
            .iter()
            .filter(|(id, one)| one.begin < read.end && !required.contains(id));
        let unnamed = self.unnamed.iter().filter(|(begin, _)| *begin < read.end);
        let possible: Vec<_> = named
            .map(|(_, one)| one.price)
            .chain(unnamed.map(|(_, price)| *price))
            .collect();
        let more = found
            .count
            .checked_sub(count(required.iter().filter_map(price)));
        let is_possible = more.is_some_and(|more| match possible.len() {
            0..=MAX_TRIED => is_sum_of_some(required_prices, &possible, more, found.total_spent),
            _ => more <= count(possible.iter().copied()),
        });
        // A list of the same count, before or after, has the same purchases. It has the same refunds if it has all that
        // had begun, or is later and has none.
        let is_exact = self.reads.iter().all(|other| match other.found {
            Found::List(list) if summary_of(list).count == found.count => {
                let is_earlier = other.end < read.begin;
                let is_apart = is_earlier || read.end < other.begin;
                let begun =
                    |one: &&Bought| is_earlier && one.price.is_negative() && one.begin < read.end;
                let refunds = self.bought.values().filter(begun).count();
                !is_apart
                    || found.count + refunds as u64 != list.len() as u64
                    || summary_of(list) == found
            }
            _ => true,
        });
        if !is_exact {
            verdict.violations.push(format!(
                "{user} found {found:?}, which is not the sum of as many listed"
            ));
        }
        if !is_possible {
            let (Sees::Own(id), 1) = (read.sees, required.len()) else {
                return verdict
                    .violations
                    .push(format!("{user} found {found:?} at {}", read.begin));
            };
            verdict.stale.insert(id);
            verdict
                .violations
                .push(format!("{user} found a sum without {id}: {found:?}"));
        }
    }
}

/// The sum of a list.
pub(super) fn summary_of(list: &[Purchase]) -> Summary {
    let prices = || list.iter().map(|purchase| purchase.price);
    Summary::new(count(prices()), Total::checked_sum(prices()).unwrap())
}

/// How many of these are prices of purchases. The others are of refunds.
fn count(prices: impl Iterator<Item = Price>) -> u64 {
    prices.filter(|price| !price.is_negative()).count() as u64
}

/// Whether `total` is `sum`, the prices of `more` purchases among these, and some refunds.
fn is_sum_of_some(sum: Total, prices: &[Price], more: u64, total: Total) -> bool {
    let Some((price, others)) = prices.split_first() else {
        return more == 0 && sum == total;
    };
    let with = sum.checked_add_price(*price).unwrap();
    let fewer = more.checked_sub(count([*price].into_iter()));
    fewer.is_some_and(|fewer| is_sum_of_some(with, others, fewer, total))
        || is_sum_of_some(sum, others, more, total)
}

/// Calls as begin, end, key and id: returns those with a smaller key than a call that had ended when they began.
pub(super) fn overtaken<K: Ord + Copy, I: Ord + Copy>(
    mut begun: Vec<(u64, u64, K, I)>,
) -> Vec<(I, K)> {
    let mut ended = begun.clone();
    begun.sort_unstable();
    ended.sort_unstable_by_key(|(_, end, ..)| *end);
    let mut ended = ended.into_iter().peekable();
    let mut greatest = None;
    let is_overtaken = |(begin, _, key, id)| {
        while let Some((.., earlier, _)) = ended.next_if(|(_, end, ..)| *end < begin) {
            greatest = greatest.max(Some(earlier));
        }
        greatest
            .is_some_and(|greatest| key < greatest)
            .then_some((id, key))
    };
    begun.into_iter().filter_map(is_overtaken).collect()
}

/// The ids seen by the end of each read.
#[derive(Debug)]
pub(super) struct Seen<K>(BTreeMap<K, u64>);

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Seen<K> {
    pub(super) fn add(&mut self, end: u64, ids: impl Iterator<Item = K>) {
        for id in ids {
            let first = self.0.entry(id).or_insert(end);
            *first = end.min(*first);
        }
    }

    pub(super) fn before(&self, begin: u64) -> BTreeSet<K> {
        self.0
            .iter()
            .filter(|(_, end)| **end < begin)
            .map(|(id, _)| *id)
            .collect()
    }
}
