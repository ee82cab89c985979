//! What was asked of a shop and what it has answered, and what must hold then.

use std::collections::{BTreeMap, BTreeSet};

use shop_core::ports::Summary;
use shop_core::{Purchase, PurchaseId, Total};

/// Each attempt to buy, by its price: no two have the same one.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub attempts: Vec<Attempt>,
    /// By user, the last erasure.
    pub erasures: BTreeMap<usize, Erasure>,
}

#[derive(Debug, Clone)]
pub struct Attempt {
    pub user: usize,
    pub key: Option<String>,
    /// Whether it was only appended to the log: ingest stores it later.
    pub is_appended: bool,
    pub answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// None yet, or that the outcome is unknown.
    None,
    Bought(PurchaseId),
    /// That nothing was changed.
    NotApplied,
}

/// An erasure of what was bought in the attempts before `before`.
#[derive(Debug, Clone, Copy)]
pub struct Erasure {
    pub before: usize,
    pub is_answered: bool,
}

/// The units of a total that the price 1 has.
const UNITS: i128 = 100_000_000;

/// The price of an attempt: a whole number.
pub const fn price_of(attempt: usize) -> i64 {
    attempt as i64 + 1
}

impl History {
    /// Notes an attempt. Returns its number.
    pub fn begin(&mut self, user: usize, key: Option<String>, is_appended: bool) -> usize {
        self.attempts.push(Attempt { user, key, is_appended, answer: Answer::None });
        self.attempts.len() - 1
    }

    /// What a copy must and may have that was begun at this history, and has ended at `end`.
    pub fn copied_until(&self, mut end: Self) -> Self {
        for (number, attempt) in end.attempts.iter_mut().enumerate() {
            let is_before = self.attempts.get(number).is_some_and(|before| before.answer == attempt.answer);
            if !is_before {
                attempt.answer = Answer::None;
            }
        }
        for (user, erasure) in &mut end.erasures {
            erasure.is_answered &= self
                .erasures
                .get(user)
                .is_some_and(|before| before.is_answered && before.before == erasure.before);
        }
        end
    }

    /// Whether a purchase may, and whether it must be listed.
    fn listed(&self, number: usize) -> (bool, bool) {
        let Attempt { user, answer, is_appended, .. } = &self.attempts[number];
        let erasure = self.erasures.get(user).filter(|erasure| number < erasure.before);
        let is_bought = matches!(answer, Answer::Bought(_));
        match erasure {
            // One without an answer, or in the log, may be on its way still.
            Some(Erasure { is_answered: true, .. }) => (*is_appended || *answer == Answer::None, false),
            Some(_) => (*answer != Answer::NotApplied, false),
            None => (*answer != Answer::NotApplied, is_bought),
        }
    }

    /// Whether `listed`, with `summary`, is what `user` must see. What has no answer, or is only in the log, may appear
    /// between the two, unless the shop `is_quiet`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn judge(
        &self,
        user: usize,
        listed: &[Purchase],
        summary: Summary,
        is_quiet: bool,
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        let mut sum = 0_i128;
        for purchase in listed {
            let units = Total::default().checked_add_price(purchase.price).map_or(0, Total::units);
            let number = usize::try_from(units / UNITS - 1).unwrap_or(usize::MAX);
            let attempt = self.attempts.get(number).filter(|attempt| attempt.user == user);
            let Some(attempt) = attempt else {
                return Err(format!("user {user} has {purchase:?}, which was never bought"));
            };
            if !seen.insert(number) {
                return Err(format!("user {user} has attempt {number} twice"));
            }
            if !self.listed(number).0 {
                return Err(format!(
                    "user {user} has attempt {number}, which was erased or refused: {attempt:?}"
                ));
            }
            if let Answer::Bought(id) = attempt.answer
                && id != purchase.id
            {
                return Err(format!("attempt {number} was bought as {id}, and is listed as {}", purchase.id));
            }
            sum += units;
        }
        let own = (0..self.attempts.len()).filter(|number| self.attempts[*number].user == user);
        if let Some(lost) = own
            .filter(|number| self.listed(*number).1 && (is_quiet || !self.attempts[*number].is_appended))
            .find(|number| !seen.contains(number))
        {
            return Err(format!("user {user} lost attempt {lost}: {:?}", self.attempts[lost]));
        }
        let comes = |attempt: &Attempt| attempt.is_appended || attempt.answer == Answer::None;
        let has_none = self.attempts.iter().any(|attempt| attempt.user == user && comes(attempt));
        let expected = Summary::new(listed.len() as u64, Total::from_units(sum));
        if summary != expected && (is_quiet || !has_none) {
            return Err(format!("user {user} has {expected:?} in its list, and {summary:?} in its sums"));
        }
        Ok(())
    }
}
