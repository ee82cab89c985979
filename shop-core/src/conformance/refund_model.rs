//! Random calls of a store, compared with a model of purchases, refunds, erasure and retention.
//!
//! A file that is imported, a log that is read again, a partition that is added and a backup that
//! is restored are, for the store, purchases and refunds that arrive in another order, once more,
//! or after others were deleted.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::erase::{EraseFixture, delete_before, erase, insert, user};
use super::fixture::soon;
use super::refund::waiting_refunds;
use super::sample::{at, price, purchase_of};
use crate::domain::Currency;
use crate::ports::{ListOrder, Lookup, PageLimit, PageRequest, Selector};
use crate::{ErrorKind, Purchase, PurchaseId, Timestamp, Total};

const ROUNDS: u64 = 4;
const CALLS: usize = 60;
const USERS: u64 = 3;
const PURCHASES: u64 = 6;
/// The numbers of the purchases of a round, which are also their times in milliseconds.
const ROUND: u64 = 10_000;

/// What a store is to have.
#[derive(Debug, Default)]
struct Model {
    stored: BTreeMap<PurchaseId, Purchase>,
    /// In the order of their arrival.
    waiting: Vec<Purchase>,
    erased: BTreeSet<PurchaseId>,
}

impl Model {
    fn insert(&mut self, entry: &Purchase) {
        let is_known = self.stored.contains_key(&entry.id) || self.erased.contains(&entry.id);
        if is_known {
            return;
        }
        let Some(of) = entry.details.of else {
            self.stored.insert(entry.id, entry.clone());
            self.apply_waiting(entry);
            return;
        };
        if self.erased.contains(&of) {
            return;
        }
        match self.stored.get(&of) {
            Some(bought) => {
                if let Ok(refund) = entry.as_refund_of(bought) {
                    self.stored.insert(refund.id, refund);
                }
            }
            None => {
                let is_same =
                    |waiting: &Purchase| waiting.id == entry.id && waiting.same_content(entry);
                if !self.waiting.iter().any(is_same) {
                    self.waiting.push(entry.clone());
                }
            }
        }
    }

    /// Applies the first valid refund that waits for `bought`. The others contradict it.
    fn apply_waiting(&mut self, bought: &Purchase) {
        let waiting = std::mem::take(&mut self.waiting);
        for refund in waiting {
            if refund.details.of != Some(bought.id) {
                self.waiting.push(refund);
            } else if let Ok(refund) = refund.as_refund_of(bought)
                && !self.stored.contains_key(&refund.id)
            {
                self.stored.insert(refund.id, refund);
            }
        }
    }

    fn erase(&mut self, of: &str) {
        let of = user(of);
        let is_of_user = |entry: &Purchase| entry.user_id == of;
        for entry in self.stored.values().chain(&self.waiting) {
            if is_of_user(entry) {
                self.erased.insert(entry.id);
            }
        }
        self.stored.retain(|_, entry| !is_of_user(entry));
        self.waiting.retain(|entry| !is_of_user(entry));
    }

