//! Observes a log periodically: its pending dead-lettered records and gaps, which survive a restart, and its size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shop_core::Result;
use shop_core::ingest::{IngestMonitor, IngestStatus};
use shop_core::log::{DeadLetterFilter, Gap, LogAdmin, ReasonKind};
use shop_core::verify::SpotCheck;
use shop_http::Metrics;
use tokio::time::Instant;

/// The interval between counts when ingest dead-letters nothing: other processes may resolve records.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);
/// The interval between retries when the log cannot be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Dead letters that are read at once.
const PAGE: usize = 50;
/// A count reads all pending dead letters. The pause after it is this multiple of its duration: 2 % of the time.
const PAUSE_FACTOR: u32 = 50;
/// The maximum pause: a count also takes long because the broker is busy.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// Counts the pending records of the log of `topic` periodically, and when `ingest` has dead-lettered a record.
pub(crate) async fn count(
    log: Arc<dyn LogAdmin>,
    topic: String,
    ingest: IngestMonitor,
    metrics: Metrics,
    mut spot_check: Option<SpotCheck>,
) {
    let mut has_failed = false;
    loop {
        let (begun, kept) = (Instant::now(), kept(&ingest.status()));
        metrics.note_retention(&topic, log.retention());
        match log.usage().await {
            Ok(Some(usage)) => metrics.note_log_usage(&topic, &usage),
            Ok(None) => {}
            Err(error) => tracing::debug!(log.topic = topic, error = %error.chain(), "log size unknown"),
        }
        let mut interval = COUNT_INTERVAL;
        if let Some(check) = &mut spot_check
            && let Err(error) = check.check().await
        {
            tracing::debug!(log.topic = topic, error = %error.chain(), "the spot check of the store has failed");
            interval = RETRY_INTERVAL;
        }
        match counts(&*log).await {
            Ok((counts, gaps)) => {
                has_failed = false;
                metrics.note_dead_letters_waiting(&topic, &counts);
                metrics.note_gaps(&topic, gaps);
            }
            // The last count stays.
            Err(error) => {
                if !std::mem::replace(&mut has_failed, true) {
                    tracing::warn!(log.topic = topic, error = %error.chain(), "counting dead-lettered records failed");
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            }
        }
        let pause = (begun.elapsed() * PAUSE_FACTOR).min(MAX_PAUSE);
        tokio::time::sleep(pause).await;
        let changed = ingest.wait_for(|status| self::kept(status) != kept);
        let changed = async {
            // An ingest that has ended returns at once, and dead-letters nothing any more.
            if self::kept(&changed.await) == kept {
                std::future::pending::<()>().await;
            }
        };
        // Count again after a change, or after the interval.
        let _timed_out = tokio::time::timeout(interval.saturating_sub(pause), changed).await;
    }
}

/// The numbers of dead letters and of lost records since the start.
const fn kept(status: &IngestStatus) -> (u64, u64) {
    (status.counters.dead_lettered, status.counters.lost)
}

/// The pending dead letters by reason, and the gaps among them, merged.
pub(crate) async fn counts(log: &dyn LogAdmin) -> Result<(BTreeMap<ReasonKind, u64>, Vec<Gap>)> {
    let (mut counts, mut gaps, mut pending) = (BTreeMap::new(), Vec::new(), DeadLetterFilter::default());
    // By pages, which a log finds in its index: the topic of dead letters has the resolved ones too, for ever.
    loop {
        let page = log.dead_letters(&pending, PAGE).await?;
        let Some(last) = page.last() else { return Ok((counts, Gap::merge(gaps))) };
        pending.after = Some(last.position());
        for dead_letter in &page {
            *counts.entry(dead_letter.reason.kind()).or_default() += 1;
            gaps.extend(dead_letter.gap());
        }
    }
}
