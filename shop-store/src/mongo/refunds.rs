//! Refunds, the refunds that wait for their purchase, and the currency, in MongoDB.
//!
//! A refund *waits* in a collection of its own until the store contains its purchase.
//!
//! A standalone server does not support transactions. So an insert and a deletion that run at the
//! same time use a fixed order, in which one of the two notices the other:
//!
//! | insert of a refund | erasure, or deletion of old purchases |
//! |---|---|
//! | 1. inserts the refund | 1. deletes the purchase |
//! | 2. looks for its purchase once more, and takes the refund back if the purchase is gone | 2. deletes the refunds of the purchase |

use std::collections::HashMap;

use async_trait::async_trait;
use bson::{Bson, DateTime, doc};
use shop_core::domain::Currency;
use shop_core::log::Reason;
use shop_core::ports::{
    CurrencyStore, InsertOutcome, Lookup, WaitingRefund, WaitingRefunds, WaitingSummary,
};
use shop_core::{ErrorKind, Purchase, PurchaseId, Result};

use super::MongoStore;
use super::document::{ERASED, REFUNDED_PURCHASE, id_value};
use super::error::mongo_error;
use super::insert;
use super::waiting::WaitingFilter;
use super::write::{Update, Write};
use crate::refunds::{PurchaseRows, PurchaseState, StoredRow};
use crate::waiting::{SweepEntry, sweep};

/// The `_id` of the document with the currency. The document is stored as an erasure mark, so no
/// listing contains it.
const CURRENCY: &str = "currency";

#[async_trait]
impl PurchaseRows for MongoStore {
    fn state(&self) -> &PurchaseState {
        &self.purchase_state
    }

    async fn insert_purchases(&self, batch: &[Purchase]) -> Result<Vec<InsertOutcome>> {
        insert::insert_batch(&self.connection, batch).await
    }

    async fn insert_refunds(&self, refunds: &[Purchase]) -> Result<Vec<bool>> {
        let outcomes = insert::insert_batch(&self.connection, refunds).await?;
        let mut purchase_ids = Vec::with_capacity(refunds.len());
        for (refund, outcome) in refunds.iter().zip(&outcomes) {
            if matches!(outcome, InsertOutcome::Inserted) {
                purchase_ids.extend(refund.details.of);
            }
        }

        // Looks for the purchases once more, because a purchase may have been erased or deleted
        // before its refund was inserted.
        let stored_rows = self.find(&purchase_ids).await?;
        let mut inserted = Vec::with_capacity(refunds.len());
        let mut orphan_ids = Vec::new();
        for (refund, outcome) in refunds.iter().zip(&outcomes) {
            let is_new = matches!(outcome, InsertOutcome::Inserted);
            let purchase = refund.details.of.and_then(|id| stored_rows.get(&id));
            let has_purchase = matches!(purchase, Some(StoredRow::Purchase(_)));
            if is_new && !has_purchase {
                orphan_ids.push(refund.id);
            }
            inserted.push(is_new && has_purchase);
        }
        // Refunds without a stored purchase would never be erased with the purchase, so they are deleted
        // again.
        if !orphan_ids.is_empty() {
            self.delete_orphans(&orphan_ids).await?;
        }

        // The error of a refund is returned after the orphans are deleted, so that none is left.
        for outcome in outcomes {
            if let InsertOutcome::Unknown(error) = outcome {
                return Err(error);
            }
        }
        Ok(inserted)
    }

    async fn delete_orphans(&self, ids: &[PurchaseId]) -> Result<()> {
        let id_values: Vec<Bson> = ids.iter().map(id_value).collect();
        let filter = doc! { "_id": { "$in": id_values }, REFUNDED_PURCHASE: { "$exists": true } };
        self.delete_purchases(filter).await.map(drop)
    }

    async fn find(&self, ids: &[PurchaseId]) -> Result<HashMap<PurchaseId, StoredRow>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        insert::find_stored_rows(&self.connection, ids).await
    }

    async fn keep_waiting(&self, refunds: &[&Purchase]) -> Result<()> {
        self.waiting_refunds.insert(refunds).await
    }

    async fn find_waiting_refunds(&self, purchases: &[PurchaseId]) -> Result<Vec<WaitingRefund>> {
        let filter = WaitingFilter::OfPurchases(purchases);
        self.waiting_refunds.find_all(filter).await
    }

    async fn find_waiting_behind(&self, position: u64, limit: usize) -> Result<Vec<SweepEntry>> {
        self.waiting_refunds.find_behind(position, limit).await
    }

    async fn refuse_waiting(&self, sequences: &[u64], reason: &Reason) -> Result<()> {
        self.waiting_refunds.refuse(sequences, reason).await
    }

    async fn remove_waiting(&self, sequences: &[u64]) -> Result<()> {
        let filter = WaitingFilter::WithSequences(sequences);
        self.waiting_refunds.delete(filter).await
    }
}

impl MongoStore {
    /// Looks up the waiting refund with this id; [`Lookup::Missing`] if no such refund waits.
    pub(super) async fn look_up_waiting(&self, id: &PurchaseId) -> Result<Lookup> {
        let entries = self
            .waiting_refunds
            .find_all(WaitingFilter::WithId(id))
            .await?;
        let first_entry = entries.into_iter().next();
        Ok(first_entry.map_or(Lookup::Missing, |entry| {
            Lookup::Waiting(entry.refund.without_context())
        }))
    }

    /// Deletes the waiting refunds whose own id, or whose purchase, is among `ids`.
    pub(super) async fn delete_waiting_of_ids(&self, ids: &[PurchaseId]) -> Result<()> {
        self.waiting_refunds
            .delete(WaitingFilter::InvolvingIds(ids))
            .await
    }
}

#[async_trait]
impl WaitingRefunds for MongoStore {
    async fn waiting_summary(&self) -> Result<WaitingSummary> {
        self.waiting_refunds.summary().await
    }

    async fn apply_waiting(&self, removed: &[u64], limit: usize) -> Result<Vec<WaitingRefund>> {
        if !removed.is_empty() {
            self.remove_waiting(removed).await?;
        }
        sweep(self).await?;
        self.waiting_refunds
            .find_at_most(limit, WaitingFilter::Refused)
            .await
    }
}

#[async_trait]
impl CurrencyStore for MongoStore {
    async fn currency(&self, adopted: Option<Currency>) -> Result<Option<Currency>> {
        if let Some(adopted) = &adopted {
            // The member `erased` makes the document an erasure mark, which no listing contains.
            let members = doc! { CURRENCY: adopted.to_string(), ERASED: DateTime::now() };
            let insert = Update::insert_missing(CURRENCY, members);
            self.write_to_purchases(Write::Update(vec![insert]), "the currency")
                .await?;
        }

        let document = self.connection.find_by_id(CURRENCY.into()).await?;
        let currency_text = document
            .as_ref()
            .and_then(|document| document.get_str(CURRENCY).ok());
        let currency = currency_text
            .map(str::parse)
            .transpose()
            .map_err(|invalid| {
                let message = "the document with the currency is not valid";
                mongo_error(ErrorKind::Corrupt, message).with_source(invalid)
            })?;
        if currency.is_none() && adopted.is_some() {
            let message = "MongoDB has not stored the currency: it was deleted meanwhile";
            return Err(mongo_error(ErrorKind::Unavailable, message));
        }
        Ok(self.purchase_state.remember_currency(currency))
    }
}
