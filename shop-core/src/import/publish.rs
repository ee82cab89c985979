//! Publishes the rows of a file, and finds out whether each row was stored.
//!
//! ```text
//! batch ─▶ valid_rows ─▶ remove_known_rows ─▶ publish_all ─▶ unsettled ─▶ wait_until_stored ─▶ imported
//!          rejected,     repeated,            repeated,      rows in      conflicting,
//!          repeated,     conflicting,         conflicting,   the log      rejected
//!          conflicting   rejected             rejected
//! ```
//!
//! A sink either *stores* purchases itself ([`SinkInfo::is_storing`](crate::ports::SinkInfo::is_storing)), so that its answer is
//! the decision of the store, or appends them to a log, from which ingest stores them later. With a
//! log, a row is *unsettled* from its acknowledgement until a query finds that the store decided
//! about it. A refund may be stored before its purchase: the store keeps it as a *waiting refund*
//! then, and applies or refuses it when the purchase is stored.
//!
//! A refund that names its purchase by a reference is set aside first: see `referenced`.

use std::collections::HashMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder, Retryable};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};

use super::referenced::{ReferencedRefunds, find_purchases};
use super::report::ImportReport;
use super::row::ImportRow;
use super::{MAX_BATCH_BYTES, MIN_BATCH_SIZE};
use crate::ports::{Lookup, PurchaseQuery, PurchaseSink};
use crate::{Blame, Details, Error, ErrorKind, Outcome, Purchase, PurchaseId, Result};

/// The maximum number of concurrent look-ups in the store.
pub(super) const CONCURRENT_LOOKUPS: usize = 64;
/// The number of unsettled rows in the log at which the import waits until they are stored.
const MAX_UNSETTLED: usize = 10 * MIN_BATCH_SIZE;
/// How long the import waits for the last unsettled row, before it looks up all unsettled rows
/// again.
const LAST_ROW_TIMEOUT: Duration = Duration::from_millis(500);
/// The reason for rejecting a row whose purchase was erased: the store never accepts its id again.
const ERASED: &str = "its purchase was erased";
/// The reason for rejecting a row about whose id, or about whose purchase, the store has a damaged
/// row. The store can answer about the other rows.
const DAMAGED: &str = "the store has a damaged row with its id or of its purchase: `management doctor` names the damage";

/// Returns whether a row that failed with `error` is published again: if its outcome is unknown, or
/// if the file is not to blame.
///
/// A lasting fault of the log or the store does not reject the row. It ends the import, which can be
/// continued later.
fn may_succeed_later(error: &Error) -> bool {
    error.is_retryable()
        || error.outcome() == Outcome::Unknown
        || error.kind().blame() != Blame::Caller
}

/// Returns the pauses before the attempts to repeat a failed call: 0.1 s to 6.4 s, half of a minute
/// in all.
pub(super) fn retry_backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_millis(6_400))
        .with_max_times(9)
}

/// A row of the file that states a valid purchase or refund.
struct ValidRow {
    line: u64,
    purchase: Purchase,
    /// Whether an attempt of this import to publish the row ended with an unknown outcome.
    ///
    /// If the sink then reports the purchase as a duplicate, this import published it, so it counts
    /// as imported.
    may_be_published: bool,
}

/// The answer of the store to a look-up of a row.
enum RowOutcome {
    /// The purchase or refund of the row is stored.
    Stored,
    /// The refund of the row is in the store, and waits there for its purchase.
    Waiting,
    /// Another purchase is stored under the id of the row, or another refund of the same purchase
    /// is in the store.
    Conflicting,
    /// The store can never accept the row, for this reason.
    Rejected(String),
    /// The store knows nothing about the row, which may still be in the log.
    Unknown,
}

/// The publisher of the batches of one import, which also settles the rows that are in the log.
pub(super) struct ImportPublisher<'a> {
    sink: &'a dyn PurchaseSink,
    query: &'a dyn PurchaseQuery,
    store_timeout: Duration,
    /// The rows that are in the log, and may not be stored yet.
    unsettled: Vec<ValidRow>,
    /// The refunds that name their purchase by a reference, until all purchases of the file are
    /// stored.
    referenced: ReferencedRefunds,
    /// The rows whose refund was waiting in the store for its purchase when it was counted as
    /// imported.
    waiting: Vec<ValidRow>,
}

impl<'a> ImportPublisher<'a> {
    /// Creates a publisher that has published nothing yet.
    pub(super) fn new(
        sink: &'a dyn PurchaseSink,
        query: &'a dyn PurchaseQuery,
        store_timeout: Duration,
    ) -> Self {
        Self {
            sink,
            query,
            store_timeout,
            unsettled: Vec::new(),
            referenced: ReferencedRefunds::default(),
            waiting: Vec::new(),
        }
    }

