//! The dead letters of the logs of this process: pages, replays, discards, and parked records.
//!
//! What becomes of a dead letter or a record is decided by [`Operations`], as for the commands of
//! operators. A position names the log by its topic, so a request may contain positions of several
//! logs. The result of a request is a map from positions to outcomes. If a position gets no outcome,
//! no dead letter is pending there, or no ingest is stuck there, and the handler says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use shop_core::api::{DeadLetterBody, ResolvedStatus};
use shop_core::log::{
    DeadLetter, DeadLetterFilter, Reason, RecordPosition, Resolution, ResolveOptions,
};
use shop_core::operations::{Operations, ResolveReport};
use shop_core::ports::Lookup;
use shop_core::record::{Record as _, decode};
use shop_core::{Backend, Error, ErrorKind, Purchase, Result};
use tokio::sync::Mutex;

use crate::request::query::DeadLetterPage;
use crate::service::PurchaseService;

/// The number of purchases that a forecast looks up concurrently.
const MAX_LOOKUPS: usize = 8;

/// The number of dead letters of a page that are read at once, with their records.
const READ_AT_ONCE: usize = 50;

/// The logs whose dead letters are served.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetterLogs {
    /// The operations on each of the logs.
    operations: Arc<[Operations]>,
    /// The lock of the request that resolves dead letters. Only one request does at a time, so that
    /// two requests of this process do not publish the same record.
    resolving: Arc<Mutex<()>>,
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
            resolving: Arc::default(),
        }
    }

    /// Returns the topics of the logs.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.logs().map(|log| &*log.topic)
    }

    /// Returns the logs.
    fn logs(&self) -> impl Iterator<Item = &Backend> {
        self.operations.iter().map(Operations::backend)
    }

    /// Returns a page of pending dead letters in the order of their positions, and the cursor of
    /// the next page if there are more.
    ///
    /// The cursor is the last position of the page. The dead letters of one position are on one
    /// page.
    ///
    /// # Errors
    /// See [`LogAdmin::dead_letters`](shop_core::log::LogAdmin::dead_letters).
    pub(crate) async fn page(
        &self,
        DeadLetterPage {
            topic,
            filter,
            limit,
        }: &DeadLetterPage,
    ) -> Result<(Vec<DeadLetterBody>, Option<String>)> {
        let mut page = BTreeMap::<_, Vec<_>>::new();
        for log in self.logs() {
            if topic.as_ref().is_some_and(|topic| *topic != log.topic) {
                continue;
            }
            // The records are read and dropped a few at a time, because each may be large.
            let mut filter = filter.clone();
            let mut position_count = 0;
            while position_count <= *limit {
                let count = READ_AT_ONCE.min(limit + 1 - position_count);
                let dead_letters = log
                    .require_log()?
                    .admin()
                    .dead_letters(&filter, count)
                    .await?;
                let positions: BTreeSet<RecordPosition> =
                    dead_letters.iter().map(DeadLetter::position).collect();
                for dead_letter in &dead_letters {
                    let body = DeadLetterBody::without_record(dead_letter, log.record_type);
                    page.entry(dead_letter.position()).or_default().push(body);
                }

                if positions.len() < count {
                    break;
                }
                position_count += positions.len();
                filter.after = positions.into_iter().next_back();
            }
        }

        let next = if page.len() > *limit {
            page.keys().nth(limit - 1).map(ToString::to_string)
        } else {
            None
        };
        Ok((page.into_values().take(*limit).flatten().collect(), next))
    }

    /// Returns the log that contains `position`.
    fn find_log(&self, position: &RecordPosition) -> Option<&Backend> {
        self.logs().find(|log| log.topic == *position.topic)
    }

    /// Returns the operations on the log that contains `position`.
    fn find_operations(&self, position: &RecordPosition) -> Option<&Operations> {
        self.operations
            .iter()
            .find(|operations| operations.backend().topic == *position.topic)
    }

    /// Returns the first pending dead letter at `position`, with its record.
    ///
    /// # Errors
    /// See [`LogAdmin::dead_letters`](shop_core::log::LogAdmin::dead_letters).
    pub(crate) async fn get(&self, position: &RecordPosition) -> Result<Option<DeadLetterBody>> {
        let Some(log) = self.find_log(position) else {
            return Ok(None);
        };
        let filter = DeadLetterFilter::default().positions(BTreeSet::from([position.clone()]));
        let dead_letters = log.require_log()?.admin().dead_letters(&filter, 1).await?;
        Ok(dead_letters
            .first()
            .map(|dead_letter| DeadLetterBody::with_record(dead_letter, log.record_type)))
    }

    /// Dead-letters the records at `positions`, on which ingests are stuck, so that they continue.
    ///
    /// Each record is parked by itself, by the rules of [`Operations::park`]: one that needs no dead
    /// letter is refused, with the reason. In a dry run, nothing is dead-lettered.
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
            let Some(operations) = self.find_operations(&position) else {
                continue;
            };
            let record = std::slice::from_ref(&position);
            let report = if dry_run {
                operations.forecast_park(record).await?
            } else {
                operations.park(record, reason).await?
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
    /// With `forecast_service`, the outcomes of a replay are a forecast: which purchases ingest
    /// would dead-letter again, compared with the store, and why.
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
        forecast_service: Option<Arc<PurchaseService>>,
    ) -> Result<ResolveOutcomes> {
        let task = self
            .clone()
            .resolve_exclusively(positions, options, forecast_service);
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
        forecast_service: Option<Arc<PurchaseService>>,
    ) -> Result<ResolveOutcomes> {
        let _only_request = self.resolving.lock().await;
        let resolved_status = if options.resolution == Resolution::Replayed {
            ResolvedStatus::Replayed
        } else {
            ResolvedStatus::Discarded
        };

        let mut outcomes = ResolveOutcomes::new();
        let mut to_compare = Vec::new();
        for operations in self.operations.iter() {
            let log = operations.backend();
            if positions
                .iter()
                .all(|position| log.topic != *position.topic)
            {
                continue;
            }

            let is_compared =
                forecast_service.is_some() && log.record_type.name == Purchase::TYPE.name;
            let filter = DeadLetterFilter::default().positions(positions.clone());
            let mut report = ResolveReport::new(&options);
            operations
                .resolve(filter, &options, &mut report, |dead_letter| {
                    outcomes.insert(dead_letter.position(), (resolved_status, None));
                    if is_compared {
                        to_compare.push(dead_letter);
                    }
                    true
                })
                .await?;

            // Several dead letters may share one position. If one is resolved, the outcome does
            // not tell about another that is refused, such as a gap.
            for (position, reason) in report.refused.into_iter().rev() {
                let refused = (ResolvedStatus::Refused, Some(reason.to_owned()));
                outcomes.entry(position).or_insert(refused);
            }
        }

        if let Some(purchases) = &forecast_service {
            let forecasts: Vec<_> = stream::iter(to_compare)
                .map(|dead_letter| forecast_replay(dead_letter, purchases))
                .buffered(MAX_LOOKUPS)
                .collect()
                .await;
            outcomes.extend(forecasts.into_iter().flatten());
        }
        Ok(outcomes)
    }
}

/// Forecasts the outcome of a replayed dead letter, as ingest would decide about its record.
///
/// Returns `None` if ingest would not dead-letter the record again.
async fn forecast_replay(
    dead_letter: DeadLetter,
    purchases: &PurchaseService,
) -> Option<(RecordPosition, ResolveOutcome)> {
    let (status, detail) = match decode(&dead_letter.record, &dead_letter.partition) {
        Err(error) => (ResolvedStatus::DeadLetter, Reason::from(error).to_string()),
        Ok(purchase) => match purchases.look_up(&purchase.id).await {
            Ok(Lookup::Stored(stored)) if !stored.same_content(&purchase) => {
                let reason = Reason::conflict(Purchase::TYPE);
                (ResolvedStatus::DeadLetter, reason.to_string())
            }
            Ok(_) => return None,
            Err(_unavailable) => {
                let detail = "not compared with the store, which does not answer";
                (ResolvedStatus::Replayed, detail.to_owned())
            }
        },
    };
    Some((dead_letter.position(), (status, Some(detail))))
}
