//! Inserts purchases whose id is not stored yet, and refunds of purchases that are.

use std::borrow::Cow;
use std::sync::LazyLock;

use rusqlite::Error::{QueryReturnedNoRows, SqliteFailure};
use rusqlite::types::ValueRef::{self, Blob, Integer, Text};
use rusqlite::{Connection, OptionalExtension, params};
use shop_core::domain::{Currency, Reference};
use shop_core::ports::{InsertOutcome, RefundDecision, decide_refunds, rejected_currency};
use shop_core::{Purchase, PurchaseId};

use super::buyers::{self, BuyerCache};
use super::erase::is_marked;
use super::rows::{id_bytes, with_details};
use super::select::by_id;
use super::{fold, waiting};
use crate::embedded::bulk::BulkInsert;
use crate::embedded::checksum::checksum;
use crate::embedded::error::parsed;

/// The name of the setting with the currency of the store.
const CURRENCY: &str = "currency";

static PURCHASES: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new("purchases (buyer, timestamp, id, price, details, reference, hash)")
});

/// The columns of a purchase, with its position in the batch.
pub(super) struct NewRow<'a> {
    position: usize,
    purchase: Cow<'a, Purchase>,
    pub(super) buyer: i64,
    pub(super) timestamp: i64,
    id: Vec<u8>,
    pub(super) price: String,
    details: Option<String>,
    checksum: u32,
}

impl<'a> NewRow<'a> {
    fn new(
        connection: &Connection,
        buyers: &mut BuyerCache,
        position: usize,
        purchase: Cow<'a, Purchase>,
    ) -> rusqlite::Result<Self> {
        let (buyer, of_user) = buyers.intern(connection, &purchase)?;
        let timestamp = purchase.timestamp.as_millis();
        let id = id_bytes(purchase.id);
        let price = purchase.price.to_string();
        let details = purchase.details.to_json();
        let values = [Integer(timestamp), Blob(&id), Text(price.as_bytes())];
        let checksum = checksum(with_details(of_user, details.as_deref().into()), values);
        Ok(Self {
            position,
            purchase,
            buyer,
            timestamp,
            id,
            price,
            details,
            checksum,
        })
    }

    /// Returns the values of the columns of [`PURCHASES`].
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

/// Inserts `batch` within the caller's transaction. Returns one outcome for each purchase. `buyers` must be forgotten when
/// that is rolled back.
pub(in crate::embedded) fn insert(
    connection: &Connection,
    buyers: &mut BuyerCache,
    batch: &[&Purchase],
) -> rusqlite::Result<Vec<InsertOutcome>> {
    let mut insertion = InsertPlan::new(connection, batch.len())?;
    let mut outcomes = Vec::with_capacity(batch.len());
    for (position, purchase) in batch.iter().enumerate() {
        let outcome = match insertion.accept(purchase)? {
            RowDecision::Row(purchase) => {
                let row = NewRow::new(connection, buyers, position, purchase)?;
                insertion.rows.push(row);
                InsertOutcome::Inserted
            }
            RowDecision::Outcome(outcome) => outcome,
        };
        outcomes.push(outcome);
    }

    let InsertPlan {
        mut rows,
        has_waiting,
        ..
    } = insertion;
    insert_rows(connection, buyers, &mut rows, &mut outcomes)?;
    if has_waiting {
        settle_waiting(connection, buyers, &rows)?;
    }
    Ok(outcomes)
}

/// The part of an insert that decides which purchases become rows.
struct InsertPlan<'a> {
    connection: &'a Connection,
    /// Whether any id is marked as erased.
    has_marks: bool,
    /// Whether any refund waits.
    has_waiting: bool,
    /// The currency of the store, once it was read.
    currency: Option<Currency>,
    /// The rows that are inserted at the end, together.
    rows: Vec<NewRow<'a>>,
}

/// What becomes of a purchase.
enum RowDecision<'a> {
    /// This is inserted, unless its id is stored.
    Row(Cow<'a, Purchase>),
    /// Nothing is inserted.
    Outcome(InsertOutcome),
}

impl<'a> InsertPlan<'a> {
    /// Begins an insertion of `count` purchases.
    fn new(connection: &'a Connection, count: usize) -> rusqlite::Result<Self> {
        // Both tables are empty in most shops, so one statement looks at them.
        let sql = "SELECT EXISTS (SELECT 1 FROM erased), EXISTS (SELECT 1 FROM waiting_refunds)";
        connection.prepare_cached(sql)?.query_row([], |row| {
            Ok(Self {
                connection,
                has_marks: row.get(0)?,
                has_waiting: row.get(1)?,
                currency: None,
                rows: Vec::with_capacity(count),
            })
        })
    }

