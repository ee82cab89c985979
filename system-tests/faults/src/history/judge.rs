//! Checks a history of purchases.
//!
//! | rule | where |
//! |---|---|
//! | a listing has what it must have, and only purchases of the user, once, unchanged, in order | `UserHistory::judge_list` |
//! | a sum is that of the purchases | `UserHistory::judge_sum`, `Judge::judge_sums` |
//! | a later purchase has a later position and, if the clock is steady, a later time | `UserHistory::judge_sequence` |
//! | a follower sees each purchase once | `Judge::judge_events` |
//! | a record that no store accepts becomes a dead letter, and no other | `Judge::judge_dead_letters` |
//! | an idempotency key buys once | [`keys`](super::keys) |

use std::collections::{BTreeMap, BTreeSet};

use shop_core::ports::Summary;
use shop_core::{Purchase, PurchaseId, Total, TotalOverflow, UserId};

use super::user::UserHistory;
use super::{Call, Clock, Entry, Outcome, Sums, keys};

/// The result of checking a history.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The numbers of acknowledged purchases, and of reads, by these names. Of purchases, how many a read did not include
    /// although they were acknowledged and stored ("missing"), included twice ("twice"), or did not include although the
    /// service had waited for them ("stale own reads").
    pub figures: BTreeMap<&'static str, u64>,
    /// All violations as text, including these.
    pub violations: Vec<String>,
}

impl Verdict {
    pub(super) fn count(&mut self, figure: &'static str) {
        *self.figures.entry(figure).or_default() += 1;
    }
}

/// Judges a whole history.
#[must_use]
pub fn judge(entries: &[Entry], clock: Clock) -> Verdict {
    let mut judge = Judge {
        entries,
        clock,
        users: user_histories(entries),
        verdict: Verdict::default(),
    };
    for figure in [
        "acknowledged",
        "missing",
        "twice",
        "stale own reads",
        "reads",
    ] {
        judge.verdict.figures.insert(figure, 0);
    }
    for entry in entries {
        judge.judge_read(entry);
    }
    judge.judge_positions();
    judge.judge_keys();
    judge.verdict
}

fn user_histories(entries: &[Entry]) -> BTreeMap<&UserId, UserHistory<'_>> {
    let mut users: BTreeMap<&UserId, UserHistory<'_>> = BTreeMap::new();
    for entry in entries {
        let (Call::Buy { user, .. }
        | Call::Erase(user)
        | Call::List { user, .. }
        | Call::Sum { user, .. }) = &entry.call
        else {
            continue;
        };
        let history = users.entry(user).or_insert_with(|| UserHistory::new(user));
        history.add(entry);
    }
    users
}

struct Judge<'a> {
    entries: &'a [Entry],
    clock: Clock,
    users: BTreeMap<&'a UserId, UserHistory<'a>>,
    verdict: Verdict,
}

