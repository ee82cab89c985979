//! Inserts batches of purchases and refunds, for the stores in MongoDB and PostgreSQL.
//!
//! A refund names its purchase, but may arrive before it. Such a refund waits: it is kept apart, in
//! no listing and in no sum, until its purchase is inserted. This module decides what to do with
//! each refund. The trait [`PurchaseRows`] is the interface to the statements of the database.
//!
//! ```text
//! purchases ──▶ insert ──▶ apply the refunds that wait for them
//! refunds   ──▶ purchase stored? ──yes──▶ insert, if the purchase is still there
//!                     │no
//!                     ▼
//!                  keep waiting ──▶ purchase stored meanwhile? ──yes──▶ apply
//! ```
//!
//! Other processes write at the same time. Nevertheless, a refund and its purchase do not miss each
//! other. One process writes the purchase, and then looks for waiting refunds. The other one writes
//! the waiting refund, and then looks for the purchase. So at least one of the two processes sees
//! both. If that process ends before it applies the refund, the ingest applies it later, by the
//! [`sweep`](crate::waiting::sweep).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use shop_core::domain::Currency;
use shop_core::log::Reason;
use shop_core::ports::{CurrencyStore, InsertOutcome, Lookup, WaitingRefund, rejected_currency};
use shop_core::{Error, ErrorKind, Outcome, Purchase, PurchaseId, Result};

use crate::unreadable::Unreadable;
use crate::waiting::{MAX_SETTLED, SweepEntry, settle};

/// The maximum number of rounds in which the refunds of a batch are decided. A refund is decided again
/// when another process stores or deletes its purchase meanwhile.
const MAX_ROUNDS: usize = 5;

/// The row that is stored under an id.
pub(crate) enum StoredRow {
    /// A purchase or a refund.
    Purchase(Purchase),
    /// A row that is no purchase, or cannot be read.
    Unreadable(Unreadable),
    /// The mark of an erased purchase, which keeps the purchase from being stored again.
    Mark,
}

impl StoredRow {
    /// Returns the purchase or refund in this row, if it is one.
    pub(crate) fn purchase(&self) -> Option<&Purchase> {
        match self {
            Self::Purchase(purchase) => Some(purchase),
            Self::Unreadable(_) | Self::Mark => None,
        }
    }

    /// Converts this row to the result of a lookup.
    ///
    /// # Errors
    /// The error of `corrupt` if the row is unreadable. The source of the error tells why.
    pub(crate) fn into_lookup(self, corrupt: impl FnOnce() -> Error) -> Result<Lookup> {
        match self {
            Self::Purchase(purchase) => Ok(Lookup::Stored(purchase)),
            Self::Mark => Ok(Lookup::Erased),
            Self::Unreadable(problem) => Err(corrupt().with_source(problem)),
        }
    }

    /// Returns the outcome of an insert of `sent`, which was not inserted because its id is the id
    /// of this row.
    pub(crate) fn compare(&self, sent: &Purchase) -> InsertOutcome {
        match self {
            Self::Mark => InsertOutcome::Erased,
            Self::Purchase(stored) if stored.same_content(sent) => InsertOutcome::Duplicate,
            Self::Purchase(_) | Self::Unreadable(_) => InsertOutcome::Conflict,
        }
    }
}

/// The state that a store of purchases keeps in memory between batches, to save queries.
#[derive(Debug, Default)]
pub(crate) struct PurchaseState {
    /// Whether it is known that no refund waits. A sweep that finds no waiting refund sets this flag,
    /// and a refund that begins to wait clears it. While the flag is set, an insert of purchases does
    /// not look for waiting refunds.
    pub(crate) none_waits: AtomicBool,
    /// The sequence number of the waiting refund behind which the next sweep continues.
    pub(crate) sweep_position: AtomicU64,
    /// The currency of the store, once it is known. Each read of the currency replaces it, because a
    /// database may be replaced by another one.
    currency: RwLock<Option<Currency>>,
}

impl PurchaseState {
    /// Remembers the currency of the store, which has just been read, and returns it.
    pub(crate) fn remember_currency(&self, currency: Option<Currency>) -> Option<Currency> {
        let mut remembered_currency = self
            .currency
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        remembered_currency.clone_from(&currency);
        currency
    }

    /// Returns the currency of the store, if it is remembered.
    fn remembered_currency(&self) -> Option<Currency> {
        let remembered_currency = self.currency.read().unwrap_or_else(PoisonError::into_inner);
        remembered_currency.clone()
    }
}

