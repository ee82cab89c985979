//! Random calls of a store, compared with a model of purchases, refunds, erasure and retention.
//!
//! A file that is imported, a log that is read again, a partition that is added and a backup that
//! is restored are, for the store, purchases and refunds that arrive in another order, once more,
//! or after others were deleted.

use fastrand::Rng;

use super::erase::{delete_before, erase, mark};
use super::prelude::*;
use super::refund::{summary_of_waiting, waiting_refunds};
use crate::UserId;
use crate::ports::WaitingSummary;

/// Many short rounds: at the end of a long one, most ids are erased.
const ROUNDS: u64 = 10;
const CALLS: usize = 16;
const USERS: u64 = 3;
const PURCHASES: u64 = 6;
/// The numbers of the purchases of a round, which are also their times in milliseconds.
const ROUND: u64 = 10_000;

/// The number of entries under the id of a purchase, which come before its refunds.
const PURCHASES_OF_ID: usize = 4;

/// What a store is to have.
#[derive(Debug, Default)]
struct Model {
    stored: BTreeMap<PurchaseId, Purchase>,
    /// In the order of their arrival.
    waiting: Vec<Purchase>,
    erased: BTreeSet<PurchaseId>,
    /// Whether the store has the currency of the purchases that name one.
    has_currency: bool,
}

impl Model {
    /// Inserts `batch`. Returns the code of each outcome, and `?` where a store may decide in one
    /// way or another: about a refund whose purchase is in the same batch, which may wait until the
    /// end of the batch or not, and about a purchase that is erased as well as in a currency that
    /// the store does not have.
    fn insert(&mut self, batch: &[Purchase]) -> String {
        let mut new = ids_of(batch);
        new.retain(|id| !self.stored.contains_key(id));
        let mut outcomes = String::new();
        for entry in batch {
            let outcome = self.insert_one(entry);
            let is_undecided = entry.details.of.is_some_and(|of| new.contains(&of));
            outcomes.push(if is_undecided { '?' } else { outcome });
        }
        outcomes
    }

    fn insert_one(&mut self, entry: &Purchase) -> char {
        if entry.details.currency.is_some() && !self.has_currency {
            return if self.erased.contains(&entry.id) {
                '?'
            } else {
                'r'
            };
        }
        let Some(of) = entry.details.of else {
            let outcome = self.insert_row(entry);
            if outcome == 'i' {
                self.apply_waiting(entry);
            }
            return outcome;
        };
        if self.erased.contains(&of) || self.erased.contains(&entry.id) {
            return 'e';
        }
        let Some(bought) = self.stored.get(&of) else {
            let is_same =
                |waiting: &Purchase| waiting.id == entry.id && waiting.same_content(entry);
            if self.waiting.iter().any(is_same) {
                return 'd';
            }
            self.waiting.push(entry.clone());
            return 'w';
        };
        match entry.as_refund_of(bought) {
            Ok(refund) => self.insert_row(&refund),
            Err(_contradiction) => 'r',
        }
    }

    fn insert_row(&mut self, row: &Purchase) -> char {
        match self.stored.get(&row.id) {
            Some(stored) if stored.same_content(row) => 'd',
            Some(_) => 'c',
            None if self.erased.contains(&row.id) => 'e',
            None => {
                self.stored.insert(row.id, row.clone());
                'i'
            }
        }
    }

    /// Applies the first valid refund that waits for `bought`. The others contradict it.
    fn apply_waiting(&mut self, bought: &Purchase) {
        let waiting = std::mem::take(&mut self.waiting);
        for refund in waiting {
            if refund.details.of != Some(bought.id) {
                self.waiting.push(refund);
            } else if let Ok(refund) = refund.as_refund_of(bought) {
                self.insert_row(&refund);
            }
        }
    }

    /// Returns the number of erased entries.
    fn erase(&mut self, of: &str) -> usize {
        let of = user(of);
        let before = self.stored.len() + self.waiting.len();
        for entry in self.stored.values().chain(&self.waiting) {
            if entry.user_id == of {
                self.erased.insert(entry.id);
            }
        }
        self.stored.retain(|_, entry| entry.user_id != of);
        self.waiting.retain(|entry| entry.user_id != of);
        before - self.stored.len() - self.waiting.len()
    }

