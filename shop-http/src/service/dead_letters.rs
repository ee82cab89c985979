//! The dead letters of the logs of this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use shop_core::api::{DeadLetterBody, ResolvedStatus};
use shop_core::log::{
    DeadLetter, DeadLetterFilter, LogAdminExt as _, Reason, RecordPosition, Resolution,
    ResolveOptions, resolve,
};
use shop_core::ports::Lookup;
use shop_core::record::{Record as _, decode};
use shop_core::shop::DeadLetterLog;
use shop_core::{Error, ErrorKind, Purchase, Result};
use tokio::sync::Mutex;

use crate::request::query::DeadLetterPage;
use crate::service::PurchaseService;

/// How many purchases a forecast looks up at once.
const LOOKUPS: usize = 8;

/// The logs whose dead letters are served.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetterLogs {
    logs: Arc<[DeadLetterLog]>,
    /// One request resolves at a time, so that two of this process do not publish the same record.
    resolving: Arc<Mutex<()>>,
}

/// What became of the dead letters at a position, and why.
pub(crate) type ResolveOutcome = (ResolvedStatus, Option<String>);
/// By position.
pub(crate) type ResolveOutcomes = BTreeMap<RecordPosition, ResolveOutcome>;

impl DeadLetterLogs {
    pub(crate) fn new(logs: Vec<DeadLetterLog>) -> Self {
        Self {
            logs: logs.into(),
            resolving: Arc::default(),
        }
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.logs.iter().map(|log| &*log.topic)
    }

    /// The page of these dead letters, in the order of the positions, and the position of its last one if there are
    /// more. The dead letters of one position are on one page.
    pub(crate) async fn page(
        &self,
        (topic, filter, limit): &DeadLetterPage,
    ) -> Result<(Vec<DeadLetterBody>, Option<String>)> {
        let mut page = BTreeMap::<_, Vec<_>>::new();
        for log in self
            .logs
            .iter()
            .filter(|log| topic.as_ref().is_none_or(|topic| *topic == log.topic))
        {
            for dead_letter in log.log.admin().dead_letters(filter, limit + 1).await? {
                let body = DeadLetterBody::without_record(&dead_letter, log.record_type);
                page.entry(dead_letter.position()).or_default().push(body);
            }
        }
        let next = page
            .keys()
            .nth(limit - 1)
            .filter(|_| page.len() > *limit)
            .map(ToString::to_string);
        Ok((page.into_values().take(*limit).flatten().collect(), next))
    }

    /// The log of the topic of `position`.
    fn of(&self, position: &RecordPosition) -> Option<&DeadLetterLog> {
        self.logs.iter().find(|log| *log.topic == *position.topic)
    }

    /// The first pending dead letter at `position`, with its record.
    pub(crate) async fn get(&self, position: &RecordPosition) -> Result<Option<DeadLetterBody>> {
        let Some(log) = self.of(position) else {
            return Ok(None);
        };
        let filter = DeadLetterFilter::default().positions(BTreeSet::from([position.clone()]));
        Ok(log
            .log
            .admin()
            .dead_letters(&filter, 1)
            .await?
            .first()
            .map(|dead_letter| DeadLetterBody::with_record(dead_letter, log.record_type)))
    }

    /// Dead-letters the records at `positions`, on which ingests are stuck, so that they continue. Leaves out where there
    /// is no such record.
    pub(crate) async fn park(
        &self,
        positions: BTreeSet<RecordPosition>,
        reason: &str,
        dry_run: bool,
    ) -> Result<ResolveOutcomes> {
        let mut outcomes = ResolveOutcomes::new();
        for position in positions {
            if let Some(DeadLetterLog { log, .. }) = self.of(&position)
                && let Some(dead_letter) = log.admin().parked_dead_letter(&position, reason).await?
            {
                if !dry_run {
                    log.dead_letters().put(&[dead_letter]).await?;
                }
                outcomes.insert(position, (ResolvedStatus::Parked, None));
            }
        }
        Ok(outcomes)
    }

    /// Resolves the dead letters at `positions`, in all logs. A caller that stops waiting does not stop it. With a store to
    /// compare with, states what a replay cannot change: which purchases ingest would dead-letter again, and why.
    pub(crate) async fn resolve(
        &self,
        positions: BTreeSet<RecordPosition>,
        options: ResolveOptions,
        compared_with: Option<Arc<PurchaseService>>,
    ) -> Result<ResolveOutcomes> {
        let this = self.clone();
        let resolved = tokio::spawn(async move {
            let _only = this.resolving.lock().await;
            let mut outcomes = ResolveOutcomes::new();
            let mut compared = Vec::new();
            let done = if options.resolution == Resolution::Replayed {
                ResolvedStatus::Replayed
            } else {
                ResolvedStatus::Discarded
            };
            for log in this.logs.iter() {
                if !positions
                    .iter()
                    .any(|position| *position.topic == *log.topic)
                {
                    continue;
                }
                let filter = DeadLetterFilter::default().positions(positions.clone());
                let admin = log.log.admin();
                let selected = admin.select_dead_letters(filter).await?;
                let is_compared =
                    compared_with.is_some() && log.record_type.name == Purchase::TYPE.name;
                let each = |dead_letter: DeadLetter, refused: Option<&str>| {
                    let refuse = |why: &str| (ResolvedStatus::Refused, Some(why.to_owned()));
                    let position = dead_letter.position();
                    // A gap among several at a position is left out.
                    let known = outcomes
                        .remove(&position)
                        .filter(|(status, _)| *status == done);
                    outcomes.insert(
                        position,
                        known.unwrap_or_else(|| refused.map_or((done, None), refuse)),
                    );
                    compared.extend((is_compared && refused.is_none()).then_some(dead_letter));
                    true
                };
                resolve(&*admin, log.record_type, selected, &options, each).await?;
            }
            if let Some(purchases) = &compared_with {
                let faults =
                    stream::iter(compared).map(|dead_letter| fault(dead_letter, purchases));
                let faults: Vec<_> = faults.buffered(LOOKUPS).collect().await;
                outcomes.extend(faults.into_iter().flatten());
            }
            Ok::<_, Error>(outcomes)
        });
        resolved.await.unwrap_or_else(|panicked| {
            Err(
                Error::new(ErrorKind::Internal, "resolving dead letters panicked")
                    .with_source(panicked),
            )
        })
    }
}

/// Why the replayed record would be a dead letter again. It is decoded and compared as ingest does it.
async fn fault(
    dead_letter: DeadLetter,
    purchases: &PurchaseService,
) -> Option<(RecordPosition, ResolveOutcome)> {
    let again = |reason: Reason| (ResolvedStatus::DeadLetter, Some(reason.to_string()));
    let outcome = match decode(&dead_letter.record, &dead_letter.partition) {
        Err(error) => again(Reason::from(error)),
        Ok(purchase) => match purchases.look_up(&purchase.id).await {
            Ok(Lookup::Stored(stored)) if !stored.same_content(&purchase) => {
                again(Reason::conflict(Purchase::TYPE))
            }
            Ok(_) => return None,
            Err(_) => {
                let detail = "not compared with the store, which does not answer";
                (ResolvedStatus::Replayed, Some(detail.to_owned()))
            }
        },
    };
    Some((dead_letter.position(), outcome))
}
