//! What was asked of a shop and what it has answered, and what must hold then.

use std::collections::{BTreeMap, BTreeSet};

use shop_core::ports::Summary;
use shop_core::{Purchase, Total};

/// Each attempt to buy, by its price: no two have the same one.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub attempts: Vec<Attempt>,
    /// Records that no store accepts, by number: whether their append was answered.
    pub poison: Vec<bool>,
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// None yet, or that the outcome is unknown.
    None,
    Bought(Purchase),
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
        self.attempts.push(Attempt {
            user,
            key,
            is_appended,
            answer: Answer::None,
        });
        self.attempts.len() - 1
    }

    /// What a copy must and may have that was begun at this history, and has ended at `end`.
    pub fn copied_until(&self, mut end: Self) -> Self {
        for (number, attempt) in end.attempts.iter_mut().enumerate() {
            let is_before = self
                .attempts
                .get(number)
                .is_some_and(|before| before.answer == attempt.answer);
            if !is_before {
                attempt.answer = Answer::None;
            }
        }
        for (number, is_answered) in end.poison.iter_mut().enumerate() {
            *is_answered &= self.poison.get(number) == Some(&true);
        }
        for (user, erasure) in &mut end.erasures {
            erasure.is_answered &= self
                .erasures
                .get(user)
                .is_some_and(|before| before.is_answered && before.before == erasure.before);
        }
        end
    }

    /// Whether `numbers` of records are what the dead letters must have.
    ///
    /// # Errors
    /// What is wrong.
    pub fn judge_dead_letters(&self, numbers: &[usize]) -> Result<(), String> {
        let found: BTreeSet<_> = numbers.iter().copied().collect();
        if found.len() < numbers.len()
            || found.last().is_some_and(|last| *last >= self.poison.len())
        {
            return Err(format!(
                "{} records have the dead letters {numbers:?}",
                self.poison.len()
            ));
        }
        match (0..self.poison.len()).find(|number| self.poison[*number] && !found.contains(number))
        {
            Some(lost) => Err(format!("record {lost} is no dead letter")),
            None => Ok(()),
        }
    }

    /// Whether a purchase may, and whether it must be listed.
    fn listed(&self, number: usize) -> (bool, bool) {
        let Attempt {
            user,
            answer,
            is_appended,
            ..
        } = &self.attempts[number];
        let erasure = self
            .erasures
            .get(user)
            .filter(|erasure| number < erasure.before);
        let is_bought = matches!(answer, Answer::Bought(_));
        match erasure {
            // One without an answer, or in the log, may be on its way still.
            Some(Erasure {
                is_answered: true, ..
            }) => (*is_appended || *answer == Answer::None, false),
            Some(_) => (*answer != Answer::NotApplied, false),
            None => (*answer != Answer::NotApplied, is_bought),
        }
    }

    /// The attempt that has bought `purchase`.
    fn attempt_of(&self, purchase: &Purchase) -> Result<usize, String> {
        let units = Total::from(purchase.price).units();
        let number = usize::try_from(units / UNITS - 1).unwrap_or(usize::MAX);
        match self.attempts.get(number).filter(|_| units % UNITS == 0) {
            None => Err(format!("{purchase:?} was never bought")),
            Some(Attempt {
                answer: Answer::Bought(bought),
                ..
            }) if bought != purchase => Err(format!(
                "attempt {number} was bought as {bought:?}, and is there as {purchase:?}"
            )),
            Some(_) => Ok(number),
        }
    }

    /// Whether `events` since the attempt `first` are what a follower of all users must have seen.
    ///
    /// # Errors
    /// What is wrong.
    pub fn judge_events(&self, events: &[Purchase], first: usize) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for purchase in events {
            let number = self.attempt_of(purchase)?;
            if !seen.insert(number) {
                return Err(format!("attempt {number} has two events"));
            }
        }
        let must = |number: &usize| {
            let Attempt { user, answer, .. } = &self.attempts[*number];
            matches!(answer, Answer::Bought(_)) && !self.erasures.contains_key(user)
        };
        match (first..self.attempts.len())
            .filter(must)
            .find(|number| !seen.contains(number))
        {
            Some(lost) => Err(format!(
                "attempt {lost} has no event: {:?}",
                self.attempts[lost]
            )),
            None => Ok(()),
        }
    }

    /// Whether `listed`, newest first, with `summary`, is what `user` must see. What is only in the log is stored soon: only a
    /// shop `with_log` must list it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn judge(
        &self,
        user: usize,
        (listed, summary): &(Vec<Purchase>, Summary),
        with_log: bool,
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        let mut sum = Total::ZERO;
        for purchase in listed {
            let number = self.attempt_of(purchase)?;
            let attempt = &self.attempts[number];
            if attempt.user != user {
                return Err(format!(
                    "user {user} has {purchase:?} of user {}",
                    attempt.user
                ));
            }
            if !seen.insert(number) {
                return Err(format!("user {user} has attempt {number} twice"));
            }
            if !self.listed(number).0 {
                return Err(format!(
                    "user {user} has attempt {number}, which was erased or refused: {attempt:?}"
                ));
            }
            sum = sum
                .checked_add_price(purchase.price)
                .map_err(|error| error.to_string())?;
        }
        if let Some(pair) = listed
            .windows(2)
            .find(|pair| pair[0].timestamp < pair[1].timestamp)
        {
            return Err(format!("user {user} has {pair:?} in this order"));
        }
        let own = (0..self.attempts.len()).filter(|number| self.attempts[*number].user == user);
        let mut must = own.filter(|number| {
            self.listed(*number).1 && (with_log || !self.attempts[*number].is_appended)
        });
        if let Some(lost) = must.find(|number| !seen.contains(number)) {
            return Err(format!(
                "user {user} lost attempt {lost}: {:?}",
                self.attempts[lost]
            ));
        }
        let expected = Summary::new(listed.len() as u64, sum);
        if *summary != expected {
            return Err(format!(
                "user {user} has {expected:?} in its list, and {summary:?} in its sums"
            ));
        }
        Ok(())
    }
}