    /// Deletes old purchases, each with its refund, and refunds that wait, by their own time. Returns
    /// the number of deleted entries.
    fn delete_before(&mut self, time: Timestamp) -> usize {
        let before = self.stored.len() + self.waiting.len();
        let is_old = |entry: &&Purchase| entry.details.of.is_none() && entry.timestamp < time;
        let old = ids_of(self.stored.values().filter(is_old));
        let is_deleted = |entry: &Purchase| old.contains(&entry.details.of.unwrap_or(entry.id));
        self.stored.retain(|_, entry| !is_deleted(entry));
        self.waiting.retain(|entry| entry.timestamp >= time);
        before - self.stored.len() - self.waiting.len()
    }

    /// Marks the ids that are not stored, and forgets the refunds that wait under them or for them.
    /// Returns the number of new marks.
    fn mark(&mut self, ids: &BTreeSet<PurchaseId>) -> u64 {
        let mut marked = 0;
        for id in ids {
            if self.stored.contains_key(id) {
                continue;
            }
            marked += u64::from(self.erased.insert(*id));
            self.waiting
                .retain(|refund| refund.id != *id && refund.details.of != Some(*id));
        }
        marked
    }

    fn look_up(&self, id: &PurchaseId) -> Lookup {
        if let Some(stored) = self.stored.get(id) {
            return Lookup::Stored(stored.clone());
        }
        if self.erased.contains(id) {
            return Lookup::Erased;
        }
        let waiting = self.waiting.iter().find(|refund| refund.id == *id);
        waiting.map_or(Lookup::Missing, |refund| Lookup::Waiting(refund.clone()))
    }
}

/// The entries of a round: of each purchase itself, the same with a currency, another one with its
/// id, the same again at a later time than its refunds, two refunds, and four that are refused: above
/// the price, of another user, under another id than that of the refund, and earlier than the
/// purchase.
fn entries(round: u64) -> Vec<Vec<Purchase>> {
    let of_purchase = |index: u64| {
        let number = round * ROUND + 1_000 + index * 300;
        let user_of = |index: u64| format!("model-{round}-{}", index % USERS);
        let bought = purchase_of(&user_of(index), number);
        let mut in_euros = bought.clone();
        in_euros.details.currency = Some("EUR".parse().unwrap());
        let other = Purchase {
            price: price("3.00"),
            ..bought.clone()
        };
        let time = at((round * ROUND + 3_000 + index * 300).cast_signed());
        let again = Purchase {
            timestamp: at(time.as_millis() - at(0).as_millis() + 1),
            ..bought.clone()
        };
        let refund = |amount: &str| bought.refund(Some(price(amount)), time).unwrap();
        let above = Purchase {
            price: price("900000").negated(),
            ..refund("1.00")
        };
        let of_other_user = Purchase {
            user_id: user(&user_of(index + 1)),
            ..refund("1.00")
        };
        let under_other_id = Purchase {
            id: id(number + 1),
            ..refund("1.00")
        };
        let earlier = Purchase {
            timestamp: at(number.cast_signed() - 1),
            ..refund("1.00")
        };
        vec![
            bought.clone(),
            in_euros,
            other,
            again,
            refund("0.50"),
            refund("1.00"),
            above,
            of_other_user,
            under_other_id,
            earlier,
        ]
    };
    (0..PURCHASES).map(of_purchase).collect()
}

/// A few entries in random order, at most one of each purchase and one refund of it.
fn batch(random: &mut Rng, entries: &[Vec<Purchase>]) -> Vec<Purchase> {
    let mut batch = Vec::new();
    for of_purchase in entries {
        let (purchases, refunds) = of_purchase.split_at(PURCHASES_OF_ID);
        for candidates in [purchases, refunds] {
            if random.u8(..4) == 0 {
                batch.push(candidates[random.usize(..candidates.len())].clone());
            }
        }
    }
    random.shuffle(&mut batch);
    batch
}

