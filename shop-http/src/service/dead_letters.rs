//! The dead letters of the logs of this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use shop_core::api::{DeadLetterBody, ResolvedStatus};
use shop_core::log::{DeadLetter, DeadLetterFilter, Reason, RecordPosition, Resolution, Resolved, resolve};
use shop_core::ports::Lookup;
use shop_core::record::{Record as _, decode};
use shop_core::shop::DeadLetterLog;
use shop_core::{Error, ErrorKind, Purchase, Result};
use tokio::sync::Mutex;

use crate::service::Purchases;

/// How many purchases a forecast looks up at once.
const LOOKUPS: usize = 8;

/// The logs whose dead letters are served.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetterLogs {
    logs: Arc<[DeadLetterLog]>,
    /// One request resolves at a time, so that two of this process do not publish the same record.
    resolving: Arc<Mutex<()>>,
}

/// Which dead letters are listed: the topic, the filter and the limit.
pub(crate) type DeadLetterPage = (Option<String>, DeadLetterFilter, usize);

impl DeadLetterLogs {
    pub(crate) fn new(logs: Vec<DeadLetterLog>) -> Self {
        Self { logs: logs.into(), resolving: Arc::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.logs.is_empty()
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
        for log in self.logs.iter().filter(|log| topic.as_ref().is_none_or(|topic| *topic == log.topic)) {
            for dead_letter in log.admin.dead_letters(filter, limit + 1).await? {
                let body = DeadLetterBody::summary(&dead_letter, log.record_type);
                page.entry(dead_letter.position()).or_default().push(body);
            }
        }
        let last = page.keys().take(*limit).next_back().filter(|_| page.len() > *limit);
        let next = last.map(ToString::to_string);
        Ok((page.into_values().take(*limit).flatten().collect(), next))
    }

    /// The first pending dead letter at `position`, with its record.
    pub(crate) async fn get(&self, position: &RecordPosition) -> Result<Option<DeadLetterBody>> {
        let positions = BTreeSet::from([position.clone()]);
        for log in self.logs.iter().filter(|log| *log.topic == *position.topic) {
            if let Some(dead_letter) = log.admin.dead_letters_at(&positions).await?.first() {
                return Ok(Some(DeadLetterBody::whole(dead_letter, log.record_type)));
            }
        }
        Ok(None)
    }

    /// Dead-letters the record at `position`, on which an ingest is stuck, so that it continues. Returns false where there
    /// is no such record, or records are not parked.
    pub(crate) async fn park(&self, position: &RecordPosition, reason: &str, dry_run: bool) -> Result<bool> {
        for log in self.logs.iter().filter(|log| *log.topic == *position.topic) {
            let Some(dead_letters) = &log.parking else { continue };
            let found = log.admin.find(position.partition, position.offset).await?;
            let Some((partition, record)) = found else { continue };
            if !dry_run {
                let dead_letter = DeadLetter::new(record, partition, Reason::parked(reason), 0);
                dead_letters.put(&[dead_letter]).await?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// What a replay cannot change of the purchases at `positions`: which of them ingest would dead-letter again, and why.
    pub(crate) async fn forecast(
        &self,
        positions: &BTreeSet<RecordPosition>,
        purchases: &Purchases,
    ) -> Result<BTreeMap<RecordPosition, (ResolvedStatus, String)>> {
        let mut forecast = BTreeMap::new();
        for log in self.logs.iter().filter(|log| log.record_type.name == Purchase::TYPE.name) {
            let dead_letters = log.admin.dead_letters_at(positions).await?;
            let faults = stream::iter(dead_letters).map(async |dead_letter| {
                let fault = fault(&dead_letter, purchases).await;
                fault.map(|fault| (dead_letter.position(), fault))
            });
            let faults: Vec<_> = faults.buffered(LOOKUPS).collect().await;
            forecast.extend(faults.into_iter().flatten());
        }
        Ok(forecast)
    }

    /// As [`resolve`], in all logs. A caller that stops waiting does not stop it.
    pub(crate) async fn resolve(
        &self,
        positions: BTreeSet<RecordPosition>,
        resolution: Resolution,
        dry_run: bool,
    ) -> Result<BTreeMap<RecordPosition, Resolved>> {
        let this = self.clone();
        let resolved = tokio::spawn(async move {
            let _only = this.resolving.lock().await;
            let mut found = BTreeMap::new();
            for log in this.logs.iter() {
                if positions.iter().any(|position| *position.topic == *log.topic) {
                    let of = log.record_type;
                    found.extend(resolve(&*log.admin, of, &positions, resolution, dry_run).await?);
                }
            }
            Ok::<_, Error>(found)
        });
        resolved.await.unwrap_or_else(|panicked| {
            Err(Error::new(ErrorKind::Internal, "resolving dead letters panicked").with_source(panicked))
        })
    }
}

/// Why the replayed record would be a dead letter again. It is decoded and compared as ingest does it.
async fn fault(dead_letter: &DeadLetter, purchases: &Purchases) -> Option<(ResolvedStatus, String)> {
    if dead_letter.gap().is_some() {
        return None;
    }
    let purchase = match decode(&dead_letter.record, &dead_letter.partition) {
        Ok(purchase) => purchase,
        Err(error) => return Some((ResolvedStatus::DeadLetter, Reason::from(error).to_string())),
    };
    match purchases.look_up(&purchase.id).await {
        Ok(Lookup::Stored(stored)) if !stored.same_content(&purchase) => {
            Some((ResolvedStatus::DeadLetter, Reason::conflict(Purchase::TYPE).to_string()))
        }
        Ok(_) => None,
        Err(_) => {
            let detail = "not compared with the store, which does not answer";
            Some((ResolvedStatus::Replayed, detail.to_owned()))
        }
    }
}