    fn accept(&mut self, purchase: &'a Purchase) -> rusqlite::Result<RowDecision<'a>> {
        if self.is_erased(&purchase.id)? {
            return Ok(RowDecision::Outcome(InsertOutcome::Erased));
        }
        if let Some(given) = &purchase.details.currency {
            let kept = self.currency_or(given)?;
            if kept != given {
                let rejected = rejected_currency(kept, given);
                return Ok(RowDecision::Outcome(InsertOutcome::Rejected(rejected)));
            }
        }
        match purchase.details.of {
            Some(of) => self.accept_refund(purchase, of),
            None => Ok(RowDecision::Row(Cow::Borrowed(purchase))),
        }
    }

    fn is_erased(&self, id: &PurchaseId) -> rusqlite::Result<bool> {
        Ok(self.has_marks && is_marked(self.connection, id)?)
    }

    /// Returns the currency of the store, which is `given` if it had none.
    fn currency_or(&mut self, given: &Currency) -> rusqlite::Result<&Currency> {
        let currency = match self.currency.take() {
            Some(currency) => currency,
            None => get_or_set_currency(self.connection, given)?,
        };
        Ok(self.currency.insert(currency))
    }

    /// Checks a refund against its purchase `of`. Without that, keeps the refund until then.
    fn accept_refund(
        &mut self,
        refund: &'a Purchase,
        of: PurchaseId,
    ) -> rusqlite::Result<RowDecision<'a>> {
        if self.is_erased(&of)? {
            return Ok(RowDecision::Outcome(InsertOutcome::Erased));
        }
        if let Some(bought) = self.find_purchase(&of)? {
            return Ok(match refund.as_refund_of(&bought) {
                Ok(refund) => RowDecision::Row(Cow::Owned(refund)),
                Err(invalid) => RowDecision::Outcome(InsertOutcome::Rejected(invalid.into())),
            });
        }

        self.has_waiting = true;
        let is_new = waiting::insert(self.connection, refund, of)?;
        let outcome = if is_new {
            InsertOutcome::Waiting
        } else {
            InsertOutcome::Duplicate
        };
        Ok(RowDecision::Outcome(outcome))
    }
}

impl InsertPlan<'_> {
    /// Returns the purchase with this id, if it is stored, or was before in this batch.
    fn find_purchase(&self, id: &PurchaseId) -> rusqlite::Result<Option<Purchase>> {
        let stored = by_id(self.connection, id)?;
        // Refunds that have waited for a purchase of this batch are applied before later ones.
        if stored.is_some() || self.has_waiting {
            return Ok(stored);
        }
        let in_batch = self.rows.iter().find(|row| row.purchase.id == *id);
        Ok(in_batch.map(|row| row.purchase.clone().into_owned()))
    }
}

/// Inserts `rows`, without those whose id is stored: their outcomes are set, and they are removed.
fn insert_rows(
    connection: &Connection,
    buyers: &mut BuyerCache,
    rows: &mut Vec<NewRow<'_>>,
    outcomes: &mut [InsertOutcome],
) -> rusqlite::Result<()> {
    let conflicts = PURCHASES.insert_new(connection, rows, NewRow::values)?;
    for index in conflicts {
        let row = &rows[index];
        buyers::remove_unused(connection, row.buyer)?;
        *buyers = BuyerCache::default();
        outcomes[row.position] = compare(connection, &row.purchase)?;
    }
    rows.retain(|row| matches!(outcomes[row.position], InsertOutcome::Inserted));
    fold::add(connection, rows)
}

/// Applies the refunds that wait for the purchases in `rows`, which are inserted.
fn settle_waiting(
    connection: &Connection,
    buyers: &mut BuyerCache,
    rows: &[NewRow<'_>],
) -> rusqlite::Result<()> {
    for row in rows.iter().filter(|row| !row.purchase.is_refund()) {
        let entries = waiting::of_purchase(connection, row.purchase.id)?;
        if entries.is_empty() {
            continue;
        }
        let stored = by_id(connection, &row.purchase.id.refund_id())?;
        let decisions = decide_refunds(&row.purchase, stored.as_ref(), &entries);
        for (entry, decision) in entries.into_iter().zip(decisions) {
            match decision {
                RefundDecision::Apply(refund) => {
                    let refund = NewRow::new(connection, buyers, 0, Cow::Owned(refund))?;
                    let mut outcomes = [InsertOutcome::Inserted];
                    insert_rows(connection, buyers, &mut vec![refund], &mut outcomes)?;
                    waiting::remove(connection, &[entry.sequence])?;
                }
                RefundDecision::Forget => waiting::remove(connection, &[entry.sequence])?,
                RefundDecision::Refuse(reason) => {
                    waiting::refuse(connection, entry.sequence, &reason)?;
                }
            }
        }
    }
    Ok(())
}

/// Returns the currency of the store, if it has one.
pub(super) fn find_currency(connection: &Connection) -> rusqlite::Result<Option<Currency>> {
    connection
        .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
        .query_row([CURRENCY], |row| parsed(row, 0))
        .optional()
}

/// Returns the currency of the store, which is `given` if it had none.
pub(super) fn get_or_set_currency(
    connection: &Connection,
    given: &Currency,
) -> rusqlite::Result<Currency> {
    if let Some(kept) = find_currency(connection)? {
        return Ok(kept);
    }
    connection
        .prepare_cached("INSERT INTO settings (name, value) VALUES (?1, ?2)")?
        .execute(params![CURRENCY, given.as_str()])?;
    Ok(given.clone())
}

/// Compares `purchase` with the stored purchase of the same id.
fn compare(connection: &Connection, purchase: &Purchase) -> rusqlite::Result<InsertOutcome> {
    match by_id(connection, &purchase.id).and_then(|first| first.ok_or(QueryReturnedNoRows)) {
        Ok(first) if first.same_content(purchase) => Ok(InsertOutcome::Duplicate),
        Ok(_other) => Ok(InsertOutcome::Conflict),
        Err(error @ (SqliteFailure(..) | QueryReturnedNoRows)) => Err(error),
        // The stored row cannot be read, so it differs from this purchase.
        Err(error) => {
            tracing::error!(purchase.id = %purchase.id, %error, "the stored purchase with this id cannot be read");
            Ok(InsertOutcome::Conflict)
        }
    }
}
