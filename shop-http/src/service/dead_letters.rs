//! The dead letters of the logs of this process: pages, replays, discards, and parked records.
//!
//! [`Operations`] on each log do this, as for the commands of operators. Here, the operations on
//! several logs answer one request: a position names the log by its topic. The result of a request is
//! a map from positions to outcomes. If a position gets no outcome, no dead letter is pending there,
//! or no ingest is stuck there, and the handler says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use shop_api::{DeadLetterBody, ResolvedStatus};
use shop_core::log::{DeadLetter, DeadLetterFilter, RecordPosition, Resolution, ResolveOptions};
use shop_core::operations::{Operations, ResolveReport};
use shop_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use crate::request::query::DeadLetterPage;
use crate::service::within;

/// The number of purchases that a forecast looks up concurrently.
const MAX_LOOKUPS: usize = 8;

/// The logs whose dead letters are served.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetterLogs {
    /// The operations on each of the logs.
    operations: Arc<[Operations]>,
    /// The lock of the request that resolves dead letters. Only one request resolves at a time, so
    /// that two requests of this process do not publish the same record.
    resolve_lock: Arc<Mutex<()>>,
}

/// The status of the dead letters at a position, and the reason for it.
pub(crate) type ResolveOutcome = (ResolvedStatus, Option<String>);
/// The outcomes of a request by position.
pub(crate) type ResolveOutcomes = BTreeMap<RecordPosition, ResolveOutcome>;

impl DeadLetterLogs {
    /// Creates the service of the dead letters of the logs that `operations` operate on.
    pub(crate) fn new(operations: Vec<Operations>) -> Self {
        Self {
            operations: operations.into(),
            resolve_lock: Arc::default(),
        }
    }

    /// Returns the topics of the logs.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.operations.iter().filter_map(Operations::topic)
    }

    /// Returns the operations on the log of `topic`.
    fn on_topic(&self, topic: &str) -> Option<&Operations> {
        let mut operations = self.operations.iter();
        operations.find(|operations| operations.topic() == Some(topic))
    }

    /// Returns a page of pending dead letters in the order of their positions, and the cursor of
    /// the next page if there are more.
    ///
    /// The cursor is the last position of the page. The dead letters of one position are on one
    /// page.
    ///
    /// # Errors
    /// See [`Operations::dead_letters_by_position`].
    pub(crate) async fn page(
        &self,
        DeadLetterPage {
            topic,
            filter,
            limit,
        }: &DeadLetterPage,
    ) -> Result<(Vec<DeadLetterBody>, Option<String>)> {
        let mut page = BTreeMap::<_, Vec<_>>::new();
        for operations in self.operations.iter() {
            // Without a record type, the operations are not on a log.
            let Some(record_type) = operations.record_type() else {
                continue;
            };
            let is_requested = topic.is_none() || topic.as_deref() == operations.topic();
            if !is_requested {
                continue;
            }
            // One more position shows whether there is another page.
            let mut dead_letters =
                operations.dead_letters_by_position(filter.clone(), limit + 1)?;
            while let Some(dead_letter) = dead_letters.try_next().await? {
                let body = DeadLetterBody::without_record(
                    &dead_letter,
                    record_type,
                    operations.decoders(),
                );
                page.entry(dead_letter.position()).or_default().push(body);
            }
        }

        let next_cursor = if page.len() > *limit {
            page.keys().nth(limit - 1).map(ToString::to_string)
        } else {
            None
        };
        let bodies = page.into_values().take(*limit).flatten().collect();
        Ok((bodies, next_cursor))
    }

    /// Returns the first pending dead letter at `position`, with its record.
    ///
    /// # Errors
    /// See [`Operations::dead_letter`].
    pub(crate) async fn get(&self, position: &RecordPosition) -> Result<Option<DeadLetterBody>> {
        let Some(operations) = self.on_topic(&position.topic) else {
            return Ok(None);
        };
        let dead_letter = operations.dead_letter(position).await?;
        Ok(dead_letter
            .zip(operations.record_type())
            .map(|(dead_letter, record_type)| {
                DeadLetterBody::with_record(&dead_letter, record_type, operations.decoders())
            }))
    }

    /// Makes dead letters of the records at `positions`, so that the ingests that are stuck on them
    /// continue. Returns the outcome of each record.
    ///
    /// Each record is parked by itself, by the rules of [`Operations::park`]. A record that needs no
    /// dead letter is refused, with the reason. In a dry run, nothing is dead-lettered.
    ///
    /// # Errors
    /// The errors of the logs and of the store. The records at earlier positions may be
    /// dead-lettered by then.
    pub(crate) async fn park(
        &self,
        positions: BTreeSet<RecordPosition>,
        reason: &str,
        dry_run: bool,
    ) -> Result<ResolveOutcomes> {
        let mut outcomes = ResolveOutcomes::new();
        for position in positions {
            // A position of another topic gets no outcome, and the handler says so.
            let Some(operations) = self.on_topic(&position.topic) else {
                continue;
            };
            let positions = std::slice::from_ref(&position);
            let report = if dry_run {
                operations.forecast_park(positions).await?
            } else {
                operations.park(positions, reason).await?
            };

            let outcome = match report.problems.into_iter().next() {
                Some(problem) => (ResolvedStatus::Refused, Some(problem)),
                None => (ResolvedStatus::Parked, None),
            };
            outcomes.insert(position, outcome);
        }
        Ok(outcomes)
    }

    /// Resolves the pending dead letters at `positions`, in all logs.
    ///
    /// With `forecast_timeout`, the outcomes of the dry run of a replay are a forecast: which records
    /// ingest would dead-letter again, and why. The timeout limits the comparison of each record with
    /// the store.
    ///
    /// # Errors
    /// The errors of the logs. Some of the dead letters may be resolved by then.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the resolving, which runs in a task.
    pub(crate) async fn resolve(
        &self,
        positions: BTreeSet<RecordPosition>,
        options: ResolveOptions,
        forecast_timeout: Option<Duration>,
    ) -> Result<ResolveOutcomes> {
        let task = self
            .clone()
            .resolve_exclusively(positions, options, forecast_timeout);
        tokio::spawn(task).await.unwrap_or_else(|panicked| {
            Err(
                Error::new(ErrorKind::Internal, "resolving dead letters panicked")
                    .with_source(panicked),
            )
        })
    }

    /// Resolves dead letters like [`resolve`](Self::resolve), once no other request does.
    async fn resolve_exclusively(
        self,
        positions: BTreeSet<RecordPosition>,
        options: ResolveOptions,
        forecast_timeout: Option<Duration>,
    ) -> Result<ResolveOutcomes> {
        let _only_request = self.resolve_lock.lock().await;
        let mut outcomes = ResolveOutcomes::new();
        for operations in self.operations.iter() {
            let is_in_log =
                |position: &RecordPosition| Some(&*position.topic) == operations.topic();
            if !positions.iter().any(is_in_log) {
                continue;
            }
            let replayable =
                resolve_in_log(operations, &positions, &options, &mut outcomes).await?;
            if let Some(timeout) = forecast_timeout {
                let forecasts: Vec<_> = stream::iter(replayable)
                    .map(|dead_letter| forecast_replay(operations, dead_letter, timeout))
                    .buffered(MAX_LOOKUPS)
                    .collect()
                    .await;
                // A record without a forecast keeps the outcome of the replay.
                outcomes.extend(forecasts.into_iter().flatten());
            }
        }
        Ok(outcomes)
    }
}

