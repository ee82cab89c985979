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

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use shop_core::domain::Currency;
use shop_core::log::Reason;
use shop_core::ports::{
    InsertOutcome, Lookup, RefundDecision, WaitingRefund, WaitingRefunds, decide_refunds,
    other_currency, rejected_currency,
};
use shop_core::{Error, ErrorKind, Outcome, Purchase, PurchaseId, Result};

use crate::unreadable::Unreadable;

/// How often the refunds of a batch are looked at, while their purchases come and go.
const MAX_ROUNDS: usize = 5;

/// What is stored under an id.
#[derive(Debug, Clone)]
pub(crate) enum StoredRow {
    /// A purchase or a refund.
    Purchase(Purchase),
    /// A row that is no purchase, or cannot be read.
    Unreadable(Unreadable),
    /// The mark of an erased purchase.
    Mark,
}

impl StoredRow {
    fn purchase(&self) -> Option<&Purchase> {
        match self {
            Self::Purchase(purchase) => Some(purchase),
            Self::Unreadable(_) | Self::Mark => None,
        }
    }

    /// Returns what a reader finds in this row. An unreadable row is an error, which is the source of `corrupt`.
    pub(crate) fn into_lookup(self, corrupt: impl FnOnce() -> Error) -> Result<Lookup> {
        match self {
            Self::Purchase(purchase) => Ok(Lookup::Stored(purchase)),
            Self::Mark => Ok(Lookup::Erased),
            Self::Unreadable(problem) => Err(corrupt().with_source(problem)),
        }
    }

    /// Returns the outcome of the insert of `sent`, whose id this row has.
    pub(crate) fn compare(&self, sent: &Purchase) -> InsertOutcome {
        match self {
            Self::Mark => InsertOutcome::Erased,
            Self::Purchase(stored) if stored.same_content(sent) => InsertOutcome::Duplicate,
            Self::Purchase(_) | Self::Unreadable(_) => InsertOutcome::Conflict,
        }
    }
}

/// What a store of purchases remembers between its batches.
#[derive(Debug, Default)]
pub(crate) struct PurchaseState {
    /// Whether no refund waits. True only after none was found, and while none was added.
    none_waits: AtomicBool,
    /// The currency of the store, once it is known. It never changes.
    currency: OnceLock<Currency>,
}

/// The rows of a store of purchases.
#[async_trait]
pub(crate) trait PurchaseRows: WaitingRefunds {
    /// Returns what the store remembers.
    fn state(&self) -> &PurchaseState;

    /// Inserts purchases whose id is not stored. Returns one outcome for each.
    async fn insert_purchases(&self, batch: &[Purchase]) -> Result<Vec<InsertOutcome>>;

    /// Inserts refunds whose id is not stored, and whose purchase is. Returns for each whether it was inserted.
    async fn insert_refunds(&self, refunds: &[Purchase]) -> Result<Vec<bool>>;

    /// Deletes those refunds of `ids` whose purchase is not stored.
    async fn delete_orphans(&self, ids: &[PurchaseId]) -> Result<()>;

    /// Returns what is stored under these ids, as durable as an insert.
    async fn find(&self, ids: &[PurchaseId]) -> Result<HashMap<PurchaseId, StoredRow>>;

    /// Returns the currency of the store, which is `given` if it had none.
    async fn get_or_set_currency(&self, given: &Currency) -> Result<Currency>;

    /// Keeps refunds until their purchase is stored.
    async fn keep_waiting(&self, refunds: &[&Purchase]) -> Result<()>;

    /// Returns the refunds of these purchases that wait or are refused, in the order of their arrival.
    async fn waiting_of(&self, purchases: &[PurchaseId]) -> Result<Vec<WaitingRefund>>;

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

    let to_insert: Cow<'_, [Purchase]> = if purchases.len() == batch.len() {
        batch.into()
    } else {
        purchases
            .iter()
            .map(|index| batch[*index].clone())
            .collect()
    };
    let inserted = rows.insert_purchases(&to_insert).await?;
    let mut stored = Vec::with_capacity(purchases.len());
    for (index, outcome) in purchases.into_iter().zip(inserted) {
        // An earlier attempt may have inserted a purchase and ended before it applied its refund.
        if matches!(outcome, InsertOutcome::Inserted | InsertOutcome::Duplicate) {
            stored.push(batch[index].id);
        }
        outcomes[index] = outcome;
    }
    if !rows.state().none_waits.load(Ordering::Acquire) {
        settle(rows, &stored).await?;
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
    for (index, purchase) in batch.iter().enumerate() {
        if let Some(given) = &purchase.details.currency {
            let kept = currency_or(rows, given).await?;
            if kept != given {
                outcomes[index] = InsertOutcome::Rejected(rejected_currency(kept, given));
                continue;
            }
        }
        accepted.push(index);
    }
    Ok(accepted)
}

/// Returns the currency of the store, which is `given` if it had none.
async fn currency_or<'a>(rows: &'a impl PurchaseRows, given: &Currency) -> Result<&'a Currency> {
    let currency = &rows.state().currency;
    if let Some(known) = currency.get() {
        return Ok(known);
    }
    let kept = rows.get_or_set_currency(given).await?;
    Ok(currency.get_or_init(|| kept))
}

/// Makes `given` the currency of the store.
///
/// # Errors
/// If the store has another currency.
pub(crate) async fn adopt_currency(rows: &impl PurchaseRows, given: &Currency) -> Result<()> {
    let kept = currency_or(rows, given).await?;
    if kept != given {
        return Err(other_currency(kept, given));
    }
    Ok(())
}

