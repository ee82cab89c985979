//! Settles the refunds that wait for their purchase, for the stores in MongoDB and PostgreSQL.
//!
//! | function | called | reads |
//! |---|---|---|
//! | [`settle`] | after each insert of purchases, while refunds wait | the waiting refunds of these purchases |
//! | [`sweep`] | by the ingest, from time to time | the next 10,000 waiting refunds |
//!
//! The writes of a settlement are one insert, one update for each reason, and one delete for up to
//! [`MAX_SETTLED`] refunds. They follow each other in this order, so that no refund is lost if the
//! process ends between two writes: a refund that was inserted and not deleted still waits. The
//! next settlement finds it stored, and forgets it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use shop_core::log::Reason;
use shop_core::ports::{RefundDecision, WaitingRefund, decide_refunds};
use shop_core::{Purchase, PurchaseId, Result};

use crate::refunds::{PurchaseRows, StoredRow};

/// The maximum number of waiting refunds that are settled together. It keeps each statement below
/// the limits of the databases.
pub(crate) const MAX_SETTLED: usize = 1_000;
/// The number of waiting refunds in a slice of a sweep.
const SLICE_REFUNDS: usize = 1_000;
/// The maximum number of slices that one sweep reads. The next sweep continues behind them, so each
/// sweep takes a limited time, and all waiting refunds are reached in turn.
const SLICES_PER_SWEEP: usize = 10;
/// The position before the first waiting refund.
const SWEEP_START: u64 = 0;

/// What a sweep reads of a waiting refund.
pub(crate) struct SweepEntry {
    /// The number that identifies the waiting refund.
    pub(crate) sequence: u64,
    /// The purchase that the refund waits for. `None` if the refund is refused, and waits for no
    /// purchase any more.
    pub(crate) purchase_id: Option<PurchaseId>,
}

/// Settles the refunds that wait for `purchases`, which are stored: applies, removes or refuses each
/// refund, as [`decide_refunds`] decides.
///
/// # Errors
/// An error of a statement. Some refunds may have been settled. It is safe to call this function
/// again.
pub(crate) async fn settle(rows: &impl PurchaseRows, purchases: &[PurchaseId]) -> Result<()> {
    if purchases.is_empty() {
        return Ok(());
    }
    let entries = rows.find_waiting_refunds(purchases).await?;
    if entries.is_empty() {
        return Ok(());
    }

    let decided_entries = decide_entries(rows, entries).await?;
    for chunk in decided_entries.chunks(MAX_SETTLED) {
        perform_decisions(rows, chunk).await?;
    }
    Ok(())
}

/// Decides about the waiting refunds `entries`. The result leaves out the refunds whose purchase is
/// not stored, which go on waiting.
async fn decide_entries(
    rows: &impl PurchaseRows,
    entries: Vec<WaitingRefund>,
) -> Result<Vec<(WaitingRefund, RefundDecision)>> {
    let mut ids = Vec::with_capacity(2 * entries.len());
    let mut entries_by_purchase: BTreeMap<PurchaseId, Vec<WaitingRefund>> = BTreeMap::new();
    for entry in entries {
        // Every waiting refund names its purchase in `details.of`.
        if let Some(purchase_id) = entry.refund.details.of {
            ids.extend([purchase_id, purchase_id.refund_id()]);
            entries_by_purchase
                .entry(purchase_id)
                .or_default()
                .push(entry);
        }
    }
    let stored_rows = rows.find(&ids).await?;
    let find_stored = |id: &PurchaseId| stored_rows.get(id).and_then(StoredRow::purchase);

    let mut decided_entries = Vec::with_capacity(ids.len() / 2);
    for (purchase_id, entries) in entries_by_purchase {
        let Some(purchase) = find_stored(&purchase_id) else {
            continue;
        };
        let decisions = decide_refunds(purchase, find_stored(&purchase_id.refund_id()), &entries);
        decided_entries.extend(entries.into_iter().zip(decisions));
    }
    Ok(decided_entries)
}