impl Judge<'_> {
    fn violation(&mut self, violation: String) {
        self.verdict.violations.push(violation);
    }

    fn judge_read(&mut self, entry: &Entry) {
        match (&entry.call, &entry.outcome) {
            (Call::List { user, sees, order }, Outcome::Listed(found, sum)) => {
                let Some(history) = self.users.get_mut(user) else {
                    return;
                };
                history.judge_list(entry, *sees, found, &mut self.verdict);
                history.judge_order(*order, found, &mut self.verdict);
                if self.clock == Clock::Steady {
                    history.judge_times(found, &mut self.verdict);
                }
                history.note_seen(entry, found);
                let expected = summary_of(found);
                if sum.is_some_and(|sum| Ok(sum) != expected) {
                    self.violation(format!(
                        "{user} has {expected:?} in the listing, and {sum:?} in its sums"
                    ));
                }
            }
            (Call::Sum { user, sees }, Outcome::Summed(found)) => {
                if let Some(history) = self.users.get(user) {
                    history.judge_sum(entry, *sees, *found, &mut self.verdict);
                }
            }
            (Call::SumAll, Outcome::SummedAll(sums)) => self.judge_sums(sums),
            (Call::Follow, Outcome::Followed(events)) => self.judge_events(entry, events),
            (Call::ListDeadLetters, Outcome::DeadLetters(found)) => {
                self.judge_dead_letters(entry, found);
            }
            _ => return,
        }
        self.verdict.count("reads");
    }

    /// All sums of one moment are equal.
    fn judge_sums(&mut self, sums: &Sums) {
        let Sums {
            of_shop,
            of_days,
            of_users,
        } = sums;
        if of_shop != of_days || of_shop != of_users {
            self.violation(format!(
                "all users have {of_shop:?}, {of_days:?} by days, and each of them {of_users:?} together"
            ));
        }
    }

    /// Each event is of a purchase, which has one event. Each purchase that was made while the follower was there has one,
    /// unless its user was erased.
    fn judge_events(&mut self, entry: &Entry, events: &[Purchase]) {
        let mut ids = BTreeSet::new();
        let mut violations = Vec::new();
        for purchase in events {
            if !ids.insert(purchase.id) {
                violations.push(format!("{} has two events", purchase.id));
            }
            if !self.users.contains_key(&purchase.user_id) {
                violations.push(format!("{purchase:?} has an event, and no buyer"));
            }
        }
        for history in self.users.values() {
            let own = events
                .iter()
                .filter(|purchase| purchase.user_id == *history.user);
            history.judge_content(entry.end, own, &mut self.verdict);
            if !history.erasures.is_empty() {
                continue;
            }
            for (id, bought) in &history.bought {
                let is_due = bought.begin > entry.begin
                    && bought.acknowledged.is_some_and(|end| end < entry.end);
                if is_due && !ids.contains(id) {
                    violations.push(format!("{} bought {id}, which has no event", history.user));
                }
            }
        }
        self.verdict.violations.extend(violations);
    }

    /// Each dead letter is a record that no store accepts, once. Each such record that was appended before is one.
    fn judge_dead_letters(&mut self, read: &Entry, found: &[u64]) {
        let mut unexpected = found.to_vec();
        let mut violations = Vec::new();
        for entry in self.entries {
            let Call::AppendPoison(number) = entry.call else {
                continue;
            };
            let at = unexpected.iter().position(|found| *found == number);
            let is_due = matches!(entry.outcome, Outcome::Done) && entry.end < read.begin;
            match at.filter(|_| entry.begin < read.end) {
                Some(at) => drop(unexpected.swap_remove(at)),
                None if is_due => violations.push(format!("record {number} is no dead letter")),
                None => {}
            }
        }
        if !unexpected.is_empty() {
            violations.push(format!(
                "the dead letters {unexpected:?} are unexpected, or are there twice"
            ));
        }
        self.verdict.violations.extend(violations);
    }

    /// No two purchases have one position in the log, and those of a user have positions in their order.
    fn judge_positions(&mut self) {
        let mut positions = BTreeMap::new();
        for history in self.users.values() {
            for (id, bought) in &history.bought {
                if bought.acknowledged.is_some() {
                    self.verdict.count("acknowledged");
                }
                let other = bought
                    .position
                    .and_then(|position| positions.insert(position, *id));
                if let Some(other) = other {
                    self.verdict.violations.push(format!(
                        "{id} and {other} were acknowledged with one position"
                    ));
                }
            }
            let position_of = |id: &PurchaseId| history.bought[id].position;
            history.judge_sequence("position", position_of, &mut self.verdict);
        }
    }

    fn judge_keys(&mut self) {
        for entry in self.entries {
            let has_no_key = matches!(entry.call, Call::Buy { id: None, .. });
            let is_refused = matches!(
                entry.outcome,
                Outcome::Conflict | Outcome::BoughtBeforeErasure
            );
            if has_no_key && is_refused {
                self.violation(format!("a purchase without a key is refused: {entry:?}"));
            }
        }
        for (id, attempts) in keys::attempts_by_id(self.entries) {
            if let Some(user) = attempts.user().and_then(|user| self.users.get(user)) {
                let violations = attempts.violations(id, user);
                self.verdict.violations.extend(violations);
            }
        }
    }
}

/// Returns the sum of a listing, which counts its purchases, not its refunds.
///
/// # Errors
/// When the sum is too large.
pub fn summary_of(listing: &[Purchase]) -> Result<Summary, TotalOverflow> {
    let prices = || listing.iter().map(|purchase| purchase.price);
    let count = prices().filter(|price| !price.is_negative()).count();
    Ok(Summary::new(count as u64, Total::checked_sum(prices())?))
}
