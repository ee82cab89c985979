//! Inserts batches of purchases and refunds into the table `purchases`.
//!
//! A refund is a purchase with a negative price whose details name the purchase that it refunds. An
//! insert consists of three steps, in one transaction:
//!
//! 1. [`InsertPlan`] decides for each purchase whether it becomes a row. A refund whose purchase is
//!    not stored yet is kept in `waiting_refunds` instead, see [`waiting`].
//! 2. [`insert_rows`] inserts the rows, finds the ids that were stored already, and adds the prices
//!    to the sums. Each of these ids is a duplicate if the stored content is the same, and a
//!    conflict otherwise.
//! 3. [`settle_waiting_refunds`] applies the waiting refunds of the purchases that were inserted.

use std::borrow::Cow;
use std::sync::LazyLock;

use rusqlite::Error::{QueryReturnedNoRows, SqliteFailure};
use rusqlite::types::ValueRef::{self, Blob, Integer, Text};
use rusqlite::{Connection, OptionalExtension, params};
use shop_core::domain::{Currency, Reference};
use shop_core::ports::{InsertOutcome, RefundDecision, decide_refunds, rejected_currency};
use shop_core::{Purchase, PurchaseId};

use super::buyers::{self, BuyerCache};
use super::erase::is_marked_erased;
use super::rows::{checksum_with_details, id_bytes};
use super::select::find_by_id;
use super::{fold, waiting};
use crate::embedded::engine::bulk::BulkInsert;
use crate::embedded::engine::checksum::checksum;
use crate::embedded::engine::error::parse_column;

/// The name of the setting that stores the currency of the store, which all its purchases share.
const CURRENCY: &str = "currency";

/// The statements that insert rows of purchases. [`NewRow::values`] lists the columns in the same
/// order.
static INSERT_PURCHASES: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new("purchases (buyer, timestamp, id, price, details, reference, checksum)")
});

/// A purchase to insert, converted to the columns of its row.
pub(super) struct NewRow<'a> {
    /// The index of the purchase in the batch, and of its outcome.
    position: usize,
    purchase: Cow<'a, Purchase>,
    /// The integer that stands for the user's id and name, see [`buyers`].
    pub(super) buyer: i64,
    /// The time of the purchase in milliseconds since 1970.
    pub(super) timestamp: i64,
    id: Vec<u8>,
    pub(super) price: String,
    /// The details as JSON, or `None` for a purchase without details.
    details: Option<String>,
    /// The checksum of the row, which also covers the user's id and name, see the module `rows`.
    checksum: u32,
}

impl<'a> NewRow<'a> {
    /// Converts `purchase` to a row, and inserts its buyer if the buyer is new.
    fn from_purchase(
        connection: &Connection,
        buyers: &mut BuyerCache,
        position: usize,
        purchase: Cow<'a, Purchase>,
    ) -> rusqlite::Result<Self> {
        let buyer = buyers.intern(connection, &purchase)?;
        let timestamp = purchase.timestamp.as_millis();
        let id = id_bytes(purchase.id);
        let price = purchase.price.to_string();
        let details = purchase.details.to_json();

        let row_seed = checksum_with_details(buyer.checksum, details.as_deref().into());
        let checksum = checksum(
            row_seed,
            [Integer(timestamp), Blob(&id), Text(price.as_bytes())],
        );

        Ok(Self {
            position,
            purchase,
            buyer: buyer.key,
            timestamp,
            id,
            price,
            details,
            checksum,
        })
    }

    /// Returns the values of this row in the order of the columns of [`INSERT_PURCHASES`].
    fn values(&self) -> [ValueRef<'_>; 7] {
        let reference = self.purchase.details.reference.as_ref();
        [
            Integer(self.buyer),
            Integer(self.timestamp),
            Blob(&self.id),
            Text(self.price.as_bytes()),
            self.details.as_deref().into(),
            reference.map(Reference::as_str).into(),
            Integer(self.checksum.into()),
        ]
    }
}

