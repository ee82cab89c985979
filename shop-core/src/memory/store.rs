//! An in-memory store of purchases and refunds.
//!
//! A refund may arrive before its purchase. The store keeps it as a *waiting refund*, and decides
//! about it when the purchase is inserted: it is applied, forgotten as a repetition, or refused. A
//! refused refund stays in `waiting` with its refusal, until ingest makes it a dead letter and
//! removes it.
//!
//! Erased ids are kept as marks, so that the log cannot bring an erased purchase back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::backend::Backend;
use crate::domain::Currency;
use crate::lock::lock;
use crate::log::Reason;
use crate::ports::{
    CurrencyStore, Deletion, DescribeStore, Durability, ImportedFiles, InsertOutcome, Keyset,
    ListOrder, Lookup, Page, PageBounds, PageRequest, PurchaseErase, PurchaseQuery, RecordStore,
    RefundDecision, Removed, Selector, StoreInfo, Summary, UserNames, WaitingRefund,
    WaitingRefunds, WaitingSummary, decide_refunds, rejected_currency,
};
use crate::{Purchase, PurchaseId, Result, Timestamp, UserId, Uuid};

/// An in-memory store of purchases, with one index, by time: for tests, and for few purchases.
///
/// Clones share the purchases.
#[derive(Debug, Clone, Default)]
pub struct InMemoryStore {
    tables: Arc<Mutex<StoreTables>>,
}

/// The tables of a store, which change together under one lock.
#[derive(Debug, Default)]
struct StoreTables {
    /// The purchases and the applied refunds by their id.
    purchases: BTreeMap<PurchaseId, Purchase>,
    /// An index of `purchases` by time and id.
    by_time: BTreeSet<Keyset>,
    /// The ids of erased purchases, which are never stored again.
    erased: BTreeSet<PurchaseId>,
    /// The refunds that wait for their purchase, and those that were refused, in the order of their
    /// sequences.
    waiting: Vec<WaitingRefund>,
    /// The sequence of the next waiting refund.
    next_sequence: u64,
    /// The currency of the store: the first one that was adopted.
    currency: Option<Currency>,
    /// How each imported file was read last, by the digest of the file.
    imported_files: BTreeMap<Uuid, String>,
    last_seen: Option<Timestamp>,
}

impl InMemoryStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the parts of this store. Their sink writes straight into the store.
    #[must_use]
    pub fn backend(&self) -> Backend {
        let mut backend = Backend::of_store(self.clone(), Durability::Memory);
        backend.erase = Some(Arc::new(self.clone()));
        backend.currency_store = Some(Arc::new(self.clone()));
        backend
    }

    /// Returns all purchases, ordered by id.
    #[must_use]
    pub fn all(&self) -> Vec<Purchase> {
        lock(&self.tables).purchases.values().cloned().collect()
    }
}

impl StoreTables {
    /// Inserts a purchase or a refund, and applies the refunds that waited for the purchase.
    fn insert(&mut self, purchase: &Purchase) -> InsertOutcome {
        if let Some(reason) = self.currency_contradiction(purchase) {
            return InsertOutcome::Rejected(reason);
        }
        if let Some(purchase_id) = purchase.details.of {
            return self.insert_refund(purchase, &purchase_id);
        }

        let outcome = self.insert_row(purchase);
        if matches!(outcome, InsertOutcome::Inserted) {
            self.settle_refunds_of(&purchase.id);
        }
        outcome
    }

    /// Inserts `refund` if its purchase `purchase_id` is stored. If the purchase is not stored, the
    /// refund waits until the purchase is inserted.
    fn insert_refund(&mut self, refund: &Purchase, purchase_id: &PurchaseId) -> InsertOutcome {
        if self.erased.contains(purchase_id) || self.erased.contains(&refund.id) {
            return InsertOutcome::Erased;
        }
        let Some(purchase) = self.purchases.get(purchase_id) else {
            return self.keep_waiting(refund);
        };
        match refund.as_refund_of(purchase) {
            Ok(row) => self.insert_row(&row),
            Err(contradiction) => InsertOutcome::Rejected(contradiction.into()),
        }
    }