/// Resolves the pending dead letters at those of `positions` that are in the log of `operations`, and
/// adds their outcomes to `outcomes`.
///
/// In the dry run of a replay, returns the dead letters that would be replayed. Otherwise, the
/// result is empty.
///
/// # Errors
/// The errors of the log.
async fn resolve_in_log(
    operations: &Operations,
    positions: &BTreeSet<RecordPosition>,
    options: &ResolveOptions,
    outcomes: &mut ResolveOutcomes,
) -> Result<Vec<DeadLetter>> {
    let resolved_status = if options.resolution == Resolution::Replayed {
        ResolvedStatus::Replayed
    } else {
        ResolvedStatus::Discarded
    };
    let filter = DeadLetterFilter::default().positions(positions.clone());
    let mut report = ResolveReport::new(options);
    let mut replayable = Vec::new();
    operations
        .resolve(filter, options, &mut report, |dead_letter| {
            outcomes.insert(dead_letter.position(), (resolved_status, None));
            // Only a forecast needs the dead letters, whose records may be large.
            if options.dry_run && options.resolution == Resolution::Replayed {
                replayable.push(dead_letter);
            }
            // Continues with the next dead letter.
            true
        })
        .await?;

    // Several dead letters may share one position. If one of them is resolved, its outcome stays, and
    // the refusal of another one, such as a gap, is not reported.
    for (position, reason) in report.refused.into_iter().rev() {
        let refusal = (ResolvedStatus::Refused, Some(reason.to_owned()));
        outcomes.entry(position).or_insert(refusal);
    }
    Ok(replayable)
}

/// Forecasts what ingest would decide about the record of a replayed dead letter.
///
/// Returns the outcome if ingest would dead-letter the record again, or if the store does not answer.
/// Returns `None` if ingest would store the record.
async fn forecast_replay(
    operations: &Operations,
    dead_letter: DeadLetter,
    timeout: Duration,
) -> Option<(RecordPosition, ResolveOutcome)> {
    let forecast = within(timeout, operations.forecast_replay(&dead_letter)).await;
    let (status, detail) = match forecast {
        Ok(None) => return None,
        Ok(Some(reason)) => (ResolvedStatus::DeadLetter, reason.to_string()),
        Err(_unavailable) => {
            let detail = "not compared with the store, which does not answer";
            (ResolvedStatus::Replayed, detail.to_owned())
        }
    };
    Some((dead_letter.position(), (status, Some(detail))))
}
