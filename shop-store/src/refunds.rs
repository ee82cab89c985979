//! Batches with refunds, for stores whose statements insert rows by their ids alone.

use std::collections::HashMap;

use async_trait::async_trait;
use shop_core::ports::InsertOutcome;
use shop_core::{Purchase, PurchaseId, Result};

/// The rows of a store.
#[async_trait]
pub(crate) trait PurchaseRows: Sync {
    /// Inserts those whose id is not stored. Returns one outcome for each.
    async fn insert_rows(&self, batch: &[Purchase]) -> Result<Vec<InsertOutcome>>;

    /// What is stored under these ids, as durable as an insert; `None` for the mark of an erased purchase.
    async fn find(&self, ids: Vec<PurchaseId>) -> Result<HashMap<PurchaseId, Option<Purchase>>>;
}

/// Inserts the purchases of `batch`, and then the refunds of what is stored.
///
/// No transaction is needed: a stored purchase never changes, so a concurrent call finds the same one. A refund that is
/// delivered again is compared by its id, as a purchase is. If the purchase is erased in between, the ids of its user's
/// records are marked as erased, that of the refund among them.
pub(crate) async fn insert(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
) -> Result<Vec<InsertOutcome>> {
    if batch.iter().all(|purchase| purchase.details.of.is_none()) {
        return rows.insert_rows(batch).await;
    }
    let mut outcomes = vec![InsertOutcome::Inserted; batch.len()];
    let (mut refunds, purchases): (Vec<usize>, Vec<usize>) =
        (0..batch.len()).partition(|index| batch[*index].details.of.is_some());
    insert_only(rows, batch, &purchases, &mut outcomes).await?;
    let ids = refunds.iter().flat_map(|index| {
        batch[*index]
            .details
            .of
            .into_iter()
            .chain([batch[*index].id])
    });
    let found = rows.find(ids.collect()).await?;
    refunds.retain(|index| {
        let refund = &batch[*index];
        // One that is stored is compared: its purchase may have been deleted since.
        if found.contains_key(&refund.id) {
            return true;
        }
        let bought = refund.details.of.and_then(|of| found.get(&of)?.as_ref());
        let refused = InsertOutcome::of_refund(refund, bought);
        let is_fine = refused.is_none();
        outcomes[*index] = refused.unwrap_or(InsertOutcome::Inserted);
        is_fine
    });
    insert_only(rows, batch, &refunds, &mut outcomes).await?;
    Ok(outcomes)
}

/// Inserts the purchases at `indices`, and sets their outcomes.
async fn insert_only(
    rows: &impl PurchaseRows,
    batch: &[Purchase],
    indices: &[usize],
    outcomes: &mut [InsertOutcome],
) -> Result<()> {
    if indices.is_empty() {
        return Ok(());
    }
    let only: Vec<Purchase> = indices.iter().map(|index| batch[*index].clone()).collect();
    for (index, outcome) in indices.iter().zip(rows.insert_rows(&only).await?) {
        outcomes[*index] = outcome;
    }
    Ok(())
}