    /// Keeps `refund` as a waiting refund. The outcome is a duplicate if an equal refund is kept
    /// already.
    fn keep_waiting(&mut self, refund: &Purchase) -> InsertOutcome {
        let is_waiting_already = self
            .waiting
            .iter()
            .any(|entry| entry.refund.id == refund.id && entry.refund.same_content(refund));
        if is_waiting_already {
            return InsertOutcome::Duplicate;
        }

        let entry = WaitingRefund::new(self.next_sequence, refund.clone());
        self.waiting.push(entry);
        self.next_sequence += 1;
        InsertOutcome::Waiting
    }

    /// Inserts the row of `purchase`, unless its id is in use or was erased.
    fn insert_row(&mut self, purchase: &Purchase) -> InsertOutcome {
        if let Some(stored) = self.purchases.get(&purchase.id) {
            return if stored.same_content(purchase) {
                InsertOutcome::Duplicate
            } else {
                InsertOutcome::Conflict
            };
        }
        if self.erased.contains(&purchase.id) {
            return InsertOutcome::Erased;
        }
        self.by_time.insert(Keyset::for_purchase(purchase));
        self.purchases.insert(purchase.id, purchase.clone_stored());
        InsertOutcome::Inserted
    }

    /// Decides about the refunds that wait for the stored purchase `id`: applies them, forgets
    /// them, or keeps their refusal.
    fn settle_refunds_of(&mut self, id: &PurchaseId) {
        let Some(purchase) = self.purchases.get(id).cloned() else {
            return;
        };
        let is_of_purchase = |entry: &mut WaitingRefund| {
            entry.refund.details.of == Some(*id) && entry.refusal.is_none()
        };
        let waiting_refunds: Vec<WaitingRefund> =
            self.waiting.extract_if(.., is_of_purchase).collect();
        let stored_refund = self.purchases.get(&id.refund_id()).cloned();

        let decisions = decide_refunds(&purchase, stored_refund.as_ref(), &waiting_refunds);
        for (entry, decision) in waiting_refunds.into_iter().zip(decisions) {
            match decision {
                RefundDecision::Apply(refund) => {
                    // A waiting refund is neither stored nor erased, so its row is inserted.
                    self.insert_row(&refund);
                }
                RefundDecision::Forget => {}
                RefundDecision::Refuse(reason) => self.waiting.push(entry.with_refusal(reason)),
            }
        }
        // The refused refunds were appended, so the order of sequences is restored.
        self.waiting.sort_by_key(|entry| entry.sequence);
    }

    /// Returns the reason to reject `purchase` because of its currency, or `None` if there is none.
    ///
    /// A purchase is rejected if its currency differs from the currency of the store, or if the
    /// store has no currency. A purchase without a currency is accepted.
    fn currency_contradiction(&self, purchase: &Purchase) -> Option<Reason> {
        let purchase_currency = purchase.details.currency.as_ref()?;
        rejected_currency(self.currency.as_ref(), purchase_currency)
    }

    /// Deletes the rows of `keys`, which are all stored, and returns their number.
    fn delete(&mut self, keys: &[Keyset]) -> u64 {
        for key in keys {
            self.by_time.remove(key);
            self.purchases.remove(&key.id);
        }
        keys.len() as u64
    }

    /// Counts the purchases, the refunds and the waiting refunds before `time`, up to `limit`.
    fn count_before(&self, time: Timestamp, limit: usize) -> u64 {
        let rows_before = self.by_time.iter().take_while(|key| key.timestamp < time);
        let waiting_before = self
            .waiting
            .iter()
            .filter(|entry| entry.refund.timestamp < time);
        let count = rows_before.take(limit).count() + waiting_before.count();
        count.min(limit) as u64
    }

    /// Removes at most `limit` waiting refunds for which `is_selected` is true, and returns their
    /// ids.
    fn remove_waiting(
        &mut self,
        limit: usize,
        is_selected: impl Fn(&Purchase) -> bool,
    ) -> Vec<PurchaseId> {
        let selected_entries = self
            .waiting
            .extract_if(.., |entry| is_selected(&entry.refund));
        // `extract_if` removes only the entries that are taken from it.
        selected_entries
            .take(limit)
            .map(|entry| entry.refund.id)
            .collect()
    }