/// The statements of a store that the functions of this module need.
#[async_trait]
pub(crate) trait PurchaseRows: CurrencyStore {
    /// Returns the state that the store keeps in memory.
    fn state(&self) -> &PurchaseState;

    /// Inserts the purchases of `batch` whose id is not stored. Returns one outcome for each
    /// purchase.
    async fn insert_purchases(&self, batch: &[Purchase]) -> Result<Vec<InsertOutcome>>;

    /// Inserts the refunds whose id is not stored and whose purchase is stored. Returns for each
    /// refund whether it was inserted.
    async fn insert_refunds(&self, refunds: &[Purchase]) -> Result<Vec<bool>>;

    /// Deletes the stored refunds with these `ids` whose purchase is not stored.
    async fn delete_orphans(&self, ids: &[PurchaseId]) -> Result<()>;

    /// Returns the rows that are stored under these ids. They are as durable as after an insert, so
    /// callers may acknowledge them.
    async fn find(&self, ids: &[PurchaseId]) -> Result<HashMap<PurchaseId, StoredRow>>;

    /// Stores `refunds` as refunds that wait until their purchase is stored.
    async fn keep_waiting(&self, refunds: &[&Purchase]) -> Result<()>;

    /// Returns the waiting refunds of these purchases, including refused ones, in the order of
    /// their arrival.
    async fn find_waiting_refunds(&self, purchases: &[PurchaseId]) -> Result<Vec<WaitingRefund>>;

    /// Returns the first `limit` waiting refunds behind the sequence number `position`, including
    /// refused ones, in the order of their sequence numbers.
    async fn find_waiting_behind(&self, position: u64, limit: usize) -> Result<Vec<SweepEntry>>;

    /// Stores the `reason` why the waiting refunds with these `sequences` can never be applied.
    ///
    /// The refunds stay until the ingest makes them dead letters.
    async fn refuse_waiting(&self, sequences: &[u64], reason: &Reason) -> Result<()>;

    /// Removes the waiting refunds with these `sequences`.
    async fn remove_waiting(&self, sequences: &[u64]) -> Result<()>;
}

/// Inserts the purchases of `batch`, and then its refunds. Returns one outcome for each record, in
/// the same order.
///
/// # Errors
/// An error of a statement. Some records may have been inserted. It is safe to insert the batch
/// again.
pub(crate) async fn insert(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
) -> Result<Vec<InsertOutcome>> {
    let mut outcomes = vec![InsertOutcome::Inserted; batch.len()];
    let accepted_indexes = check_currencies(rows, batch, &mut outcomes).await?;
    let (refund_indexes, purchase_indexes): (Vec<usize>, Vec<usize>) = accepted_indexes
        .into_iter()
        .partition(|index| batch[*index].is_refund());

    // A batch without refunds is the normal case, and is not copied.
    let to_insert: Cow<'_, [Purchase]> = if purchase_indexes.len() == batch.len() {
        batch.into()
    } else {
        purchase_indexes
            .iter()
            .map(|index| batch[*index].clone())
            .collect()
    };
    let insert_outcomes = rows.insert_purchases(&to_insert).await?;

    let mut stored_ids = Vec::with_capacity(purchase_indexes.len());
    for (index, outcome) in purchase_indexes.into_iter().zip(insert_outcomes) {
        // Waiting refunds of a duplicate are applied too: an earlier attempt may have inserted the
        // purchase, and failed before it applied them.
        if matches!(outcome, InsertOutcome::Inserted | InsertOutcome::Duplicate) {
            stored_ids.push(batch[index].id);
        }
        outcomes[index] = outcome;
    }
    if !rows.state().none_waits.load(Ordering::Acquire) {
        settle(rows, &stored_ids).await?;
    }

    insert_refunds(rows, batch, refund_indexes, &mut outcomes).await?;
    Ok(outcomes)
}

