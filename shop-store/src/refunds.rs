//! Batches with refunds, for stores whose statements insert rows by their ids alone.
//!
//! ```text
//! purchases ──▶ insert ──▶ apply the refunds that wait for them
//! refunds   ──▶ purchase stored? ──yes──▶ insert, if the purchase is still there
//!                     │no
//!                     ▼
//!                  keep waiting ──▶ purchase stored meanwhile? ──yes──▶ apply
//! ```
//!
//! Other processes write at the same time. A refund and its purchase do not miss each other: each is looked for after the
//! other was written, so at least one of the two processes sees both. Should that process end before it applies the refund,
//! the sweep of an ingest does.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use shop_core::domain::Currency;
use shop_core::log::Reason;
use shop_core::ports::{
    InsertOutcome, RefundDecision, WaitingRefund, rejected_currency, settle_refunds,
};
use shop_core::{Error, ErrorKind, Outcome, Purchase, PurchaseId, Result};

/// How often the refunds of a batch are looked at, while their purchases come and go.
const MAX_ROUNDS: usize = 5;

/// What is stored under an id.
#[derive(Debug, Clone)]
pub(crate) enum StoredRow {
    /// A purchase or a refund.
    Purchase(Purchase),
    /// A row that is no purchase, or cannot be read.
    Unreadable,
    /// The mark of an erased purchase.
    Mark,
}

impl StoredRow {
    fn purchase(&self) -> Option<&Purchase> {
        match self {
            Self::Purchase(purchase) => Some(purchase),
            Self::Unreadable | Self::Mark => None,
        }
    }
}

/// What a store of purchases remembers between its batches.
#[derive(Debug)]
pub(crate) struct PurchaseState {
    /// Whether refunds may wait. False only after none was counted, and while none was added.
    may_have_waiting: AtomicBool,
    /// The currency of the store, once it is known. It never changes.
    currency: Mutex<Option<Currency>>,
}

impl Default for PurchaseState {
    fn default() -> Self {
        Self {
            may_have_waiting: AtomicBool::new(true),
            currency: Mutex::new(None),
        }
    }
}

impl PurchaseState {
    fn known_currency(&self) -> Option<Currency> {
        self.currency
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_currency(&self, currency: &Currency) {
        *self.currency.lock().unwrap_or_else(PoisonError::into_inner) = Some(currency.clone());
    }
}

/// The rows of a store of purchases.
#[async_trait]
pub(crate) trait PurchaseRows: Sync {
    /// Returns what the store remembers.
    fn state(&self) -> &PurchaseState;

    /// Inserts purchases whose id is not stored. Returns one outcome for each.
    async fn insert_purchases(&self, batch: &[Purchase]) -> Result<Vec<InsertOutcome>>;

    /// Inserts refunds whose id is not stored, and whose purchase is. Returns for each whether it was inserted.
    async fn insert_refunds(&self, refunds: &[Purchase]) -> Result<Vec<bool>>;

    /// Deletes those refunds of `ids` whose purchase is not stored.
    async fn delete_orphans(&self, ids: &[PurchaseId]) -> Result<()>;

    /// Returns what is stored under these ids, as durable as an insert.
    async fn find(&self, ids: Vec<PurchaseId>) -> Result<HashMap<PurchaseId, StoredRow>>;

    /// Returns the currency of the store, which is `given` if it had none.
    async fn get_or_set_currency(&self, given: &Currency) -> Result<Currency>;

    /// Keeps refunds until their purchase is stored.
    async fn keep_waiting(&self, refunds: &[&Purchase]) -> Result<()>;

    /// Returns the refunds of these purchases that wait or are refused, in the order of their arrival.
    async fn waiting_of(&self, purchases: &[PurchaseId]) -> Result<Vec<WaitingRefund>>;

    /// Removes waiting entries.
    async fn remove_waiting(&self, sequences: &[u64]) -> Result<()>;

