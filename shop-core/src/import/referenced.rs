//! Finds the purchases of refunds that name them by a reference of another system, such as the
//! number of an order.
//!
//! Such a refund may be in the file before its purchase, or in a later file. So it is set aside
//! until the purchases of the file are stored, and its purchase is then looked up in the store. A
//! refund whose purchase is not found is rejected. A refund with the id of its purchase can wait in
//! the store instead, because the store finds a waiting refund by this id, and not by a reference.

use std::collections::{HashMap, VecDeque};

use backon::Retryable;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use super::publish::{CONCURRENT_LOOKUPS, retry_backoff};
use super::row::ImportRow;
use crate::domain::Reference;
use crate::ports::{ListOrder, PageLimit, PageRequest, PurchaseQuery, Selector};
use crate::{Error, Purchase, PurchaseId, Result};

/// The maximum number of bytes of the refunds that are set aside, to bound the memory of the import.
///
/// About 50,000 refunds fit. With more, the purchases are looked for before the end of the file. A
/// refund that comes before its purchase in the file may be rejected then.
const MAX_BYTES: usize = 16 << 20;
/// The approximate number of bytes of a refund without its unknown members.
const REFUND_BYTES: usize = 320;

/// A refund of a file that names its purchase by a reference.
pub(super) struct ReferencedRefund {
    pub(super) line: u64,
    /// The refund, without the id of its purchase. Its own id is a placeholder until
    /// [`complete_refund`] derives it from the purchase.
    refund: Purchase,
    reference: Reference,
}

/// The refunds of a file that name their purchase by a reference, in the order of the file.
#[derive(Default)]
pub(super) struct ReferencedRefunds {
    refunds: VecDeque<ReferencedRefund>,
    /// The approximate number of bytes of the refunds that were added since refunds were last taken.
    bytes: usize,
    /// The lines of the refunds that found their purchase so far, by the ids of the refunds.
    refunding_lines: HashMap<PurchaseId, u64>,
}

impl ReferencedRefunds {
    /// Adds the refunds of `batch` that name their purchase by a reference, and returns the other
    /// rows.
    pub(super) fn set_aside(&mut self, batch: Vec<ImportRow>) -> Vec<ImportRow> {
        let mut other_rows = Vec::with_capacity(batch.len());
        for row in batch {
            match (row.purchase, row.refunded_reference) {
                (Ok(refund), Some(reference)) => {
                    self.bytes += REFUND_BYTES + refund.details.unknown_bytes();
                    self.refunds.push_back(ReferencedRefund {
                        line: row.line,
                        refund,
                        reference,
                    });
                }
                (purchase, _) => other_rows.push(ImportRow::new(row.line, purchase)),
            }
        }
        other_rows
    }

    /// Returns whether so many refunds are set aside that their purchases must be looked for.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MAX_BYTES
    }

    /// Returns the line of the first refund that is set aside, if there is one.
    pub(super) fn first_line(&self) -> Option<u64> {
        self.refunds.front().map(|refund| refund.line)
    }

    /// Rejects each of `rows` whose purchase an earlier row of the file refunds.
    ///
    /// A purchase can be refunded once. Some systems pay back in several parts, and write a row for
    /// each part. Without this check, two equal parts would look like one refund that is repeated.
    pub(super) fn reject_further_refunds(&mut self, rows: &mut [ImportRow]) {
        for row in rows {
            // A row without a valid refund is rejected already.
            let Ok(refund) = &row.purchase else {
                continue;
            };
            let first_line = *self.refunding_lines.entry(refund.id).or_insert(row.line);
            if first_line != row.line {
                row.purchase = Err(format!(
                    "line {first_line} refunds the same purchase, which can be refunded once: put both amounts into one row"
                ));
            }
        }
    }

    /// Removes and returns the first `max_count` refunds, or fewer if there are no more.
    pub(super) fn take(&mut self, max_count: usize) -> Vec<ReferencedRefund> {
        // The caller takes until no refund is left, so all bytes are subtracted at once.
        self.bytes = 0;
        let count = max_count.min(self.refunds.len());
        self.refunds.drain(..count).collect()
    }
}

/// Looks up the purchases of `refunds`. Returns a row for each refund, in the same order: the refund
/// with the id of its purchase, or the reason why its purchase was not found.
///
/// # Errors
/// Returns the errors of the store, if they last for about half a minute.
pub(super) async fn find_purchases(
    query: &dyn PurchaseQuery,
    refunds: Vec<ReferencedRefund>,
) -> Result<Vec<ImportRow>> {
    stream::iter(refunds)
        .map(|refund| async move {
            let purchase = (|| find_purchase(query, &refund))
                .retry(retry_backoff())
                .sleep(sleep)
                .when(Error::is_retryable)
                .await?;
            let completed_refund = purchase.map(|purchase| complete_refund(&refund, &purchase));
            Ok(ImportRow::new(refund.line, completed_refund))
        })
        .buffered(CONCURRENT_LOOKUPS)
        .try_collect()
        .await
}

/// Finds the purchase with the reference of `refund`.
///
/// The purchases of the refund's user are searched first, and then those of all users: some systems
/// name the shop as the user of a refund.
///
/// The inner error is the reason for rejecting the refund: no purchase, or more than one, has the
/// reference.
///
/// # Errors
/// Returns the errors of the store as the outer error.
async fn find_purchase(
    query: &dyn PurchaseQuery,
    refund: &ReferencedRefund,
) -> Result<Result<Purchase, String>> {
    let reference = &refund.reference;
    let any_user = None;
    for user_id in [Some(refund.refund.user_id.clone()), any_user] {
        let selector = Selector::Reference(reference.clone(), user_id);
        let request = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
        let mut purchases = query.page(&selector, &request).await?.items;
        purchases.retain(|purchase| !purchase.is_refund());
        match &purchases[..] {
            [] => {}
            [purchase] => return Ok(Ok(purchase.clone())),
            several => {
                return Ok(Err(format!(
                    "{} purchases have the reference {reference} of this refund: name the id of one by of",
                    several.len()
                )));
            }
        }
    }
    Ok(Err(format!(
        "no purchase has the reference {reference} of this refund: import its purchase first"
    )))
}

/// Completes the refund of `row` by the id, the user and the reference of `purchase`.
///
/// The store checks later whether the refund contradicts the purchase, for example by an earlier
/// time.
fn complete_refund(row: &ReferencedRefund, purchase: &Purchase) -> Purchase {
    let mut refund = row.refund.clone();
    refund.id = purchase.id.refund_id();
    refund.user_id.clone_from(&purchase.user_id);
    refund.user_name.clone_from(&purchase.user_name);
    refund
        .details
        .reference
        .clone_from(&purchase.details.reference);
    refund.details.of = Some(purchase.id);
    refund
}