    /// Publishes the rows of a batch, and counts them in `report`.
    ///
    /// If the sink appends to a log, the acknowledged rows are unsettled afterwards. The function
    /// waits for the store once 10,000 rows or [`MAX_BATCH_BYTES`] are unsettled.
    /// [`finish`](Self::finish) waits for the rest.
    ///
    /// # Errors
    /// Returns the errors of the sink and the store that are described at
    /// [`import_rows`](super::import_rows). After an error, `report.resume_at` is the first line that
    /// may not be imported.
    pub(super) async fn publish(
        &mut self,
        batch: Vec<ImportRow>,
        report: &mut ImportReport,
    ) -> Result<()> {
        report.rows += batch.len() as u64;
        let first_batch_line = batch.first().map(|row| row.line);
        report.resume_at = self.first_open_line().or(first_batch_line);

        // The refunds that name their purchase by a reference are published later.
        let rows_with_ids = self.referenced.set_aside(batch);
        self.publish_rows(rows_with_ids, report).await?;
        if self.referenced.is_full() {
            self.publish_referenced(report).await?;
        }
        report.resume_at = None;
        Ok(())
    }

    /// Publishes the rows of a batch, in which each refund contains the id of its purchase.
    ///
    /// # Errors
    /// Returns the errors of [`publish`](Self::publish).
    async fn publish_rows(
        &mut self,
        batch: Vec<ImportRow>,
        report: &mut ImportReport,
    ) -> Result<()> {
        // A sink that stores reports duplicates itself, so its purchases need no look-up. A refund is
        // looked up in any case, to find out whether it contradicts its purchase.
        let is_storing = self.sink.info().is_storing;
        let (mut new_rows, rows_to_look_up): (Vec<_>, Vec<_>) = self
            .valid_rows(batch, report)
            .into_iter()
            .partition(|row| is_storing && !row.purchase.is_refund());
        new_rows.extend(self.remove_known_rows(rows_to_look_up, report).await?);

        for row in self.publish_all(new_rows, report).await? {
            if is_storing && !row.purchase.is_refund() {
                report.imported += 1;
            } else {
                self.unsettled.push(row);
            }
        }

        let unsettled_details = self.unsettled.iter().map(|row| &row.purchase.details);
        let unknown_bytes: usize = unsettled_details.map(Details::unknown_bytes).sum();
        let is_full = self.unsettled.len() >= MAX_UNSETTLED || unknown_bytes >= MAX_BATCH_BYTES;
        if is_storing || is_full {
            self.wait_until_stored(report).await?;
        }
        Ok(())
    }

    /// Returns the first line of the batches so far that is not imported yet, or `None` if all are.
    fn first_open_line(&self) -> Option<u64> {
        let first_unsettled = self.unsettled.first().map(|row| row.line);
        let first_referenced = self.referenced.first_line();
        first_unsettled.into_iter().chain(first_referenced).min()
    }

    /// Publishes the refunds that were set aside, after all purchases before them are stored.
    ///
    /// # Errors
    /// Returns the errors of [`publish`](Self::publish).
    async fn publish_referenced(&mut self, report: &mut ImportReport) -> Result<()> {
        self.wait_until_stored(report).await?;
        loop {
            let refunds = self.referenced.take(MIN_BATCH_SIZE);
            if refunds.is_empty() {
                return Ok(());
            }
            let mut rows = find_purchases(self.query, refunds).await?;
            self.referenced.reject_further_refunds(&mut rows);
            self.publish_rows(rows, report).await?;
            self.wait_until_stored(report).await?;
        }
    }

    /// Waits until the store decided about all rows of the file, publishes the refunds that were set
    /// aside, and counts the refunds that still wait for their purchase.
    ///
    /// Called at the end of the file.
    ///
    /// # Errors
    /// Returns the errors of the store that are described at [`import_rows`](super::import_rows).
    pub(super) async fn finish(&mut self, report: &mut ImportReport) -> Result<()> {
        report.resume_at = self.first_open_line();
        self.wait_until_stored(report).await?;
        self.publish_referenced(report).await?;
        report.resume_at = None;
        self.count_waiting(report).await
    }

    /// Looks up `rows` in the store, counts the rows that the store knows in `report`, and returns
    /// the rows that the store does not know.
    ///
    /// # Errors
    /// Returns the errors of [`row_outcomes`](Self::row_outcomes).
    async fn remove_known_rows(
        &self,
        rows: Vec<ValidRow>,
        report: &mut ImportReport,
    ) -> Result<Vec<ValidRow>> {
        let mut unknown_rows = Vec::new();
        for (row, outcome) in self.row_outcomes(rows).await? {
            match outcome {
                RowOutcome::Stored | RowOutcome::Waiting => report.repeated += 1,
                RowOutcome::Conflicting => report.count_conflict(row.line),
                RowOutcome::Rejected(reason) => report.count_rejected(row.line, reason),
                RowOutcome::Unknown => unknown_rows.push(row),
            }
        }
        Ok(unknown_rows)
    }