/// Inserts a batch of purchases and refunds within the caller's transaction. Returns one outcome
/// for each, in their order.
///
/// `buyers` caches the integers of buyers, and this insert adds the buyers that it creates. If the
/// caller rolls the transaction back, it must drop the cache, because the new buyers are then not
/// in the file.
///
/// # Errors
/// Returns the errors of SQLite, and fails if the disk changed a row that a decision depends on.
/// The transaction must then be rolled back. A purchase that the store does not accept is an
/// outcome and not an error.
pub(crate) fn insert_batch(
    connection: &Connection,
    buyers: &mut BuyerCache,
    batch: &[&Purchase],
) -> rusqlite::Result<Vec<InsertOutcome>> {
    let mut plan = InsertPlan::new(connection, buyers, batch.len())?;
    let mut outcomes = Vec::with_capacity(batch.len());
    for (position, purchase) in batch.iter().enumerate() {
        outcomes.push(plan.add(position, purchase)?);
    }

    insert_rows(connection, plan.buyers, &mut plan.rows, &mut outcomes)?;

    // A refund may have waited already before this batch. A refund of this batch may wait for a
    // purchase of this batch.
    if plan.has_waiting {
        settle_waiting_refunds(connection, plan.buyers, &plan.rows)?;
    }
    Ok(outcomes)
}

/// The first step of an insert: decides for each purchase of a batch whether it becomes a row, and
/// collects the rows.
struct InsertPlan<'a> {
    connection: &'a Connection,
    buyers: &'a mut BuyerCache,
    /// Whether any id is marked as erased. If no id is marked, the marks are not searched.
    has_erased_ids: bool,
    /// Whether any refund waits for its purchase, including the refunds of this batch.
    has_waiting: bool,
    /// The currency of the store, which is `Some(None)` for a store without a currency. `None` until
    /// the first purchase of this batch that names a currency, for which it is read.
    store_currency: Option<Option<Currency>>,
    /// The rows to insert together after all purchases of the batch were decided.
    rows: Vec<NewRow<'a>>,
}

impl<'a> InsertPlan<'a> {
    /// Creates the plan for a batch of `count` purchases.
    fn new(
        connection: &'a Connection,
        buyers: &'a mut BuyerCache,
        count: usize,
    ) -> rusqlite::Result<Self> {
        // Both tables are empty in most shops. One statement for the batch then saves two lookups
        // for each purchase.
        let sql = "SELECT EXISTS (SELECT 1 FROM erased), EXISTS (SELECT 1 FROM waiting_refunds)";
        connection.prepare_cached(sql)?.query_row([], |row| {
            Ok(Self {
                connection,
                buyers,
                has_erased_ids: row.get(0)?,
                has_waiting: row.get(1)?,
                store_currency: None,
                rows: Vec::with_capacity(count),
            })
        })
    }

    /// Decides whether `purchase`, at `position` in the batch, becomes a row, and adds the row.
    ///
    /// The outcome of a row is `Inserted`, unless its id turns out to be stored already. It is
    /// `Erased` if the id is marked as erased, and `Rejected` if the purchase names a currency other
    /// than the store's, or any currency in a store without one.
    fn add(&mut self, position: usize, purchase: &'a Purchase) -> rusqlite::Result<InsertOutcome> {
        if self.is_erased(&purchase.id)? {
            return Ok(InsertOutcome::Erased);
        }
        if let Some(purchase_currency) = &purchase.details.currency {
            let store_currency = match &self.store_currency {
                Some(store_currency) => store_currency,
                None => self.store_currency.insert(find_currency(self.connection)?),
            };
            if let Some(reason) = rejected_currency(store_currency.as_ref(), purchase_currency) {
                return Ok(InsertOutcome::Rejected(reason));
            }
        }

        match purchase.details.of {
            Some(purchase_id) => self.add_refund(position, purchase, purchase_id),
            None => self.add_row(position, Cow::Borrowed(purchase)),
        }
    }

