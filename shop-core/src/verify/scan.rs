//! The walk through the log: each record is looked for, and what is not found is looked for again.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::dead_letters::{DeadLetterIndex, Disposition};
use super::{UnverifiedRecord, Verify, VerifyProgress, VerifyReport};
use crate::log::{Batch, LogAdmin, ReasonKind, RecordId, RecordPosition};
use crate::ports::PurchaseQuery;
use crate::record::decode;
use crate::{Purchase, PurchaseId, Result};

/// The first pause before what was not found is looked for again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct LogScan<'a, T> {
    verify: &'a Verify,
    log: &'a dyn LogAdmin,
    progress: &'a T,
    aside: DeadLetterIndex,
    waiting: Vec<PendingRecord>,
    /// When something that was waited for has turned up, or the waiting began.
    last_found: Option<Instant>,
    verified: VerifyReport,
}

/// A record that is looked for.
#[derive(Debug)]
struct PendingRecord {
    record_id: RecordId,
    partition: u32,
    offset: u64,
    topic: Arc<str>,
    /// That of its purchase; its own, if it is none.
    id: PurchaseId,
    /// What it says; nothing when it is no purchase.
    purchase: Option<Purchase>,
    /// Whether its id is stored with other content.
    differs: bool,
}

impl<T: Fn(VerifyProgress) + Send + Sync> LogScan<'_, T> {
    pub(super) async fn begin<'a>(
        verify: &'a Verify,
        log: &'a dyn LogAdmin,
        progress: &'a T,
    ) -> Result<LogScan<'a, T>> {
        let aside = DeadLetterIndex::read(log).await?;
        let (waiting, verified) = (Vec::new(), VerifyReport::default());
        Ok(LogScan { verify, log, progress, aside, waiting, last_found: None, verified })
    }

    pub(super) async fn batch(&mut self, batch: &Batch) -> Result<()> {
        let mut sought = Vec::new();
        if let Some(first) = batch.records.first() {
            let partition = (batch.partition.topic.to_string(), batch.partition.index);
            self.verified.first_offsets.entry(partition).or_insert(first.offset);
        }
        for record in &batch.records {
            self.verified.records += 1;
            let record_id = RecordId::new(record, &batch.partition);
            match self.aside.fate(&record_id) {
                Some(fate) => self.count(fate),
                None => {
                    let purchase = decode(record, &batch.partition).ok();
                    let id = purchase.as_ref().map_or_else(|| record_id.into(), |purchase| purchase.id);
                    let (partition, offset) = (batch.partition.index, record.offset);
                    let topic = Arc::clone(&batch.partition.topic);
                    sought.push(PendingRecord {
                        record_id,
                        partition,
                        offset,
                        topic,
                        id,
                        purchase,
                        differs: false,
                    });
                }
            }
        }
        let not_found = self.look_up(sought).await?;
        self.waiting.extend(not_found);
        self.report_progress();
        if self.waiting.len() >= self.verify.options.pending.max(1) {
            self.wait().await?;
        }
        Ok(())
    }

    pub(super) async fn end(mut self) -> Result<VerifyReport> {
        self.wait().await?;
        Ok(self.verified)
    }

    fn count(&mut self, fate: Disposition) {
        match fate {
            Disposition::DeadLettered(reason) => {
                self.verified.dead_lettered += 1;
                self.verified.conflicts += u64::from(reason == ReasonKind::Conflict);
            }
            Disposition::Settled => self.verified.resolved += 1,
        }
    }

    fn report_progress(&self) {
        let waiting = self.waiting.len() as u64;
        (self.progress)(VerifyProgress { records: self.verified.records, waiting, scanned: 0 });
    }

    /// Those of `sought` that are not stored as they are.
    async fn look_up(&self, sought: Vec<PendingRecord>) -> Result<Vec<PendingRecord>> {
        let lookups = stream::iter(sought).map(|sought| look_for(&*self.verify.query, sought));
        let found = lookups.buffered(self.verify.options.max_lookups.max(1));
        found.try_filter_map(|not_found| std::future::ready(Ok(not_found))).try_collect().await
    }

    /// Waits until everything that was not found has turned up, or nothing more does.
    async fn wait(&mut self) -> Result<()> {
        let mut pause = FIRST_PAUSE;
        while !self.waiting.is_empty() {
            let before = self.waiting.len();
            let sought = std::mem::take(&mut self.waiting);
            self.waiting = self.look_up(sought).await?;
            let since = *self.last_found.get_or_insert_with(Instant::now);
            let left = self.verify.options.quiet_period.saturating_sub(since.elapsed());
            if self.waiting.len() == before && left.is_zero() {
                // What was put aside since the walk began.
                self.aside = DeadLetterIndex::read(self.log).await?;
                self.take_put_aside();
                if self.waiting.len() == before {
                    self.give_up();
                    break;
                }
            }
            if self.waiting.len() < before {
                self.last_found = Some(Instant::now());
                pause = FIRST_PAUSE;
            }
            self.report_progress();
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        Ok(())
    }

    fn take_put_aside(&mut self) {
        for sought in std::mem::take(&mut self.waiting) {
            let chosen = sought.differs && self.aside.was_replayed(&sought.id);
            match self.aside.fate(&sought.record_id).or(chosen.then_some(Disposition::Settled)) {
                Some(fate) => self.count(fate),
                None => self.waiting.push(sought),
            }
        }
    }

    fn give_up(&mut self) {
        let most = self.verify.options.named;
        for PendingRecord { id, topic, partition, offset, differs, .. } in std::mem::take(&mut self.waiting) {
            let position = RecordPosition::new(topic.to_string(), partition, offset);
            let VerifyReport { missing, mismatched: differing, .. } = &mut self.verified;
            let findings = if differs { differing } else { missing };
            findings.add(UnverifiedRecord { id, position }, most);
        }
    }
}

/// `None` when it is stored as it is.
async fn look_for(query: &dyn PurchaseQuery, mut sought: PendingRecord) -> Result<Option<PendingRecord>> {
    let Some(purchase) = &sought.purchase else { return Ok(Some(sought)) };
    let stored = query.get(&purchase.id).await?;
    if stored.as_ref().is_some_and(|stored| stored.same_content(purchase)) {
        return Ok(None);
    }
    sought.differs = stored.is_some();
    Ok(Some(sought))
}