    /// Publishes `rows` until the sink acknowledges or refuses each row, and returns the
    /// acknowledged rows.
    ///
    /// Repetitions, conflicts and rejected rows are counted in `report`. Rows that failed for a
    /// passing reason, or with an unknown outcome, are published again after a pause.
    ///
    /// # Errors
    /// Returns the last error of a row if rows still fail after all pauses of [`retry_backoff`].
    async fn publish_all(
        &self,
        mut rows: Vec<ValidRow>,
        report: &mut ImportReport,
    ) -> Result<Vec<ValidRow>> {
        let mut acknowledged_rows = Vec::with_capacity(rows.len());
        let mut pauses = retry_backoff().build();
        while !rows.is_empty() {
            let purchases: Vec<Purchase> = rows.iter().map(|row| row.purchase.clone()).collect();
            let results = self.sink.publish_many(&purchases).await;

            let mut last_error = None;
            let mut failed_rows = Vec::new();
            for (mut row, result) in rows.into_iter().zip(results) {
                match result {
                    // After an unknown outcome, a duplicate may be the purchase of the earlier
                    // attempt of this import, so it counts as imported.
                    Ok(receipt) if receipt.is_duplicate && !row.may_be_published => {
                        report.repeated += 1;
                    }
                    Ok(_) => acknowledged_rows.push(row),
                    Err(error) if may_succeed_later(&error) => {
                        row.may_be_published |= error.outcome() == Outcome::Unknown;
                        failed_rows.push(row);
                        last_error = Some(error);
                    }
                    Err(error) if error.kind() == ErrorKind::Conflict => {
                        report.count_conflict(row.line);
                    }
                    Err(error) => report.count_rejected(row.line, error.to_string()),
                }
            }

            if let Some(error) = last_error {
                let Some(pause) = pauses.next() else {
                    return Err(error);
                };
                tracing::warn!(error = %error.chain(), rows = failed_rows.len(), "publish failed, retrying");
                sleep(pause).await;
            }
            rows = failed_rows;
        }
        Ok(acknowledged_rows)
    }

    /// Waits for the store's decision about all unsettled rows, and counts the rows in `report`.
    ///
    /// # Errors
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if no row was decided for the time
    ///   `store_timeout`
    /// - the errors of look-ups in the store
    async fn wait_until_stored(&mut self, report: &mut ImportReport) -> Result<()> {
        let mut rows = std::mem::take(&mut self.unsettled);
        let mut last_progress = Instant::now();
        while let Some(last) = rows.last() {
            // Once the store contains the last row, it contains most other rows. So this wait saves
            // useless look-ups. Its result is ignored: the look-ups below tell which rows are
            // stored, and report an error of the store.
            let _is_stored = self
                .query
                .wait_for(&last.purchase.id, LAST_ROW_TIMEOUT)
                .await;
            let row_count = rows.len();

            let mut undecided_rows = Vec::new();
            for (row, outcome) in self.row_outcomes(rows).await? {
                match outcome {
                    RowOutcome::Stored => report.imported += 1,
                    RowOutcome::Waiting => {
                        report.imported += 1;
                        self.waiting.push(row);
                    }
                    RowOutcome::Conflicting => report.count_conflict(row.line),
                    RowOutcome::Rejected(reason) => report.count_rejected(row.line, reason),
                    RowOutcome::Unknown => undecided_rows.push(row),
                }
            }

            // The timeout limits the time without progress, not the whole wait: a long log takes
            // its time.
            if undecided_rows.len() < row_count {
                last_progress = Instant::now();
            } else if last_progress.elapsed() >= self.store_timeout {
                let message = format!(
                    "{row_count} rows are in the log, and none of them was stored within {:?}: is ingest running?",
                    self.store_timeout
                );
                return Err(Error::new(ErrorKind::DeadlineExceeded, message));
            }
            rows = undecided_rows;
        }
        Ok(())
    }