    /// Adds the refund of each purchase to `keys`, and the purchase of each refund. Returns all
    /// keys in order, each once.
    ///
    /// A purchase and its refund are deleted together, so that sums do not count one without the
    /// other.
    fn with_refunds(&self, keys: Vec<Keyset>) -> Vec<Keyset> {
        let mut keys_with_refunds: BTreeSet<Keyset> = keys.iter().copied().collect();
        for key in keys {
            let refunded_id = self.purchases.get(&key.id).and_then(|row| row.details.of);
            let related_id = refunded_id.unwrap_or_else(|| key.id.refund_id());
            let related_purchase = self.purchases.get(&related_id);
            keys_with_refunds.extend(related_purchase.map(Keyset::for_purchase));
        }
        keys_with_refunds.into_iter().collect()
    }

    /// Returns the purchases in `range` that `selector` matches, oldest first.
    fn selected<'a>(
        &'a self,
        selector: &'a Selector,
        range: impl RangeBounds<Keyset>,
    ) -> impl DoubleEndedIterator<Item = &'a Purchase> {
        let purchases = self
            .by_time
            .range(range)
            .filter_map(move |key| self.purchases.get(&key.id));
        purchases.filter(move |purchase| selector.matches(purchase))
    }

    /// Returns the first `limit` purchases within `bounds` that `selector` matches, in `order`.
    fn select_page(
        &self,
        selector: &Selector,
        order: ListOrder,
        bounds: &PageBounds,
        limit: usize,
    ) -> Vec<Purchase> {
        // The key with the lowest possible id is before the keys of all purchases at `timestamp`.
        let first_key_at = |timestamp: Timestamp| Keyset {
            timestamp,
            id: PurchaseId::from_uuid(Uuid::nil()),
        };
        let from = bounds.from.map(|time| Bound::Included(first_key_at(time)));
        let to = bounds.to.map(|time| Bound::Excluded(first_key_at(time)));
        let after = bounds.after.map(Bound::Excluded);
        // `after` is the last purchase of the previous page. It lies within the bounds, so it
        // replaces the bound at which the listing begins.
        let (start, end) = match order {
            ListOrder::OldestFirst => (after.or(from), to),
            ListOrder::NewestFirst => (from, after.or(to)),
        };
        let range = (
            start.unwrap_or(Bound::Unbounded),
            end.unwrap_or(Bound::Unbounded),
        );

        let purchases = self.selected(selector, range);
        match order {
            ListOrder::OldestFirst => purchases.take(limit).cloned().collect(),
            ListOrder::NewestFirst => purchases.rev().take(limit).cloned().collect(),
        }
    }
}

#[async_trait]
impl PurchaseErase for InMemoryStore {
    async fn erase(&self, user: &UserId, limit: usize) -> Result<Removed> {
        let mut tables = lock(&self.tables);
        let selector = Selector::User(user.clone());
        let keys: Vec<Keyset> = tables
            .selected(&selector, ..)
            .take(limit)
            .map(Keyset::for_purchase)
            .collect();
        let waiting_ids =
            tables.remove_waiting(limit - keys.len(), |refund| refund.user_id == *user);

        tables.erased.extend(keys.iter().map(|key| key.id));
        tables.erased.extend(&waiting_ids);
        let deleted_count = tables.delete(&keys);
        Ok(Removed::from(deleted_count + waiting_ids.len() as u64))
    }

    async fn mark_erased(&self, ids: &[PurchaseId]) -> Result<u64> {
        let mut tables = lock(&self.tables);
        let mut marked_count = 0;
        for id in ids {
            // A stored purchase is not marked: `erase` erases it first.
            if tables.purchases.contains_key(id) {
                continue;
            }
            let is_new_mark = tables.erased.insert(*id);
            marked_count += u64::from(is_new_mark);
            tables.remove_waiting(usize::MAX, |refund| {
                refund.id == *id || refund.details.of == Some(*id)
            });
        }
        Ok(marked_count)
    }

    async fn delete_before(
        &self,
        time: Timestamp,
        limit: usize,
        deletion: Deletion,
    ) -> Result<Removed> {
        let mut tables = lock(&self.tables);
        if deletion == Deletion::DryRun {
            return Ok(Removed::from(tables.count_before(time, limit)));
        }
        let old_keys: Vec<Keyset> = tables
            .by_time
            .iter()
            .take_while(|key| key.timestamp < time)
            .take(limit)
            .copied()
            .collect();
        let keys = tables.with_refunds(old_keys);
        let waiting_limit = limit.saturating_sub(keys.len());
        let waiting_ids = tables.remove_waiting(waiting_limit, |refund| refund.timestamp < time);
        let deleted_count = tables.delete(&keys);
        Ok(Removed::from(deleted_count + waiting_ids.len() as u64))
    }

