//! Counts the dead letters that wait to be settled: in the log itself, so that a restart does not forget them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use shop_core::Result;
use shop_core::ingest::IngestMonitor;
use shop_core::log::{DeadLetterState, LogAdmin, ReasonKind};
use shop_http::Metrics;
use tokio::time::Instant;

/// How often they are counted when nothing is known to have changed: other processes settle them.
const EVERY: Duration = Duration::from_secs(60);
/// After how long it is tried again when the log cannot be read.
const AGAIN: Duration = Duration::from_secs(5);
/// A count reads all that is kept: at most a fiftieth of the time goes into it.
const REST: u32 = 50;

/// Counts what the log of `topic` keeps, again and again, and earlier when `ingest` has put something aside.
pub(crate) async fn count(log: Arc<dyn LogAdmin>, topic: String, ingest: IngestMonitor, metrics: Metrics) {
    let mut has_failed = false;
    loop {
        let (begun, put_aside) = (Instant::now(), ingest.status().counters.dead_lettered);
        match counts(&*log).await {
            Ok(counts) => {
                has_failed = false;
                metrics.note_dead_letters_waiting(&topic, &counts);
            }
            // What was counted before stays.
            Err(error) => {
                if !std::mem::replace(&mut has_failed, true) {
                    tracing::warn!(log.topic = topic, error = %error.chain(), "the dead letters cannot be counted now");
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        }
        let rest = begun.elapsed() * REST;
        tokio::time::sleep(rest).await;
        let more = ingest.wait_for(|status| status.counters.dead_lettered != put_aside);
        let more = async {
            // One that has ended says so at once, and puts nothing aside any more.
            if more.await.counters.dead_lettered == put_aside {
                std::future::pending::<()>().await;
            }
        };
        // Late or early, they are counted again.
        let _late = tokio::time::timeout(EVERY.saturating_sub(rest), more).await;
    }
}

async fn counts(log: &dyn LogAdmin) -> Result<BTreeMap<ReasonKind, u64>> {
    let all = log.scan_dead_letters().await?;
    all.try_fold(BTreeMap::new(), |mut counts, put_aside| async {
        if let DeadLetterState::Pending(letter) = put_aside {
            *counts.entry(letter.reason.kind()).or_default() += 1;
        }
        Ok(counts)
    })
    .await
}
