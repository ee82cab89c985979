//! Publishes the rows of a file, and finds out what became of each.

use std::collections::HashMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder, Retryable};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};

use super::BATCH;
use super::report::ImportReport;
use super::row::ImportRow;
use crate::ports::{Lookup, PurchaseQuery, PurchaseSink};
use crate::{Error, ErrorKind, Outcome, Purchase, PurchaseId, Result};

/// The maximum of concurrent look-ups.
const CONCURRENT_LOOKUPS: usize = 64;
/// How many rows are in the log, at most, while the store is not asked for them.
const MAX_UNSETTLED: usize = 10 * BATCH;
/// How long one row is waited for, before all rows are looked up again.
const POLL: Duration = Duration::from_millis(500);
const ERASED: &str = "its purchase was erased";

/// The pauses before what has failed is tried again: 0.1 s to 6.4 s, half of a minute in all.
fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_millis(6_400))
        .with_max_times(9)
}

/// A valid row.
struct ValidRow {
    line: u64,
    purchase: Purchase,
    /// Whether it was published with an unknown outcome: if the sink has it now, it is from this import.
    may_be_published: bool,
}

/// What the store says of a row.
enum RowOutcome {
    /// Its purchase or refund is stored.
    Stored,
    /// Its refund is in the store, and waits there for its purchase.
    Waiting,
    /// Another purchase is stored under its id, or another refund of its purchase is in the store.
    Conflicting,
    /// The store can never accept it.
    Rejected(String),
    /// The store does not have it.
    Unknown,
}

/// Publishes the batches of one import.
pub(super) struct ImportPublisher<'a> {
    sink: &'a dyn PurchaseSink,
    query: &'a dyn PurchaseQuery,
    store_timeout: Duration,
    /// Rows that are in the log, and may not be stored yet.
    unsettled: Vec<ValidRow>,
    /// Rows whose refund was waiting for its purchase when it was imported.
    waiting: Vec<ValidRow>,
}

