//! The background tasks of a service.

use shop_core::feed::PurchaseFeed;
use shop_core::ingest::{Ingest, IngestMonitor};
use shop_core::outbox::{Relay, RelayMonitor};
use shop_core::record::Record;
use shop_core::verify::SpotCheck;
use shop_http::Metrics;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::pending_dead_letters;
use crate::backend::TopicLog;
use crate::signal::Shutdown;
use crate::{CliError, Result};

/// The background tasks of a service. Ingest runs until the shutdown begins; relays run until the server has completed
/// its requests.
pub(crate) struct Background {
    tasks: Vec<JoinHandle<shop_core::Result<()>>>,
    shutdown: Shutdown,
    served: CancellationToken,
}

impl Background {
    pub(super) fn new(shutdown: &Shutdown) -> Self {
        Self {
            tasks: Vec::new(),
            shutdown: shutdown.clone(),
            served: CancellationToken::new(),
        }
    }

    /// Runs `relay`.
    pub(super) fn relay(&mut self, relay: Relay) -> RelayMonitor {
        let (monitor, served) = (relay.monitor(), self.served.clone());
        self.tasks.push(tokio::spawn(async move {
            relay.run(served.cancelled_owned()).await;
            Ok(())
        }));
        monitor
    }

    /// Runs `ingest`, and counts the pending dead-lettered records of its `log` in `metrics`, among them what
    /// `spot_check` finds.
    pub(super) fn ingest<R: Record>(
        &mut self,
        ingest: Ingest<R>,
        log: &TopicLog,
        metrics: &Metrics,
        spot_check: Option<SpotCheck>,
    ) -> IngestMonitor {
        let (monitor, shutdown) = (ingest.monitor(), self.shutdown.clone());
        let run = ingest.run(shutdown.cancelled_owned());
        self.tasks
            .push(tokio::spawn(async move { run.await.map(drop) }));
        let (admin, metrics) = (log.log.admin(), metrics.clone());
        let count = pending_dead_letters::count(
            admin,
            log.topic.clone(),
            monitor.clone(),
            metrics,
            spot_check,
        );
        self.until_shutdown(count);
        monitor
    }

    /// Reads for the last hour in `/health` how far `ingest` is, once for each of its intervals.
    pub(super) fn sample(&mut self, ingest: IngestMonitor, feed: PurchaseFeed, metrics: &Metrics) {
        let metrics = metrics.clone();
        let mut ticks = tokio::time::interval(Metrics::HISTORY_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.until_shutdown(async move {
            loop {
                ticks.tick().await;
                if let (Ok(lag), Ok(positions)) = (ingest.lag().await, feed.positions().await) {
                    metrics.note_progress(&lag, positions);
                }
            }
        });
    }

    /// Runs `work` until it ends, or the process does.
    pub(super) fn until_shutdown<T: Send>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
    ) {
        let shutdown = self.shutdown.clone();
        self.tasks.push(tokio::spawn(async move {
            let _ended = shutdown.run_until_cancelled(work).await;
            Ok(())
        }));
    }

    /// Waits for the end of all tasks, also when one fails, so that ingest can commit. Returns the first error.
    pub(crate) async fn ended(self) -> Result<()> {
        self.served.cancel();
        let mut first_failure = Ok(());
        for task in self.tasks {
            let ended = task
                .await
                .map_err(CliError::new)
                .and_then(|ended| Ok(ended?));
            first_failure = first_failure.and(ended);
        }
        first_failure
    }
}