    /// A refund goes with its purchase, and one that waits by its own time.
    fn delete_before(&mut self, time: Timestamp) {
        let is_old = |entry: &Purchase| entry.details.of.is_none() && entry.timestamp < time;
        let old: BTreeSet<PurchaseId> = self
            .stored
            .values()
            .filter(|entry| is_old(entry))
            .map(|entry| entry.id)
            .collect();
        let is_deleted = |entry: &Purchase| {
            old.contains(&entry.id) || entry.details.of.is_some_and(|of| old.contains(&of))
        };
        self.stored.retain(|_, entry| !is_deleted(entry));
        self.waiting.retain(|entry| entry.timestamp >= time);
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
/// id, and three refunds, the last of which is above the price.
fn entries(round: u64) -> Vec<Vec<Purchase>> {
    let of_purchase = |index: u64| {
        let number = round * ROUND + 1_000 + index * 300;
        let bought = purchase_of(&format!("model-{round}-{}", index % USERS), number);
        let mut in_euros = bought.clone();
        in_euros.details.currency = Some("EUR".parse().unwrap());
        let other = Purchase {
            price: price("3.00"),
            ..bought.clone()
        };
        let time = at((round * ROUND + 3_000 + index * 300).cast_signed());
        let refund = |amount: &str| bought.refund(Some(price(amount)), time).unwrap();
        let above = Purchase {
            price: price("900000").negated(),
            ..refund("1.00")
        };
        vec![
            bought.clone(),
            in_euros,
            other,
            refund("0.50"),
            refund("1.00"),
            above,
        ]
    };
    (0..PURCHASES).map(of_purchase).collect()
}

/// A few entries in random order, at most one of each purchase and one refund of it.
fn batch(random: &mut Rng, entries: &[Vec<Purchase>]) -> Vec<Purchase> {
    let mut batch = Vec::new();
    for of_purchase in entries {
        let (purchases, refunds) = of_purchase.split_at(3);
        for candidates in [purchases, refunds] {
            if random.u8(..4) == 0 {
                batch.push(candidates[random.usize(..candidates.len())].clone());
            }
        }
    }
    random.shuffle(&mut batch);
    batch
}

/// Inserts, erasures, retention and another currency in random order leave what a model says.
pub async fn any_order_of_calls_has_the_state_of_the_model(fixture: &dyn EraseFixture) {
    for round in 1..=ROUNDS {
        let mut random = Rng::with_seed(round);
        let entries = entries(round);
        let mut model = Model::default();
        for call in 0..CALLS {
            let first = (round * ROUND).cast_signed();
            match random.u8(..10) {
                0 => {
                    let of = format!("model-{round}-{}", random.u64(..USERS));
                    model.erase(&of);
                    // A call is bounded, and repeated until it returns 0.
                    while erase(fixture, &of, 1_000).await > 0 {}
                }
                1 => {
                    let time = at(first + random.i64(1_000..4_500));
                    model.delete_before(time);
                    while delete_before(fixture, time, 1_000).await > 0 {}
                }
                2 => adopt_currencies(fixture).await,
                _ => {
                    let batch = batch(&mut random, &entries);
                    for entry in &batch {
                        model.insert(entry);
                    }
                    insert(fixture, &batch).await;
                }
            }
            remove_refused(fixture).await;
            assert_state(
                fixture,
                &model,
                &entries,
                &format!("round {round}, call {call}"),
            )
            .await;
        }
        for number in 0..USERS {
            let of = format!("model-{round}-{number}");
            while erase(fixture, &of, 1_000).await > 0 {}
        }
    }
}

/// The store takes the currency of the shop any number of times, and no other one.
async fn adopt_currencies(fixture: &dyn EraseFixture) {
    let store = fixture.currency().await;
    let euro: Currency = "EUR".parse().unwrap();
    let dollar: Currency = "USD".parse().unwrap();
    soon("adopt", store.adopt_currency(&euro))
        .await
        .expect("adopt");
    let error = soon("adopt", store.adopt_currency(&dollar))
        .await
        .expect_err("another currency");
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

/// Removes the refunds that contradict their purchase, as ingest does.
async fn remove_refused(fixture: &dyn EraseFixture) {
    let store = fixture.store().await;
    let waiting = waiting_refunds(&*store);
    loop {
        let refused = soon("settle", waiting.apply_waiting(10))
            .await
            .expect("settle");
        if refused.is_empty() {
            return;
        }
        let sequences: Vec<u64> = refused.iter().map(|entry| entry.sequence).collect();
        soon("remove", waiting.remove_waiting(&sequences))
            .await
            .expect("remove");
    }
}

async fn assert_state(
    fixture: &dyn EraseFixture,
    model: &Model,
    entries: &[Vec<Purchase>],
    context: &str,
) {
    let query = fixture.query().await;
    let users: BTreeSet<_> = entries.iter().map(|entries| &entries[0].user_id).collect();
    for user in users {
        let mut expected: Vec<Purchase> = model
            .stored
            .values()
            .filter(|entry| entry.user_id == *user)
            .cloned()
            .collect();
        expected.sort_by_key(|entry| (entry.timestamp, entry.id));
        let selector = Selector::User(user.clone());
        let request = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
        let page = soon("page", query.page(&selector, &request)).await;
        assert_eq!(page.expect("page").items, expected, "{context}");

        let summary = soon("summary", query.summary(&selector)).await;
        let summary = summary.expect("summary");
        let count = expected.iter().filter(|entry| entry.details.of.is_none());
        assert_eq!(summary.count, count.count() as u64, "{context}");
        let total = Total::checked_sum(expected.iter().map(|entry| entry.price)).unwrap();
        assert_eq!(summary.total_spent, total, "{context}");
    }
    for entry in entries.iter().flatten() {
        let found = soon("look up", query.look_up(&entry.id)).await;
        assert_eq!(
            found.expect("look up"),
            model.look_up(&entry.id),
            "{context}"
        );
    }
    let store = fixture.store().await;
    let waiting = soon("summary", waiting_refunds(&*store).waiting_summary()).await;
    let count = waiting.expect("summary").count;
    assert_eq!(count, model.waiting.len() as u64, "{context}");
}
