//! Observes a log periodically: its pending dead-lettered records and gaps, which survive a restart, and its size.

use std::sync::Arc;
use std::time::Duration;

use shop_core::ingest::{IngestMonitor, IngestStatus};
use shop_core::inspect::LogInspection;
use shop_core::log::LogAdmin;
use shop_core::verify::SpotCheck;
use shop_http::Metrics;
use tokio::time::Instant;

/// The interval between counts when ingest dead-letters nothing: other processes may resolve records.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);
/// The interval between retries when the log cannot be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
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
        let begun = Instant::now();
        let kept = kept(&ingest.status());
        // An alert divides by it, also where dead letters cannot be read.
        metrics.note_retention(&topic, log.retention());
        match LogInspection::read(&*log).await {
            Ok(found) => {
                has_failed = false;
                metrics.note_log(&topic, found);
            }
            // The last count stays.
            Err(error) => {
                if !has_failed {
                    tracing::warn!(log.topic = topic, error = %error.chain(), "counting dead-lettered records failed");
                }
                has_failed = true;
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            }
        }
        let mut interval = COUNT_INTERVAL;
        if let Some(check) = &mut spot_check {
            let lost = until(&ingest, |status| status.counters.lost != kept.1);
            let checked = tokio::select! {
                checked = check.check() => checked,
                () = lost => continue,
            };
            match checked {
                Ok(0) => {}
                Ok(_gaps) => continue,
                Err(error) => {
                    tracing::debug!(log.topic = topic, error = %error.chain(), "the spot check of the store has failed");
                    interval = RETRY_INTERVAL;
                }
            }
        }
        // Lost records are counted at once, other changes after the pause, and else after the interval.
        let pause = (begun.elapsed() * PAUSE_FACTOR).min(MAX_PAUSE);
        let lost = until(&ingest, |status| status.counters.lost != kept.1);
        if tokio::time::timeout(pause, lost).await.is_err() {
            let changed = until(&ingest, |status| self::kept(status) != kept);
            let _timed_out = tokio::time::timeout(interval.saturating_sub(pause), changed).await;
        }
    }
}

/// Waits until `condition` holds. An ingest that has ended dead-letters nothing any more.
async fn until(ingest: &IngestMonitor, condition: impl Fn(&IngestStatus) -> bool + Send + Sync) {
    let status = ingest.wait_for(&condition).await;
    if !condition(&status) {
        std::future::pending::<()>().await;
    }
}

/// The numbers of dead letters and of lost records since the start.
const fn kept(status: &IngestStatus) -> (u64, u64) {
    (status.counters.dead_lettered, status.counters.lost)
}