impl<'a> ImportPublisher<'a> {
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
            waiting: Vec::new(),
        }
    }

    /// Publishes the rows of a batch. Where that does not store them, it waits for the store when 10,000 rows are in the log.
    ///
    /// # Errors
    /// As [`Import::run`](super::Import::run).
    pub(super) async fn publish(
        &mut self,
        batch: Vec<ImportRow>,
        report: &mut ImportReport,
    ) -> Result<()> {
        let first_unsettled = self.unsettled.first().map(|row| row.line);
        report.resume_at = first_unsettled.or(batch.first().map(|row| row.line));
        let rows = self.valid_rows(batch, report);
        let is_storing = self.sink.is_storing();
        // A sink that stores says by itself what it had already. The purchase of a refund is looked up in any case.
        let (to_publish, to_look_up): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|row| is_storing && !row.purchase.is_refund());
        let unknown = self.without_known(to_look_up, report).await?;

        let to_publish: Vec<ValidRow> = to_publish.into_iter().chain(unknown).collect();
        let acknowledged = self.publish_all(to_publish, report).await?;
        for row in acknowledged {
            if is_storing && !row.purchase.is_refund() {
                report.imported += 1;
            } else {
                self.unsettled.push(row);
            }
        }
        if is_storing || self.unsettled.len() >= MAX_UNSETTLED {
            self.wait_until_stored(report).await?;
        }
        report.resume_at = None;
        Ok(())
    }

    /// Waits until all rows are stored, at the end of the file.
    ///
    /// # Errors
    /// As [`Import::run`](super::Import::run).
    pub(super) async fn finish(&mut self, report: &mut ImportReport) -> Result<()> {
        report.resume_at = self.unsettled.first().map(|row| row.line);
        self.wait_until_stored(report).await?;
        report.resume_at = None;
        self.count_waiting(report).await
    }

    /// Looks up the rows. Counts those that the store knows, and returns the others.
    async fn without_known(
        &self,
        rows: Vec<ValidRow>,
        report: &mut ImportReport,
    ) -> Result<Vec<ValidRow>> {
        let mut unknown = Vec::new();
        for (row, fate) in self.fates_of(rows).await? {
            match fate {
                RowOutcome::Stored | RowOutcome::Waiting => report.repeated += 1,
                RowOutcome::Conflicting => report.conflict(row.line),
                RowOutcome::Rejected(reason) => report.reject(row.line, reason),
                RowOutcome::Unknown => unknown.push(row),
            }
        }
        Ok(unknown)
    }

    /// Publishes rows until each one is acknowledged, counted as known, or counted as refused. Returns the acknowledged
    /// ones.
    async fn publish_all(
        &self,
        mut rows: Vec<ValidRow>,
        report: &mut ImportReport,
    ) -> Result<Vec<ValidRow>> {
        let mut acknowledged = Vec::with_capacity(rows.len());
        let mut pauses = pauses().build();
        while !rows.is_empty() {
            let purchases: Vec<Purchase> = rows.iter().map(|row| row.purchase.clone()).collect();
            let results = self.sink.publish_many(&purchases).await;
            let mut failure = None;
            let mut to_repeat = Vec::new();
            for (mut row, result) in rows.into_iter().zip(results) {
                match result {
                    Ok(receipt) if receipt.is_duplicate && !row.may_be_published => {
                        report.repeated += 1;
                    }
                    Ok(_) => acknowledged.push(row),
                    Err(error) if error.is_retryable() || error.outcome() == Outcome::Unknown => {
                        row.may_be_published |= error.outcome() == Outcome::Unknown;
                        to_repeat.push(row);
                        failure = Some(error);
                    }
                    Err(error) if error.kind() == ErrorKind::Conflict => report.conflict(row.line),
                    Err(error) => report.reject(row.line, error.to_string()),
                }
            }
            if let Some(error) = failure {
                let Some(pause) = pauses.next() else {
                    return Err(error);
                };
                tracing::warn!(error = %error.chain(), rows = to_repeat.len(), "publish failed, retrying");
                sleep(pause).await;
            }
            rows = to_repeat;
        }
        Ok(acknowledged)
    }

    /// Waits until the store has decided over rows that are in the log.
    async fn wait_until_stored(&mut self, report: &mut ImportReport) -> Result<()> {
        let mut rows = std::mem::take(&mut self.unsettled);
        let mut last_progress = Instant::now();
        while let Some(last) = rows.last() {
            // Where the store has the last row, it has most others. An error is that of the look-up below.
            let _is_stored = self.query.wait_for(&last.purchase.id, POLL).await;
            let count = rows.len();
            let mut undecided = Vec::new();
            for (row, fate) in self.fates_of(rows).await? {
                match fate {
                    RowOutcome::Stored => report.imported += 1,
                    RowOutcome::Waiting => {
                        report.imported += 1;
                        self.waiting.push(row);
                    }
                    RowOutcome::Conflicting => report.conflict(row.line),
                    RowOutcome::Rejected(reason) => report.reject(row.line, reason),
                    RowOutcome::Unknown => undecided.push(row),
                }
            }
            if undecided.len() < count {
                last_progress = Instant::now();
            } else if last_progress.elapsed() >= self.store_timeout {
                let message = format!(
                    "{count} rows are in the log, and none of them was stored within {:?}: is ingest running?",
                    self.store_timeout
                );
                return Err(Error::new(ErrorKind::DeadlineExceeded, message));
            }
            rows = undecided;
        }
        Ok(())
    }

    /// Counts the refunds that still wait for their purchase, at the end of the file. Their purchase may have come meanwhile,
    /// and may contradict them.
    async fn count_waiting(&mut self, report: &mut ImportReport) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        for (row, fate) in self.fates_of(rows).await? {
            match fate {
                RowOutcome::Stored => {}
                RowOutcome::Waiting | RowOutcome::Unknown => report.waiting += 1,
                RowOutcome::Conflicting => {
                    report.imported -= 1;
                    report.conflict(row.line);
                }
                RowOutcome::Rejected(reason) => {
                    report.imported -= 1;
                    report.reject(row.line, reason);
                }
            }
        }
        Ok(())
    }

    /// Asks the store for rows. Returns each with what was found.
    async fn fates_of(&self, rows: Vec<ValidRow>) -> Result<Vec<(ValidRow, RowOutcome)>> {
        stream::iter(rows)
            .map(|row| async move {
                let fate = (|| self.fate_of(&row.purchase))
                    .retry(pauses())
                    .sleep(sleep)
                    .when(Error::is_retryable)
                    .await;
                fate.map(|fate| (row, fate))
            })
            .buffered(CONCURRENT_LOOKUPS)
            .try_collect()
            .await
    }

    /// Asks the store for a row.
    async fn fate_of(&self, purchase: &Purchase) -> Result<RowOutcome> {
        Ok(match self.query.look_up(&purchase.id).await? {
            Lookup::Stored(stored) if stored.same_content(purchase) => RowOutcome::Stored,
            Lookup::Stored(_) => RowOutcome::Conflicting,
            Lookup::Erased => RowOutcome::Rejected(ERASED.to_owned()),
            Lookup::Waiting(refund) => match self.contradiction(purchase).await? {
                Some(reason) => RowOutcome::Rejected(reason),
                None if refund.same_content(purchase) => RowOutcome::Waiting,
                None => RowOutcome::Conflicting,
            },
            Lookup::Missing => match self.contradiction(purchase).await? {
                Some(reason) => RowOutcome::Rejected(reason),
                None => RowOutcome::Unknown,
            },
        })
    }

    /// Returns why a refund can never be applied to its purchase, if that is stored.
    async fn contradiction(&self, refund: &Purchase) -> Result<Option<String>> {
        let Some(of) = &refund.details.of else {
            return Ok(None);
        };
        Ok(match self.query.look_up(of).await? {
            Lookup::Stored(bought) => refund
                .as_refund_of(&bought)
                .err()
                .map(|error| Error::from(error).to_string()),
            Lookup::Erased => Some(ERASED.to_owned()),
            Lookup::Waiting(_) | Lookup::Missing => None,
        })
    }

    /// Returns the valid rows of a batch. Counts the others, and those that repeat an earlier row that is not settled.
    fn valid_rows(&self, batch: Vec<ImportRow>, report: &mut ImportReport) -> Vec<ValidRow> {
        let mut rows: Vec<ValidRow> = Vec::with_capacity(batch.len());
        let unsettled = self.unsettled.iter().map(|row| &row.purchase);
        let unsettled: HashMap<PurchaseId, &Purchase> =
            unsettled.map(|purchase| (purchase.id, purchase)).collect();
        let mut in_batch: HashMap<PurchaseId, usize> = HashMap::new();
        for ImportRow { line, purchase } in batch {
            report.rows += 1;
            let purchase = match purchase {
                Ok(purchase) => purchase,
                Err(problem) => {
                    report.reject(line, problem);
                    continue;
                }
            };
            let earlier = match in_batch.get(&purchase.id) {
                Some(index) => Some(&rows[*index].purchase),
                None => unsettled.get(&purchase.id).copied(),
            };
            match earlier {
                Some(first) if first.same_content(&purchase) => report.repeated += 1,
                Some(_) => report.conflict(line),
                None => {
                    in_batch.insert(purchase.id, rows.len());
                    rows.push(ValidRow {
                        line,
                        purchase,
                        may_be_published: false,
                    });
                }
            }
        }
        rows
    }
}