    async fn last_seen(&self, new_time: Option<Timestamp>) -> Result<Option<Timestamp>> {
        let mut tables = lock(&self.tables);
        if new_time.is_some() {
            tables.last_seen = new_time;
        }
        Ok(tables.last_seen)
    }
}

#[async_trait]
impl WaitingRefunds for InMemoryStore {
    async fn waiting_summary(&self) -> Result<WaitingSummary> {
        let tables = lock(&self.tables);
        let times: Vec<Timestamp> = tables
            .waiting
            .iter()
            .filter(|entry| entry.refusal.is_none())
            .map(|entry| entry.refund.timestamp)
            .collect();
        let oldest_time = times.iter().min().copied();
        Ok(WaitingSummary::new(times.len() as u64, oldest_time))
    }

    /// Returns the refused refunds, and applies none: the insert of a purchase applies its refunds
    /// under the same lock.
    async fn apply_waiting(&self, removed: &[u64], limit: usize) -> Result<Vec<WaitingRefund>> {
        let mut tables = lock(&self.tables);
        tables
            .waiting
            .retain(|entry| !removed.contains(&entry.sequence));
        let refused_refunds = tables
            .waiting
            .iter()
            .filter(|entry| entry.refusal.is_some());
        Ok(refused_refunds.take(limit).cloned().collect())
    }
}

#[async_trait]
impl CurrencyStore for InMemoryStore {
    async fn currency(&self, adopted: Option<Currency>) -> Result<Option<Currency>> {
        let mut tables = lock(&self.tables);
        if tables.currency.is_none() {
            tables.currency = adopted;
        }
        Ok(tables.currency.clone())
    }
}

#[async_trait]
impl ImportedFiles for InMemoryStore {
    async fn last_reading(&self, file: Uuid, new_reading: Option<&str>) -> Result<Option<String>> {
        let mut tables = lock(&self.tables);
        if let Some(new_reading) = new_reading {
            tables.imported_files.insert(file, new_reading.to_owned());
        }
        Ok(tables.imported_files.get(&file).cloned())
    }
}

#[async_trait]
impl RecordStore<Purchase> for InMemoryStore {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        let mut tables = lock(&self.tables);
        Ok(batch
            .iter()
            .map(|purchase| tables.insert(purchase))
            .collect())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl DescribeStore for InMemoryStore {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
            .with_waiting_refunds(self)
            .with_imported_files(self)
            .with_user_names(self)
    }
}

#[async_trait]
impl UserNames for InMemoryStore {
    async fn next_name(&self, from: &str) -> Result<Option<String>> {
        let tables = lock(&self.tables);
        let names = tables
            .purchases
            .values()
            .map(|purchase| purchase.user_name.as_str());
        Ok(names.filter(|name| *name >= from).min().map(str::to_owned))
    }
}

#[async_trait]
impl PurchaseQuery for InMemoryStore {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let bounds = request.bounds(selector)?;
        // One purchase more than the page contains tells whether another page follows.
        let purchases = lock(&self.tables).select_page(
            selector,
            request.order,
            &bounds,
            request.limit.get() + 1,
        );
        Ok(Page::from_overfetch(purchases, selector, request))
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let tables = lock(&self.tables);
        let mut summary = Summary::default();
        for purchase in tables.selected(selector, ..) {
            summary = summary.checked_add(Summary::from_price(purchase.price))?;
        }
        Ok(summary)
    }

    /// Looks up the purchase, the mark of erasure, or the waiting refund with the id `id`.
    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        let tables = lock(&self.tables);
        if let Some(purchase) = tables.purchases.get(id) {
            return Ok(Lookup::Stored(purchase.clone()));
        }
        if tables.erased.contains(id) {
            return Ok(Lookup::Erased);
        }
        let waiting_entry = tables.waiting.iter().find(|entry| entry.refund.id == *id);
        Ok(match waiting_entry {
            Some(entry) => Lookup::Waiting(entry.refund.clone().without_context()),
            None => Lookup::Missing,
        })
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}