    /// Adds the row of a purchase or refund.
    ///
    /// A refund is owned, because it takes the user name, currency and reference of the purchase
    /// that it refunds.
    fn add_row(
        &mut self,
        position: usize,
        purchase: Cow<'a, Purchase>,
    ) -> rusqlite::Result<InsertOutcome> {
        let row = NewRow::from_purchase(self.connection, self.buyers, position, purchase)?;
        self.rows.push(row);
        Ok(InsertOutcome::Inserted)
    }

    /// Returns whether `id` is marked as erased: a purchase with this id was erased and must not be
    /// stored again.
    fn is_erased(&self, id: &PurchaseId) -> rusqlite::Result<bool> {
        Ok(self.has_erased_ids && is_marked_erased(self.connection, id)?)
    }

    /// Adds the row of `refund` if the purchase with the id `purchase_id` is stored, or is part of
    /// this batch, and permits the refund. Returns the outcome of the refund.
    ///
    /// Without the purchase, the refund is kept in `waiting_refunds` until the purchase is inserted.
    fn add_refund(
        &mut self,
        position: usize,
        refund: &Purchase,
        purchase_id: PurchaseId,
    ) -> rusqlite::Result<InsertOutcome> {
        if self.is_erased(&purchase_id)? {
            return Ok(InsertOutcome::Erased);
        }
        if let Some(purchase) = self.find_purchase(&purchase_id)? {
            return match refund.as_refund_of(&purchase) {
                Ok(_) if is_hidden_refund(self.connection, &refund.id)? => {
                    Ok(InsertOutcome::Conflict)
                }
                Ok(completed_refund) => self.add_row(position, Cow::Owned(completed_refund)),
                Err(invalid) => Ok(InsertOutcome::Rejected(invalid.into())),
            };
        }

        self.has_waiting = true;
        waiting::insert_entry(self.connection, refund, purchase_id)
    }

    /// Returns the purchase with this id, if it is stored, or is among the rows that this batch
    /// inserts later.
    fn find_purchase(&self, id: &PurchaseId) -> rusqlite::Result<Option<Purchase>> {
        let stored_purchase = find_by_id(self.connection, id)?;
        // While refunds wait, the purchases of this batch are passed over here, so their refunds in
        // this batch wait too. `settle_waiting_refunds` then applies the refunds that have waited
        // longer first.
        if stored_purchase.is_some() || self.has_waiting {
            return Ok(stored_purchase);
        }
        let row_of_batch = self.rows.iter().find(|row| row.purchase.id == *id);
        Ok(row_of_batch.map(|row| row.purchase.clone().into_owned()))
    }
}

/// Inserts the rows in `rows` whose id is not stored yet, and adds their prices to the sums.
///
/// Removes each row whose id is stored already from `rows`, and replaces its outcome in `outcomes`
/// by `Duplicate` or `Conflict`. So `rows` contains the inserted rows afterwards.
fn insert_rows(
    connection: &Connection,
    buyers: &mut BuyerCache,
    rows: &mut Vec<NewRow<'_>>,
    outcomes: &mut [InsertOutcome],
) -> rusqlite::Result<()> {
    let conflicting_indexes = INSERT_PURCHASES.insert_new(connection, rows, NewRow::values)?;
    for index in conflicting_indexes {
        let row = &rows[index];
        // The buyer may have been created for this row, which is not inserted. The cache may still
        // contain the buyer.
        buyers::remove_unused(connection, row.buyer)?;
        *buyers = BuyerCache::default();
        outcomes[row.position] = compare_with_stored(connection, &row.purchase)?;
    }
    rows.retain(|row| matches!(outcomes[row.position], InsertOutcome::Inserted));
    for refund in rows.iter().filter(|row| row.purchase.is_refund()) {
        connection
            .prepare_cached("INSERT OR IGNORE INTO refunds (id) VALUES (?1)")?
            .execute([&refund.id])?;
    }

    fold::add_to_sums(connection, rows)
}