    /// Notes why a waiting entry can never be applied.
    async fn refuse_waiting(&self, sequence: u64, reason: &Reason) -> Result<()>;
}

/// Inserts the purchases of `batch`, and then its refunds. Returns one outcome for each.
pub(crate) async fn insert(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
) -> Result<Vec<InsertOutcome>> {
    let mut outcomes = vec![InsertOutcome::Inserted; batch.len()];
    let accepted = check_currencies(rows, batch, &mut outcomes).await?;
    let (refunds, purchases): (Vec<usize>, Vec<usize>) = accepted
        .into_iter()
        .partition(|index| batch[*index].is_refund());

    if purchases.len() == batch.len() {
        outcomes = rows.insert_purchases(batch).await?;
        apply_waiting(rows, batch, &purchases, &outcomes).await?;
    } else if !purchases.is_empty() {
        let only: Vec<Purchase> = purchases
            .iter()
            .map(|index| batch[*index].clone())
            .collect();
        let inserted = rows.insert_purchases(&only).await?;
        for (index, outcome) in purchases.iter().zip(inserted) {
            outcomes[*index] = outcome;
        }
        apply_waiting(rows, batch, &purchases, &outcomes).await?;
    }
    insert_refunds(rows, batch, refunds, &mut outcomes).await?;
    Ok(outcomes)
}

/// Rejects the purchases that are in another currency than the store. Returns the indices of the others.
async fn check_currencies(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
    outcomes: &mut [InsertOutcome],
) -> Result<Vec<usize>> {
    let mut accepted = Vec::with_capacity(batch.len());
    let mut currency = None;
    for (index, purchase) in batch.iter().enumerate() {
        if let Some(given) = &purchase.details.currency {
            let kept = match currency.take() {
                Some(kept) => kept,
                None => currency_or(rows, given).await?,
            };
            let rejected = (kept != *given).then(|| rejected_currency(&kept, given));
            currency = Some(kept);
            if let Some(rejected) = rejected {
                outcomes[index] = InsertOutcome::Rejected(rejected);
                continue;
            }
        }
        accepted.push(index);
    }
    Ok(accepted)
}

/// Returns the currency of the store, which is `given` if it had none.
pub(crate) async fn currency_or(rows: &impl PurchaseRows, given: &Currency) -> Result<Currency> {
    if let Some(known) = rows.state().known_currency() {
        return Ok(known);
    }
    let kept = rows.get_or_set_currency(given).await?;
    rows.state().set_currency(&kept);
    Ok(kept)
}

/// Applies the refunds that wait for the purchases at `indices`, if these are stored.
async fn apply_waiting(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
    indices: &[usize],
    outcomes: &[InsertOutcome],
) -> Result<()> {
    if !rows.state().may_have_waiting.load(Ordering::Acquire) {
        return Ok(());
    }
    // An earlier attempt may have inserted a purchase and ended before it applied its refund.
    let is_stored = |index: &&usize| {
        matches!(
            outcomes[**index],
            InsertOutcome::Inserted | InsertOutcome::Duplicate
        )
    };
    let stored: Vec<PurchaseId> = indices
        .iter()
        .filter(is_stored)
        .map(|index| batch[*index].id)
        .collect();
    settle(rows, &stored).await
}

/// Inserts the refunds at `indices`, or keeps them until their purchase is stored.
async fn insert_refunds(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
    mut indices: Vec<usize>,
    outcomes: &mut [InsertOutcome],
) -> Result<()> {
    for _ in 0..MAX_ROUNDS {
        if indices.is_empty() {
            return Ok(());
        }
        let found = find_with_purchases(rows, batch, &indices).await?;
        let mut to_insert = Vec::new();
        let mut to_keep = Vec::new();
        let mut orphans = Vec::new();
        for index in indices {
            match decide(&batch[index], &found) {
                Fate::Insert(refund) => to_insert.push((index, refund)),
                Fate::Keep => to_keep.push(index),
                Fate::Move => {
                    orphans.push(batch[index].id);
                    to_keep.push(index);
                }
                Fate::Outcome(outcome) => outcomes[index] = outcome,
            }
        }

        // Refunds that were not inserted are looked at again: their id, or their purchase, has changed meanwhile.
        indices = insert_decided(rows, to_insert, outcomes).await?;
        if !orphans.is_empty() {
            rows.delete_orphans(&orphans).await?;
        }
        indices.extend(keep(rows, batch, to_keep, outcomes).await?);
    }

    for index in indices {
        let message = "the purchase of a refund was stored and deleted again and again";
        let error = Error::new(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied);
        outcomes[index] = InsertOutcome::Unknown(error);
    }
    Ok(())
}

/// What becomes of a refund.
enum Fate {
    /// This row is inserted.
    Insert(Purchase),
    /// Its purchase is not stored: it is kept until then.
    Keep,
    /// It is stored without its purchase, which an earlier version has deleted, or a process that has ended has not noticed
    /// the deletion. It is taken out of the sums, and kept until the purchase is stored.
    Move,
    /// Nothing is inserted.
    Outcome(InsertOutcome),
}

/// Returns what is stored of the refunds at `indices`, and of their purchases.
async fn find_with_purchases(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
    indices: &[usize],
) -> Result<HashMap<PurchaseId, StoredRow>> {
    let mut ids = HashSet::new();
    for index in indices {
        let refund = &batch[*index];
        ids.insert(refund.id);
        ids.extend(refund.details.of);
    }
    rows.find(ids.into_iter().collect()).await
}

fn decide(refund: &Purchase, found: &HashMap<PurchaseId, StoredRow>) -> Fate {
    let own = found.get(&refund.id);
    let bought = refund.details.of.and_then(|of| found.get(&of));
    if matches!(own, Some(StoredRow::Mark)) || matches!(bought, Some(StoredRow::Mark)) {
        return Fate::Outcome(InsertOutcome::Erased);
    }

    if let Some(bought) = bought.and_then(StoredRow::purchase) {
        let refund = match refund.as_refund_of(bought) {
            Ok(refund) => refund,
            Err(invalid) => return Fate::Outcome(InsertOutcome::Rejected(invalid.into())),
        };
        return match own {
            None => Fate::Insert(refund),
            Some(own) => Fate::Outcome(compare(&refund, own)),
        };
    }
    match own {
        Some(_) => Fate::Move,
        None => Fate::Keep,
    }
}

fn compare(refund: &Purchase, stored: &StoredRow) -> InsertOutcome {
    let is_same = stored
        .purchase()
        .is_some_and(|stored| stored.same_content(refund));
    if is_same {
        InsertOutcome::Duplicate
    } else {
        InsertOutcome::Conflict
    }
}

/// Inserts refunds whose purchases are stored. Returns the indices of those that were not inserted.
async fn insert_decided(
    rows: &impl PurchaseRows,
    refunds: Vec<(usize, Purchase)>,
    outcomes: &mut [InsertOutcome],
) -> Result<Vec<usize>> {
    if refunds.is_empty() {
        return Ok(Vec::new());
    }
    let (indices, refunds): (Vec<usize>, Vec<Purchase>) = refunds.into_iter().unzip();
    let inserted = rows.insert_refunds(&refunds).await?;
    let mut left = Vec::new();
    for (index, is_inserted) in indices.into_iter().zip(inserted) {
        if is_inserted {
            outcomes[index] = InsertOutcome::Inserted;
        } else {
            left.push(index);
        }
    }
    Ok(left)
}

/// Keeps the refunds at `indices` until their purchase is stored. Returns the indices of those whose purchase was erased
/// meanwhile.
async fn keep(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
    indices: Vec<usize>,
    outcomes: &mut [InsertOutcome],
) -> Result<Vec<usize>> {
    if indices.is_empty() {
        return Ok(Vec::new());
    }
    let purchases: Vec<PurchaseId> = indices
        .iter()
        .filter_map(|index| batch[*index].details.of)
        .collect();
    let mut kept = rows.waiting_of(&purchases).await?;
    let mut new = Vec::new();
    for index in &indices {
        let refund = &batch[*index];
        let is_same = |entry: &WaitingRefund| {
            entry.refund.id == refund.id && entry.refund.same_content(refund)
        };
        if kept.iter().any(is_same) {
            outcomes[*index] = InsertOutcome::Duplicate;
        } else {
            outcomes[*index] = InsertOutcome::Waiting;
            kept.push(WaitingRefund::new(0, refund.clone()));
            new.push(refund);
        }
    }
    if !new.is_empty() {
        rows.keep_waiting(&new).await?;
        rows.state().may_have_waiting.store(true, Ordering::Release);
    }

    // Their purchase may have been stored, or erased, since it was looked for.
    let found = rows.find(purchases.clone()).await?;
    let stored: Vec<PurchaseId> = purchases
        .iter()
        .filter(|id| matches!(found.get(*id), Some(StoredRow::Purchase(_))))
        .copied()
        .collect();
    settle(rows, &stored).await?;
    let is_erased = |id: &PurchaseId| matches!(found.get(id), Some(StoredRow::Mark));
    let erased: Vec<PurchaseId> = purchases.iter().copied().filter(is_erased).collect();
    if erased.is_empty() {
        return Ok(Vec::new());
    }
    let entries = rows.waiting_of(&erased).await?;
    let sequences: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
    rows.remove_waiting(&sequences).await?;
    let is_of_erased = |index: &usize| batch[*index].details.of.is_some_and(|of| is_erased(&of));
    Ok(indices.into_iter().filter(is_of_erased).collect())
}

/// Applies the refunds that wait for these purchases, which are stored.
pub(crate) async fn settle(rows: &impl PurchaseRows, purchases: &[PurchaseId]) -> Result<()> {
    if purchases.is_empty() {
        return Ok(());
    }
    let entries = rows.waiting_of(purchases).await?;
    let mut by_purchase: HashMap<PurchaseId, Vec<WaitingRefund>> = HashMap::new();
    for entry in entries {
        if let Some(of) = entry.refund.details.of {
            by_purchase.entry(of).or_default().push(entry);
        }
    }
    if by_purchase.is_empty() {
        return Ok(());
    }

    let mut ids: Vec<PurchaseId> = by_purchase.keys().copied().collect();
    ids.extend(by_purchase.values().flatten().map(|entry| entry.refund.id));
    let found = rows.find(ids).await?;
    for (purchase, entries) in by_purchase {
        let Some(bought) = found.get(&purchase).and_then(StoredRow::purchase) else {
            continue;
        };
        let stored = found
            .get(&bought.id.refund_id())
            .and_then(StoredRow::purchase);
        let decisions = settle_refunds(bought, stored, &entries);
        for (entry, decision) in entries.into_iter().zip(decisions) {
            perform(rows, &entry, decision).await?;
        }
    }
    Ok(())
}

async fn perform(
    rows: &impl PurchaseRows,
    entry: &WaitingRefund,
    decision: RefundDecision,
) -> Result<()> {
    match decision {
        RefundDecision::Apply(refund) => {
            let inserted = rows.insert_refunds(&[refund]).await?;
            // Otherwise another process has inserted one, or deleted the purchase: the next sweep decides again.
            if inserted == [true] {
                rows.remove_waiting(&[entry.sequence]).await?;
            }
            Ok(())
        }
        RefundDecision::Forget => rows.remove_waiting(&[entry.sequence]).await,
        RefundDecision::Refuse(reason) if entry.refusal.as_ref() == Some(&reason) => Ok(()),
        RefundDecision::Refuse(reason) => rows.refuse_waiting(entry.sequence, &reason).await,
    }
}

/// Marks that none waits, unless `count` of them finds some. `count` runs after the mark, so that a refund that begins to
/// wait meanwhile is not forgotten.
pub(crate) async fn count_waiting<T>(
    rows: &impl PurchaseRows,
    count: impl Future<Output = Result<T>>,
    is_none: impl FnOnce(&T) -> bool,
) -> Result<T> {
    let state = rows.state();
    state.may_have_waiting.store(false, Ordering::Release);
    let counted = count.await;
    let is_none = counted.as_ref().is_ok_and(is_none);
    if !is_none {
        state.may_have_waiting.store(true, Ordering::Release);
    }
    counted
}
