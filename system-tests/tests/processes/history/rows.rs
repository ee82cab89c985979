//! Checks a history of users and orders.

use std::collections::BTreeMap;
use std::fmt;

use shop_accounts::entity::Entity as _;
use shop_accounts::orders::Order;
use shop_accounts::users::User;

use super::judge::{Seen, overtaken};
use super::{Call, Entry, Outcome};

/// The rows of a kind.
#[derive(Debug)]
struct Rows<'a, T> {
    kind: &'static str,
    /// By the key of their requests.
    requested: BTreeMap<&'a str, Requested<'a, T>>,
    /// The acknowledged rows, by number.
    rows: BTreeMap<i64, Acknowledged<'a, T>>,
}

/// All requests with one key, of which at least one may have been applied.
#[derive(Debug)]
struct Requested<'a, T> {
    begin: u64,
    acknowledged: Option<Acknowledged<'a, T>>,
}

#[derive(Debug)]
struct Acknowledged<'a, T> {
    begin: u64,
    /// The end of the first acknowledgement.
    end: u64,
    number: i64,
    row: &'a T,
}

impl<T> Copy for Acknowledged<'_, T> {}

impl<T> Clone for Acknowledged<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

/// The violations of users and orders.
pub(super) fn judge(entries: &[Entry]) -> Vec<String> {
    let (mut users, mut orders, mut violations) =
        (Rows::new("user"), Rows::new("order"), Vec::new());
    for entry in entries {
        let row = match (&entry.call, &entry.outcome) {
            (_, Outcome::Unexpected(what)) => Err(format!("{:?} has returned {what}", entry.call)),
            (_, Outcome::NotApplied | Outcome::UnknownUser) => Ok(()),
            (Call::Register(new), Outcome::Registered(user))
                if *user == User::with_number(new, user.id) =>
            {
                users.add(entry, new.key.as_str(), Some((user.id.get(), user)))
            }
            (Call::Place(new), Outcome::Placed(order))
                if *order == Order::with_number(new, order.id) =>
            {
                orders.add(entry, new.key.as_str(), Some((order.id.get(), order)))
            }
            (Call::Register(new), Outcome::Unknown) => users.add(entry, new.key.as_str(), None),
            (Call::Place(new), Outcome::Unknown) => orders.add(entry, new.key.as_str(), None),
            (Call::Register(_) | Call::Place(_), other) => {
                Err(format!("{:?} has become {other:?}", entry.call))
            }
            _ => Ok(()),
        };
        violations.extend(row.err());
    }
    users.judge_numbers(&mut violations);
    orders.judge_numbers(&mut violations);
    for entry in entries {
        let judged = match (&entry.call, &entry.outcome) {
            (Call::FindUser(id), Outcome::FoundUser(user)) => {
                users.judge_read(entry, id.get(), user.as_ref())
            }
            (Call::FindOrder(id), Outcome::FoundOrder(order)) => {
                orders.judge_read(entry, id.get(), order.as_ref())
            }
            _ => Ok(()),
        };
        violations.extend(judged.err());
    }
    judge_users_of_orders(
        entries,
        &users.rows.keys().copied().collect::<Vec<_>>(),
        &orders,
        &mut violations,
    );
    judge_orders_of_users(entries, &orders, &mut violations);
    violations
}