/// Rejects, in `outcomes`, the records of `batch` that name a currency other than the store's, or any
/// currency if the store has none. Returns the indexes of all other records.
async fn check_currencies(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
    outcomes: &mut [InsertOutcome],
) -> Result<Vec<usize>> {
    // Most batches name no currency, and then the store is not asked.
    if batch
        .iter()
        .all(|purchase| purchase.details.currency.is_none())
    {
        return Ok((0..batch.len()).collect());
    }

    let mut store_currency = rows.state().remembered_currency();
    if store_currency.is_none() {
        store_currency = rows.currency(None).await?;
    }
    let mut accepted_indexes = Vec::with_capacity(batch.len());
    for (index, purchase) in batch.iter().enumerate() {
        if let Some(purchase_currency) = &purchase.details.currency
            && let Some(reason) = rejected_currency(store_currency.as_ref(), purchase_currency)
        {
            outcomes[index] = InsertOutcome::Rejected(reason);
        } else {
            accepted_indexes.push(index);
        }
    }
    Ok(accepted_indexes)
}

/// Inserts the refunds of `batch` at `indexes`, or keeps them until their purchase is stored, and
/// sets their outcomes.
///
/// The outcome of each refund must be [`InsertOutcome::Inserted`] before the call. The outcome of an
/// inserted refund is not changed.
async fn insert_refunds(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
    mut indexes: Vec<usize>,
    outcomes: &mut [InsertOutcome],
) -> Result<()> {
    for _ in 0..MAX_ROUNDS {
        if indexes.is_empty() {
            return Ok(());
        }
        indexes = insert_refunds_once(rows, batch, indexes, outcomes).await?;
    }

    for index in indexes {
        let message = "the purchase of a refund was stored and deleted again and again";
        let error = Error::new(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied);
        outcomes[index] = InsertOutcome::Unknown(error);
    }
    Ok(())
}

/// Decides the refunds of `batch` at `indexes` by the rows that are stored now, acts on each decision,
/// and sets the outcomes.
///
/// Returns the indexes of the refunds that must be decided again: another process has stored a refund
/// with the same id, or deleted the purchase, since the rows were read.
async fn insert_refunds_once(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
    indexes: Vec<usize>,
    outcomes: &mut [InsertOutcome],
) -> Result<Vec<usize>> {
    let mut ids = Vec::with_capacity(2 * indexes.len());
    for index in &indexes {
        ids.push(batch[*index].id);
        ids.extend(batch[*index].details.of);
    }
    let stored_rows = rows.find(&ids).await?;

    let mut indexes_to_insert = Vec::new();
    let mut refunds_to_insert = Vec::new();
    let mut indexes_to_keep = Vec::new();
    let mut orphan_ids = Vec::new();
    for index in indexes {
        match decide_refund(&batch[index], &stored_rows) {
            RefundAction::Insert(refund) => {
                indexes_to_insert.push(index);
                refunds_to_insert.push(refund);
            }
            RefundAction::Keep => indexes_to_keep.push(index),
            RefundAction::Move => {
                orphan_ids.push(batch[index].id);
                indexes_to_keep.push(index);
            }
            RefundAction::Outcome(outcome) => outcomes[index] = outcome,
        }
    }

    let mut indexes_to_repeat = Vec::new();
    if !refunds_to_insert.is_empty() {
        let inserted = rows.insert_refunds(&refunds_to_insert).await?;
        for (index, is_inserted) in indexes_to_insert.into_iter().zip(inserted) {
            if !is_inserted {
                indexes_to_repeat.push(index);
            }
        }
    }

    // A refund without its purchase is deleted before it is kept, so that it is not counted twice.
    if !orphan_ids.is_empty() {
        rows.delete_orphans(&orphan_ids).await?;
    }
    if !indexes_to_keep.is_empty() {
        keep_refunds(rows, batch, indexes_to_keep, outcomes).await?;
    }
    Ok(indexes_to_repeat)
}

/// The action that a refund in a batch requires.
enum RefundAction {
    /// Insert the refund as this row, which repeats user name, currency and reference of its
    /// purchase.
    Insert(Purchase),
    /// Keep the refund until its purchase is stored.
    Keep,
    /// Delete the stored refund, so that the sums do not contain it, and keep the refund until its
    /// purchase is stored.
    ///
    /// The refund is stored without its purchase. An earlier version deleted the purchase alone, or
    /// a process ended before it noticed the deletion.
    Move,
    /// Insert nothing, and return this outcome.
    Outcome(InsertOutcome),
}