    /// Counts the refunds that still wait for their purchase at the end of the file.
    ///
    /// The purchase of a waiting refund may have been stored since the refund was counted as
    /// imported. If the purchase contradicts the refund, the row is counted as conflicting or
    /// rejected instead.
    ///
    /// # Errors
    /// Returns the errors of [`row_outcomes`](Self::row_outcomes).
    async fn count_waiting(&mut self, report: &mut ImportReport) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        for (row, outcome) in self.row_outcomes(rows).await? {
            match outcome {
                // The refund was applied, and is counted as imported already.
                RowOutcome::Stored => {}
                RowOutcome::Waiting | RowOutcome::Unknown => report.waiting += 1,
                RowOutcome::Conflicting => {
                    report.imported -= 1;
                    report.count_conflict(row.line);
                }
                RowOutcome::Rejected(reason) => {
                    report.imported -= 1;
                    report.count_rejected(row.line, reason);
                }
            }
        }
        Ok(())
    }

    /// Looks up `rows` in the store concurrently, and returns each row with the answer, in the same
    /// order.
    ///
    /// If the row in the store is damaged, the row of the file is rejected. The import does not end,
    /// because the row would still be damaged at the next attempt.
    ///
    /// # Errors
    /// Returns the error of a look-up that still fails after all pauses of [`retry_backoff`], or
    /// that must not be retried.
    async fn row_outcomes(&self, rows: Vec<ValidRow>) -> Result<Vec<(ValidRow, RowOutcome)>> {
        stream::iter(rows)
            .map(|row| async move {
                let result = (|| self.row_outcome(&row.purchase))
                    .retry(retry_backoff())
                    .sleep(sleep)
                    .when(Error::is_retryable)
                    .await;
                let outcome = match result {
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        RowOutcome::Rejected(DAMAGED.to_owned())
                    }
                    result => result?,
                };
                Ok((row, outcome))
            })
            .buffered(CONCURRENT_LOOKUPS)
            .try_collect()
            .await
    }

    /// Looks up the purchase of a row in the store. For a refund, also looks up the purchase that
    /// it refunds.
    ///
    /// # Errors
    /// Returns the errors of the store.
    async fn row_outcome(&self, purchase: &Purchase) -> Result<RowOutcome> {
        let lookup = self.query.look_up(&purchase.id).await?;
        if let Lookup::Waiting(_) | Lookup::Missing = lookup
            && let Some(reason) = self.refund_contradiction(purchase).await?
        {
            return Ok(RowOutcome::Rejected(reason));
        }

        Ok(match lookup {
            Lookup::Stored(stored) if stored.same_content(purchase) => RowOutcome::Stored,
            Lookup::Waiting(refund) if refund.same_content(purchase) => RowOutcome::Waiting,
            Lookup::Stored(_) | Lookup::Waiting(_) => RowOutcome::Conflicting,
            Lookup::Erased => RowOutcome::Rejected(ERASED.to_owned()),
            Lookup::Missing => RowOutcome::Unknown,
        })
    }

    /// Returns the reason why `refund` can never be applied to its purchase: it contradicts the
    /// stored purchase, or the purchase was erased.
    ///
    /// Returns `None` if there is no reason, if the purchase is not in the store, or if `refund` is
    /// not a refund.
    async fn refund_contradiction(&self, refund: &Purchase) -> Result<Option<String>> {
        let Some(purchase_id) = &refund.details.of else {
            return Ok(None);
        };
        Ok(match self.query.look_up(purchase_id).await? {
            Lookup::Stored(bought) => refund
                .as_refund_of(&bought)
                .err()
                .map(|invalid| invalid.to_string()),
            Lookup::Erased => Some(ERASED.to_owned()),
            Lookup::Waiting(_) | Lookup::Missing => None,
        })
    }

    /// Returns the rows of a batch that are valid and new, and counts the others in `report`.
    ///
    /// A row is not new if an earlier row of the batch, or an unsettled row of an earlier batch,
    /// uses the same id. A look-up in the store would not find these rows, because they may not be
    /// stored yet.
    fn valid_rows(&self, batch: Vec<ImportRow>, report: &mut ImportReport) -> Vec<ValidRow> {
        let unsettled_purchases: HashMap<PurchaseId, &Purchase> = self
            .unsettled
            .iter()
            .map(|row| (row.purchase.id, &row.purchase))
            .collect();
        let mut new_rows: Vec<ValidRow> = Vec::with_capacity(batch.len());
        let mut index_by_id: HashMap<PurchaseId, usize> = HashMap::new();
        for ImportRow { line, purchase, .. } in batch {
            let purchase = match purchase {
                Ok(purchase) => purchase,
                Err(problem) => {
                    report.count_rejected(line, problem);
                    continue;
                }
            };

            let earlier_purchase = match index_by_id.get(&purchase.id) {
                Some(index) => Some(&new_rows[*index].purchase),
                None => unsettled_purchases.get(&purchase.id).copied(),
            };
            match earlier_purchase {
                Some(earlier) if earlier.same_content(&purchase) => report.repeated += 1,
                Some(_) => report.count_conflict(line),
                None => {
                    index_by_id.insert(purchase.id, new_rows.len());
                    new_rows.push(ValidRow {
                        line,
                        purchase,
                        may_be_published: false,
                    });
                }
            }
        }
        new_rows
    }
}