/// Inserts the refunds at `indices`, or keeps them until their purchase is stored. Their outcomes are those of an insert so
/// far.
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
        let mut ids = Vec::with_capacity(2 * indices.len());
        for index in &indices {
            ids.push(batch[*index].id);
            ids.extend(batch[*index].details.of);
        }
        let found = rows.find(&ids).await?;

        let mut to_insert = Vec::new();
        let mut to_keep = Vec::new();
        let mut orphans = Vec::new();
        for index in indices {
            match decide(&batch[index], &found) {
                RefundAction::Insert(refund) => to_insert.push((index, refund)),
                RefundAction::Keep => to_keep.push(index),
                RefundAction::Move => {
                    orphans.push(batch[index].id);
                    to_keep.push(index);
                }
                RefundAction::Outcome(outcome) => outcomes[index] = outcome,
            }
        }

        // Refunds that were not inserted are looked at again: their id, or their purchase, has changed meanwhile.
        indices = insert_decided(rows, to_insert).await?;
        if !orphans.is_empty() {
            rows.delete_orphans(&orphans).await?;
        }
        if !to_keep.is_empty() {
            keep(rows, batch, to_keep, outcomes).await?;
        }
    }

    for index in indices {
        let message = "the purchase of a refund was stored and deleted again and again";
        let error = Error::new(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied);
        outcomes[index] = InsertOutcome::Unknown(error);
    }
    Ok(())
}

/// What becomes of a refund.
enum RefundAction {
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

fn decide(refund: &Purchase, found: &HashMap<PurchaseId, StoredRow>) -> RefundAction {
    let own = found.get(&refund.id);
    let bought = refund.details.of.and_then(|of| found.get(&of));
    if matches!(own, Some(StoredRow::Mark)) || matches!(bought, Some(StoredRow::Mark)) {
        return RefundAction::Outcome(InsertOutcome::Erased);
    }

    if let Some(bought) = bought.and_then(StoredRow::purchase) {
        let refund = match refund.as_refund_of(bought) {
            Ok(refund) => refund,
            Err(invalid) => return RefundAction::Outcome(InsertOutcome::Rejected(invalid.into())),
        };
        return match own {
            None => RefundAction::Insert(refund),
            Some(own) => RefundAction::Outcome(own.compare(&refund)),
        };
    }
    match own {
        Some(_) => RefundAction::Move,
        None => RefundAction::Keep,
    }
}

/// Inserts refunds whose purchases are stored. Returns the indices of those that were not inserted.
async fn insert_decided(
    rows: &impl PurchaseRows,
    refunds: Vec<(usize, Purchase)>,
) -> Result<Vec<usize>> {
    if refunds.is_empty() {
        return Ok(Vec::new());
    }
    let (indices, refunds): (Vec<usize>, Vec<Purchase>) = refunds.into_iter().unzip();
    let inserted = rows.insert_refunds(&refunds).await?;
    let with_inserted = indices.into_iter().zip(inserted);
    Ok(with_inserted
        .filter_map(|(index, is_inserted)| (!is_inserted).then_some(index))
        .collect())
}

/// Keeps the refunds at `indices` until their purchase is stored.
async fn keep(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
    indices: Vec<usize>,
    outcomes: &mut [InsertOutcome],
) -> Result<()> {
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
        rows.state().none_waits.store(false, Ordering::Release);
    }

    // Their purchase may have been stored, or erased, since it was looked for.
    let found = rows.find(&purchases).await?;
    let mut stored = Vec::new();
    let mut erased = Vec::new();
    for (index, purchase) in indices.into_iter().zip(purchases) {
        match found.get(&purchase) {
            Some(StoredRow::Purchase(_)) => stored.push(purchase),
            Some(StoredRow::Mark) => {
                erased.push(purchase);
                outcomes[index] = InsertOutcome::Erased;
            }
            Some(StoredRow::Unreadable(_)) | None => {}
        }
    }
    settle(rows, &stored).await?;
    if !erased.is_empty() {
        let entries = rows.waiting_of(&erased).await?;
        let sequences: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
        rows.remove_waiting(&sequences).await?;
    }
    Ok(())
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
    let found = rows.find(&ids).await?;
    let purchase = |id: &PurchaseId| found.get(id).and_then(StoredRow::purchase);
    for (id, entries) in by_purchase {
        let Some(bought) = purchase(&id) else {
            continue;
        };
        let decisions = decide_refunds(bought, purchase(&id.refund_id()), &entries);
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
            // Otherwise another process has inserted one, or deleted the purchase: the next sweep decides again.
            if rows.insert_refunds(&[refund]).await? == [true] {
                rows.remove_waiting(&[entry.sequence]).await?;
            }
            Ok(())
        }
        RefundDecision::Forget => rows.remove_waiting(&[entry.sequence]).await,
        RefundDecision::Refuse(reason) if entry.refusal.as_ref() == Some(&reason) => Ok(()),
        RefundDecision::Refuse(reason) => rows.refuse_waiting(entry.sequence, &reason).await,
    }
}

/// Notes that no refund waits if `entries` are none. They are read after the note, so that a refund that begins to wait
/// meanwhile is not forgotten.
pub(crate) async fn note_whether_any_waits<T>(
    rows: &impl PurchaseRows,
    entries: impl Future<Output = Result<Vec<T>>>,
) -> Result<()> {
    let none_waits = &rows.state().none_waits;
    none_waits.store(true, Ordering::Release);
    let entries = entries.await;
    if !entries.as_ref().is_ok_and(Vec::is_empty) {
        none_waits.store(false, Ordering::Release);
    }
    entries.map(drop)
}

/// Returns the texts of these ids.
pub(crate) fn id_texts(ids: &[PurchaseId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