impl<'a, T: PartialEq + fmt::Debug> Rows<'a, T> {
    const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            requested: BTreeMap::new(),
            rows: BTreeMap::new(),
        }
    }

    fn add(
        &mut self,
        entry: &Entry,
        key: &'a str,
        row: Option<(i64, &'a T)>,
    ) -> Result<(), String> {
        let new = Requested {
            begin: entry.begin,
            acknowledged: None,
        };
        let requested = self.requested.entry(key).or_insert(new);
        let Some((number, row)) = row else {
            return Ok(());
        };
        let begin = requested.begin;
        let end = entry.end;
        let first = requested.acknowledged.get_or_insert(Acknowledged {
            begin,
            end,
            number,
            row,
        });
        first.end = end.min(first.end);
        if first.row == row {
            Ok(())
        } else {
            Err(format!("{:?} was acknowledged again as {row:?}", first.row))
        }
    }

    /// Numbers are assigned in order, once, from 1, without gaps.
    fn judge_numbers(&mut self, violations: &mut Vec<String>) {
        let kind = self.kind;
        for (key, requested) in &self.requested {
            let Some(row) = requested.acknowledged else {
                continue;
            };
            if let Some(other) = self.rows.insert(row.number, row) {
                violations.push(format!("{key} has the number of {:?}", other.row));
            }
        }
        let numbers = 1..=i64::try_from(self.requested.len()).unwrap();
        if let Some(number) = self.rows.keys().find(|number| !numbers.contains(number)) {
            violations.push(format!(
                "{kind} {number} of {}: numbers are left out",
                numbers.end()
            ));
        }
        let calls = self
            .rows
            .values()
            .map(|row| (row.begin, row.end, row.number, row.number))
            .collect();
        for (number, _) in overtaken(calls) {
            violations.push(format!(
                "{kind} {number} was requested after a greater number was acknowledged"
            ));
        }
    }

    /// An acknowledged row is found unchanged.
    fn judge_read(&self, entry: &Entry, number: i64, found: Option<&T>) -> Result<(), String> {
        let kind = self.kind;
        match (self.rows.get(&number), found) {
            (Some(row), None) if row.end < entry.begin => {
                Err(format!("{kind} {number} was not found at {}", entry.begin))
            }
            (Some(row), Some(found)) if row.row != found || entry.end < row.begin => {
                Err(format!("{kind} {number} was found as {found:?}"))
            }
            (None, Some(_)) if self.requested.len() == self.rows.len() => {
                Err(format!("{kind} {number} was found, but not requested"))
            }
            _ => Ok(()),
        }
    }
}

/// A user with orders stays known.
fn judge_users_of_orders(
    entries: &[Entry],
    users: &[i64],
    orders: &Rows<'_, Order>,
    violations: &mut Vec<String>,
) {
    let mut known: BTreeMap<i64, u64> = BTreeMap::new();
    for order in orders.rows.values() {
        let since = known.entry(order.row.user_id.get()).or_insert(order.end);
        *since = order.end.min(*since);
    }
    let greatest = users.last().copied().unwrap_or_default();
    if let Some((user, _)) = known.last_key_value().filter(|(user, _)| **user > greatest) {
        violations.push(format!("user {user} has ordered, but was not registered"));
    }
    for entry in entries {
        if let (Call::Place(new), Outcome::UnknownUser) = (&entry.call, &entry.outcome)
            && known
                .get(&new.user_id.get())
                .is_some_and(|since| *since < entry.begin)
        {
            violations.push(format!(
                "user {} has ordered, but was not known at {}",
                new.user_id, entry.begin
            ));
        }
    }
}

/// The users' role lists only orders of this user, and no listed order is missing later.
fn judge_orders_of_users(
    entries: &[Entry],
    orders: &Rows<'_, Order>,
    violations: &mut Vec<String>,
) {
    let mut seen: BTreeMap<i64, Seen<i64>> = BTreeMap::new();
    for entry in entries {
        let (Call::OrdersOf(user), Outcome::OrdersFound(found)) = (&entry.call, &entry.outcome)
        else {
            continue;
        };
        let (user, found) = (
            user.get(),
            found.iter().map(|order| order.get()).collect::<Vec<_>>(),
        );
        let is_of_user = |order: &&i64| {
            orders
                .rows
                .get(*order)
                .is_none_or(|order| order.row.user_id.get() == user && order.begin < entry.end)
        };
        if let Some(order) = found.iter().find(|order| !is_of_user(order)) {
            violations.push(format!(
                "order {order} is listed for user {user} at {}",
                entry.begin
            ));
        }
        let seen = seen.entry(user).or_default();
        let is_whole = found.len() < shop_accounts::users::MAX_LISTED_ORDERS;
        let missing = seen
            .before(entry.begin)
            .into_iter()
            .find(|order| !found.contains(order));
        if let Some(order) = missing.filter(|_| is_whole) {
            violations.push(format!(
                "order {order} of user {user} was not listed again at {}",
                entry.begin
            ));
        }
        seen.add(entry.end, found.into_iter());
    }
}