/// Returns whether the refund `id` is stored although the index of ids does not find it, because the
/// disk changed the index. Without this check, a second refund would be stored beside it.
fn is_hidden_refund(connection: &Connection, id: &PurchaseId) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM refunds WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM purchases WHERE id = ?1)";
    let is_hidden = connection.prepare_cached(sql)?.exists([id_bytes(*id)])?;
    if is_hidden {
        tracing::error!(refund.id = %id, "the stored refund with this id is not found: the disk changed the index");
    }
    Ok(is_hidden)
}

/// Applies, removes or refuses the refunds that wait for the purchases in `rows`, which were just
/// inserted.
///
/// A refund that contradicts its purchase is refused: it stays in `waiting_refunds` with the
/// reason, until ingest puts it among the dead letters.
fn settle_waiting_refunds(
    connection: &Connection,
    buyers: &mut BuyerCache,
    rows: &[NewRow<'_>],
) -> rusqlite::Result<()> {
    for row in rows.iter().filter(|row| !row.purchase.is_refund()) {
        let entries = waiting::find_by_purchase(connection, row.purchase.id)?;
        if entries.is_empty() {
            continue;
        }

        // A purchase is refunded at most once, under an id that follows from its own.
        let stored_refund = find_by_id(connection, &row.purchase.id.refund_id())?;
        let decisions = decide_refunds(&row.purchase, stored_refund.as_ref(), &entries);

        for (entry, decision) in entries.into_iter().zip(decisions) {
            match decision {
                RefundDecision::Apply(refund) => {
                    // The refund is not part of the batch, so it is inserted as a batch of its own.
                    let position = 0;
                    let refund_row =
                        NewRow::from_purchase(connection, buyers, position, Cow::Owned(refund))?;
                    let mut outcomes = [InsertOutcome::Inserted];
                    insert_rows(connection, buyers, &mut vec![refund_row], &mut outcomes)?;
                }
                RefundDecision::Forget => {}
                RefundDecision::Refuse(reason) => {
                    waiting::mark_refused(connection, entry.sequence, &reason)?;
                    // A refused entry stays. An applied or forgotten entry is removed below.
                    continue;
                }
            }
            waiting::remove_entries(connection, &[entry.sequence])?;
        }
    }
    Ok(())
}

/// Returns the currency of the store, or `None` if it has not adopted one.
pub(super) fn find_currency(connection: &Connection) -> rusqlite::Result<Option<Currency>> {
    connection
        .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
        .query_row([CURRENCY], |row| parse_column(row, 0))
        .optional()
}

/// Returns the currency of the store. If the store has no currency yet, sets it to `adopted`.
pub(super) fn get_or_set_currency(
    connection: &Connection,
    adopted: &Currency,
) -> rusqlite::Result<Currency> {
    if let Some(currency) = find_currency(connection)? {
        return Ok(currency);
    }

    connection
        .prepare_cached("INSERT INTO settings (name, value) VALUES (?1, ?2)")?
        .execute(params![CURRENCY, adopted.as_str()])?;
    Ok(adopted.clone())
}

/// Compares `purchase` with the stored purchase of the same id, and returns `Duplicate` or
/// `Conflict`.
///
/// # Errors
/// Returns the errors of SQLite, and `QueryReturnedNoRows` if the stored purchase is not found,
/// although the insert found its id in the index.
fn compare_with_stored(
    connection: &Connection,
    purchase: &Purchase,
) -> rusqlite::Result<InsertOutcome> {
    match find_by_id(connection, &purchase.id) {
        Ok(Some(stored)) if stored.same_content(purchase) => Ok(InsertOutcome::Duplicate),
        Ok(Some(_other_content)) => Ok(InsertOutcome::Conflict),
        Ok(None) => Err(QueryReturnedNoRows),
        Err(error @ SqliteFailure(..)) => Err(error),
        // The disk changed the stored row, so its content cannot be confirmed to equal this
        // purchase.
        Err(error) => {
            tracing::error!(purchase.id = %purchase.id, %error, "the stored purchase with this id cannot be read");
            Ok(InsertOutcome::Conflict)
        }
    }
}
