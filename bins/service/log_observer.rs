//! Observes a log periodically: its size, its pending dead-lettered records and its gaps.
//!
//! The numbers are right after a restart, because the observation reads the log itself, while the
//! counters of ingest begin at 0 then. It also runs a spot check of the store. The gaps that the
//! check finds become dead letters.

use std::sync::Arc;
use std::time::Duration;

use shop_core::ingest::{IngestCounters, IngestMonitor};
use shop_core::inspect::LogInspection;
use shop_core::log::Log;
use shop_core::verify::SpotCheck;
use shop_http::Metrics;
use tokio::time::{Instant, timeout};

/// The interval between observations while ingest dead-letters nothing. Other processes may resolve
/// dead letters at any time.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);
/// The interval between retries when the log cannot be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The pause after an observation, as a multiple of its duration. An observation reads all pending
/// dead letters, so this limits the reads to 2 % of the time.
const PAUSE_FACTOR: u32 = 50;
/// The maximum pause. An observation also takes long because the broker is busy.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// When the next observation of a log begins.
enum NextObservation {
    Now,
    /// After a pause, and at the latest after this time.
    Within(Duration),
}

/// Records in `metrics` the state of the log of `topic`, periodically and when `ingest`
/// dead-letters or loses a record. Does not end.
pub(super) async fn observe_log(
    log: Arc<dyn Log>,
    topic: String,
    ingest: IngestMonitor,
    metrics: Metrics,
    mut spot_check: Option<SpotCheck>,
) {
    let mut has_failed = false;
    loop {
        let start = Instant::now();
        let counters = ingest.status().counters;
        // The retention is noted before the log is read, because an alert divides by it also while
        // dead letters cannot be read.
        metrics.note_retention(&topic, log.info().retention);
        match LogInspection::read(&*log).await {
            Ok(inspection) => {
                has_failed = false;
                metrics.note_log(&topic, inspection);
            }
            // The metrics keep the last observation.
            Err(error) => {
                if !has_failed {
                    tracing::warn!(log.topic = topic, error = %error.chain(), "counting dead-lettered records failed");
                }
                has_failed = true;
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            }
        }

        let mut next_observation = NextObservation::Within(COUNT_INTERVAL);
        if let Some(spot_check) = &mut spot_check {
            next_observation = check_store(spot_check, &topic, &ingest, counters.lost).await;
        }
        if let NextObservation::Within(interval) = next_observation {
            let pause = (start.elapsed() * PAUSE_FACTOR).min(MAX_PAUSE);
            wait_for_change(&ingest, &counters, pause, interval).await;
        }
    }
}

/// Runs the spot check of the store, unless `ingest` loses a record in the meantime. The number of
/// lost records was `lost_count`.
async fn check_store(
    spot_check: &mut SpotCheck,
    topic: &str,
    ingest: &IngestMonitor,
    lost_count: u64,
) -> NextObservation {
    let check_result = tokio::select! {
        result = spot_check.check() => result,
        () = wait_for_loss(ingest, lost_count) => return NextObservation::Now,
    };
    match check_result {
        Ok(0) => NextObservation::Within(COUNT_INTERVAL),
        // The gaps became dead letters, which are counted now.
        Ok(_gap_count) => NextObservation::Now,
        Err(error) => {
            tracing::debug!(log.topic = topic, error = %error.chain(), "the spot check of the store has failed");
            NextObservation::Within(RETRY_INTERVAL)
        }
    }
}

/// Waits for a reason to observe the log again. `counters` are those of the last observation.
///
/// A lost record ends the wait at once, and a dead-lettered record after `pause`. Without either, the
/// wait ends after `interval`, so that the changes of other processes are counted.
async fn wait_for_change(
    ingest: &IngestMonitor,
    counters: &IngestCounters,
    pause: Duration,
    interval: Duration,
) {
    let loss = wait_for_loss(ingest, counters.lost);
    if timeout(pause, loss).await.is_ok() {
        return;
    }
    let change = wait_until(ingest, |current| {
        current.lost != counters.lost || current.dead_lettered != counters.dead_lettered
    });
    let _timed_out = timeout(interval.saturating_sub(pause), change).await;
}

/// Waits until the number of records that `ingest` lost is no longer `lost_count`.
fn wait_for_loss(ingest: &IngestMonitor, lost_count: u64) -> impl Future<Output = ()> + Send {
    wait_until(ingest, move |current| current.lost != lost_count)
}

/// Waits until `condition` holds for the counters of `ingest`.
///
/// After the end of the ingest, the counters do not change any more. Then the wait never ends, and
/// its caller stops it by a time limit or by dropping it.
async fn wait_until(
    ingest: &IngestMonitor,
    condition: impl Fn(&IngestCounters) -> bool + Send + Sync,
) {
    let status = ingest.wait_for(|status| condition(&status.counters)).await;
    if !condition(&status.counters) {
        std::future::pending::<()>().await;
    }
}