/// Decides the action for `refund`.
///
/// `stored_rows` contains the rows that are stored under the id of the refund and under the id of
/// its purchase.
fn decide_refund(refund: &Purchase, stored_rows: &HashMap<PurchaseId, StoredRow>) -> RefundAction {
    let refund_row = stored_rows.get(&refund.id);
    let purchase_row = refund.details.of.and_then(|id| stored_rows.get(&id));

    if matches!(refund_row, Some(StoredRow::Mark)) || matches!(purchase_row, Some(StoredRow::Mark))
    {
        return RefundAction::Outcome(InsertOutcome::Erased);
    }

    if let Some(purchase) = purchase_row.and_then(StoredRow::purchase) {
        let completed_refund = match refund.as_refund_of(purchase) {
            Ok(completed_refund) => completed_refund,
            Err(invalid) => return RefundAction::Outcome(InsertOutcome::Rejected(invalid.into())),
        };
        return match refund_row {
            None => RefundAction::Insert(completed_refund),
            Some(row) => RefundAction::Outcome(row.compare(&completed_refund)),
        };
    }

    match refund_row {
        Some(_) => RefundAction::Move,
        None => RefundAction::Keep,
    }
}

/// Keeps the refunds of `batch` at `indexes` until their purchase is stored, and sets their
/// outcomes.
///
/// Looks for the purchases again afterwards. If a purchase was stored meanwhile, its refunds are
/// applied. If it was erased, its waiting refunds are removed.
async fn keep_refunds(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
    indexes: Vec<usize>,
    outcomes: &mut [InsertOutcome],
) -> Result<()> {
    // Every refund names its purchase in `details.of`, so there is an id for each index.
    let purchase_ids: Vec<PurchaseId> = indexes
        .iter()
        .filter_map(|index| batch[*index].details.of)
        .collect();
    let waiting_refunds = rows.find_waiting_refunds(&purchase_ids).await?;
    let new_refunds = select_new_refunds(batch, &indexes, waiting_refunds, outcomes);
    if !new_refunds.is_empty() {
        rows.keep_waiting(&new_refunds).await?;
        rows.state().none_waits.store(false, Ordering::Release);
    }

    // A purchase may have been stored or erased after the refund was decided, and before the refund
    // was kept. The process that did so did not see the refund, so this process must act.
    let stored_rows = rows.find(&purchase_ids).await?;
    let mut stored_ids = Vec::new();
    let mut erased_ids = Vec::new();
    for (index, purchase_id) in indexes.into_iter().zip(purchase_ids) {
        match stored_rows.get(&purchase_id) {
            Some(StoredRow::Purchase(_)) => stored_ids.push(purchase_id),
            Some(StoredRow::Mark) => {
                erased_ids.push(purchase_id);
                outcomes[index] = InsertOutcome::Erased;
            }
            // The purchase is not stored, so the refund waits.
            Some(StoredRow::Unreadable(_)) | None => {}
        }
    }

    settle(rows, &stored_ids).await?;
    remove_waiting_of(rows, &erased_ids).await
}

/// Returns the refunds of `batch` at `indexes` that do not wait yet, and sets the outcomes of all of
/// them: waiting, or a duplicate of a refund that waits already, from an earlier batch or this one.
fn select_new_refunds<'a>(
    batch: &'a [Purchase],
    indexes: &[usize],
    mut waiting_refunds: Vec<WaitingRefund>,
    outcomes: &mut [InsertOutcome],
) -> Vec<&'a Purchase> {
    let mut new_refunds = Vec::new();
    for index in indexes {
        let refund = &batch[*index];
        let waits_already = waiting_refunds
            .iter()
            .any(|entry| entry.refund.id == refund.id && entry.refund.same_content(refund));
        if waits_already {
            outcomes[*index] = InsertOutcome::Duplicate;
        } else {
            outcomes[*index] = InsertOutcome::Waiting;
            // The sequence number is assigned later, and not compared here.
            let no_sequence = 0;
            waiting_refunds.push(WaitingRefund::new(no_sequence, refund.clone()));
            new_refunds.push(refund);
        }
    }
    new_refunds
}

/// Removes the waiting refunds of the purchases with these ids, which were erased.
async fn remove_waiting_of(rows: &impl PurchaseRows, erased_ids: &[PurchaseId]) -> Result<()> {
    if erased_ids.is_empty() {
        return Ok(());
    }
    let entries = rows.find_waiting_refunds(erased_ids).await?;
    let sequences: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
    for chunk in sequences.chunks(MAX_SETTLED) {
        rows.remove_waiting(chunk).await?;
    }
    Ok(())
}

/// Returns `ids` as texts, the form in which the databases store them.
pub(crate) fn id_texts(ids: &[PurchaseId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