/// Inserts, erasures, marks, retention and another currency in random order have the outcomes and
/// leave the entries of a model.
pub async fn any_order_of_calls_has_the_state_of_the_model(fixture: &dyn EraseFixture) {
    for round in 1..=ROUNDS {
        let mut random = Rng::with_seed(round);
        let entries = entries(round);
        let users: BTreeSet<_> = entries
            .iter()
            .map(|of_purchase| &of_purchase[0].user_id)
            .collect();
        let users: Vec<&str> = users.into_iter().map(UserId::as_str).collect();
        let all_ids = ids_of(entries.iter().flatten());
        let mut model = Model {
            has_currency: succeed(fixture.currency().await.currency(None))
                .await
                .is_some(),
            ..Model::default()
        };
        for call in 0..CALLS {
            let context = format!("round {round}, call {call}");
            match random.u8(..12) {
                0 => {
                    let of = users[random.usize(..users.len())];
                    let erased = repeat(async || erase(fixture, of, 1_000).await).await;
                    assert_eq!(erased, model.erase(of), "{context}");
                }
                1 => {
                    let time = at((round * ROUND).cast_signed() + random.i64(1_000..4_500));
                    let deleted = repeat(async || delete_before(fixture, time, 1_000).await).await;
                    assert_eq!(deleted, model.delete_before(time), "{context}");
                }
                2 => {
                    let store = fixture.currency().await;
                    succeed(store.currency(Some("EUR".parse().unwrap()))).await;
                    model.has_currency = true;
                }
                3 => {
                    let mut ids = all_ids.clone();
                    ids.retain(|_id| random.u8(..4) == 0);
                    let marked = mark(fixture, &Vec::from_iter(ids.iter().copied())).await;
                    assert_eq!(marked, model.mark(&ids), "{context}");
                }
                _ => {
                    let batch = batch(&mut random, &entries);
                    let expected = model.insert(&batch);
                    let outcomes = insert(fixture, &batch).await;
                    let is_expected = |(outcome, expected)| expected == '?' || outcome == expected;
                    let mut pairs = outcomes.chars().zip(expected.chars());
                    assert!(
                        outcomes.len() == batch.len() && pairs.all(is_expected),
                        "{context}: {outcomes}, not {expected}, of {batch:#?}"
                    );
                }
            }
            remove_refused(fixture).await;
            let of = users[call % users.len()];
            assert_state(fixture, &model, &all_ids, of, &context).await;
        }
        for of in users {
            repeat(async || erase(fixture, of, 1_000).await).await;
        }
    }
}

/// Repeats a call that is bounded until it returns 0. Returns the sum.
async fn repeat(call: impl AsyncFn() -> u64) -> usize {
    let mut sum = 0;
    loop {
        match call().await {
            0 => return sum,
            count => sum += usize::try_from(count).unwrap(),
        }
    }
}

/// Removes the refunds that contradict their purchase, as ingest does.
async fn remove_refused(fixture: &dyn EraseFixture) {
    let store = fixture.store().await;
    let mut removed: Vec<u64> = Vec::new();
    loop {
        let refused = succeed(waiting_refunds(&*store).apply_waiting(&removed, 10)).await;
        if refused.is_empty() {
            return;
        }
        removed = refused.iter().map(|entry| entry.sequence).collect();
    }
}

/// Checks that listings, sums and a scan have the stored entries of the model and no waiting ones,
/// and that each of `ids` is found as in the model.
async fn assert_state(
    fixture: &dyn EraseFixture,
    model: &Model,
    ids: &BTreeSet<PurchaseId>,
    of: &str,
    context: &str,
) {
    let query = fixture.query().await;
    let mut stored: Vec<Purchase> = model.stored.values().cloned().collect();
    stored.sort_by_key(|entry| (entry.timestamp, entry.id));
    for selector in [
        Selector::All,
        of_user(of),
        of_name(&format!("name of {of}")),
    ] {
        assert_listed(&query, &selector, &selected(&stored, &selector)).await;
    }
    assert_eq!(scanned(&query).await, ids_of(&stored), "{context}");
    // A look-up may take as long as an insert, so they are made at the same time.
    let look_ups = ids.iter().map(|id| succeed(query.look_up(id)));
    for (id, found) in ids.iter().zip(join_all(look_ups).await) {
        assert_eq!(found, model.look_up(id), "{context}");
    }
    let oldest = model.waiting.iter().map(|refund| refund.timestamp).min();
    let waiting = WaitingSummary::new(model.waiting.len() as u64, oldest);
    assert_eq!(summary_of_waiting(fixture).await, waiting, "{context}");
}