/// Carries out the decisions about at most [`MAX_SETTLED`] waiting refunds.
async fn perform_decisions(
    rows: &impl PurchaseRows,
    decided_entries: &[(WaitingRefund, RefundDecision)],
) -> Result<()> {
    let mut to_insert: Vec<Purchase> = Vec::new();
    let mut sequences_to_insert: Vec<u64> = Vec::new();
    let mut settled_sequences: Vec<u64> = Vec::new();
    // The sequences of the refused refunds by the text of their reason, because one statement
    // refuses all refunds with the same reason.
    let mut refused_sequences: BTreeMap<String, (&Reason, Vec<u64>)> = BTreeMap::new();
    for (entry, decision) in decided_entries {
        match decision {
            RefundDecision::Apply(refund) => {
                to_insert.push(refund.clone());
                sequences_to_insert.push(entry.sequence);
            }
            RefundDecision::Forget => settled_sequences.push(entry.sequence),
            // The refund is refused already, and stays with its first reason.
            RefundDecision::Refuse(_) if entry.refusal.is_some() => {}
            RefundDecision::Refuse(reason) => {
                let (_, sequences) = refused_sequences
                    .entry(reason.to_string())
                    .or_insert_with(|| (reason, Vec::new()));
                sequences.push(entry.sequence);
            }
        }
    }

    if !to_insert.is_empty() {
        let inserted = rows.insert_refunds(&to_insert).await?;
        for (sequence, is_inserted) in sequences_to_insert.into_iter().zip(inserted) {
            // If a refund was not inserted, another process inserted a refund or deleted the
            // purchase. The waiting refund stays, and the next sweep decides again.
            if is_inserted {
                settled_sequences.push(sequence);
            }
        }
    }
    for (reason, sequences) in refused_sequences.into_values() {
        rows.refuse_waiting(&sequences, reason).await?;
    }
    if !settled_sequences.is_empty() {
        rows.remove_waiting(&settled_sequences).await?;
    }
    Ok(())
}

/// Settles the next waiting refunds whose purchase is stored. Records in memory whether any refund
/// waits.
///
/// A refund may wait although its purchase is stored: two processes may have written the two at
/// the same time, and the process that would have settled the refund may have ended. Most waiting
/// refunds have no stored purchase, so a sweep reads only a [`SweepEntry`] of each refund.
///
/// # Errors
/// An error of a statement. The next sweep continues behind the refunds that this one has read.
pub(crate) async fn sweep(rows: &impl PurchaseRows) -> Result<()> {
    let sweep_position = &rows.state().sweep_position;
    for _ in 0..SLICES_PER_SWEEP {
        let position = sweep_position.load(Ordering::Relaxed);
        let slice = read_slice(rows, position).await?;

        // After a slice that is not full, no refund follows, so the next sweep begins again.
        let is_last_slice = slice.len() < SLICE_REFUNDS;
        let next_position = match slice.last() {
            Some(last_entry) if !is_last_slice => last_entry.sequence,
            _ => SWEEP_START,
        };
        // The position moves before the refunds are settled. So a refund that fails at each attempt
        // does not keep the sweeps from the other refunds.
        sweep_position.store(next_position, Ordering::Relaxed);

        let purchase_ids: Vec<PurchaseId> =
            slice.iter().filter_map(|entry| entry.purchase_id).collect();
        let stored_rows = rows.find(&purchase_ids).await?;
        let stored_ids: Vec<PurchaseId> = stored_rows
            .into_iter()
            .filter(|(_, row)| row.purchase().is_some())
            .map(|(id, _)| id)
            .collect();
        settle(rows, &stored_ids).await?;
        if next_position == SWEEP_START {
            break;
        }
    }
    Ok(())
}

/// Reads the slice of waiting refunds behind `position`. Records in memory that refunds wait if the
/// slice contains any, and that no refund waits if the slice from the beginning is empty.
async fn read_slice(rows: &impl PurchaseRows, position: u64) -> Result<Vec<SweepEntry>> {
    let slice = rows.find_waiting_behind(position, SLICE_REFUNDS).await?;
    let none_waits = &rows.state().none_waits;
    if !slice.is_empty() {
        none_waits.store(false, Ordering::Release);
        return Ok(slice);
    }
    if position != SWEEP_START || none_waits.load(Ordering::Acquire) {
        return Ok(slice);
    }

    // The flag is set before the query is sent again. A refund that begins to wait meanwhile clears
    // the flag. If the flag were set after the query, it would hide this refund.
    none_waits.store(true, Ordering::Release);
    let slice = rows.find_waiting_behind(position, SLICE_REFUNDS).await;
    let is_empty = slice.as_ref().is_ok_and(Vec::is_empty);
    if !is_empty {
        none_waits.store(false, Ordering::Release);
    }
    slice
}
