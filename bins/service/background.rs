//! [`Background`]: the tasks that run beside the server of a service, and their order at the end.

use std::sync::Arc;

use shop_accounts::outbox::{Relay, RelayMonitor};
use shop_core::Backend;
use shop_core::feed::PurchaseFeed;
use shop_core::ingest::{Ingest, IngestMonitor};
use shop_core::record::Record;
use shop_core::verify::SpotCheck;
use shop_http::Metrics;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::log_observer;
use crate::signal::Shutdown;
use crate::{CliError, Result};

/// The background tasks of a service.
///
/// Ingest, the retention and the observing tasks run until the shutdown begins; ingest then
/// completes the work that it began. Relays run until the server has completed its requests.
pub(super) struct Background {
    tasks: Vec<JoinHandle<Result<()>>>,
    pub(super) shutdown: Shutdown,
    /// Cancelled when the server has completed its requests.
    requests_completed: CancellationToken,
}

impl Background {
    /// Creates no task yet. The tasks end when `shutdown` begins.
    pub(super) fn new(shutdown: &Shutdown) -> Self {
        Self {
            tasks: Vec::new(),
            shutdown: shutdown.clone(),
            requests_completed: CancellationToken::new(),
        }
    }

    /// Runs `relay` in a task. Returns the monitor of the relay.
    pub(super) fn run_relay(&mut self, relay: Relay) -> RelayMonitor {
        let monitor = relay.monitor();
        let run = relay.run(self.requests_completed.clone().cancelled_owned());
        self.tasks.push(tokio::spawn(async move {
            run.await;
            Ok(())
        }));
        monitor
    }

    /// Runs `ingest` in a task, and returns its monitor.
    ///
    /// A second task counts the pending dead letters of the log of `backend` in `metrics`. The
    /// second task also runs `spot_check`, which compares the store with the log. The gaps that the
    /// check finds become dead letters, and are counted too.
    ///
    /// # Errors
    /// An error if `backend` contains no log.
    pub(super) fn run_ingest<R: Record>(
        &mut self,
        ingest: Ingest<R>,
        backend: &Backend,
        metrics: &Metrics,
        spot_check: Option<SpotCheck>,
    ) -> Result<IngestMonitor> {
        let observed_log = Arc::clone(backend.require_log()?);
        let monitor = ingest.monitor();
        let run = ingest.run(self.shutdown.clone().cancelled_owned());
        self.tasks.push(tokio::spawn(async move {
            run.await?;
            Ok(())
        }));

        self.run_until_shutdown(log_observer::observe_log(
            observed_log,
            backend.topic.clone(),
            monitor.clone(),
            metrics.clone(),
            spot_check,
        ));
        Ok(monitor)
    }

    /// Records in `metrics`, at regular intervals, the lag of `ingest` and the positions of `feed`.
    /// `/health` shows the values of the last hour.
    pub(super) fn record_progress(
        &mut self,
        ingest: IngestMonitor,
        feed: PurchaseFeed,
        metrics: &Metrics,
    ) {
        let metrics = metrics.clone();
        let mut ticks = tokio::time::interval(Metrics::HISTORY_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.run_until_shutdown(async move {
            loop {
                ticks.tick().await;
                // If the log does not respond, this interval has no values.
                if let (Ok(lag), Ok(positions)) = (ingest.lag().await, feed.positions().await) {
                    metrics.note_progress(&lag, positions);
                }
            }
        });
    }

    /// Runs the inspection of a store in a task. If the inspection finds a fault, the service ends
    /// with its error, because a service does not start with such a store either.
    pub(super) fn run_inspection(
        &mut self,
        inspection: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let shutdown = self.shutdown.clone();
        self.tasks.push(tokio::spawn(async move {
            match shutdown.run_until_cancelled(inspection).await {
                Some(Err(error)) => {
                    shutdown.cancel();
                    Err(error)
                }
                // The inspection found no fault, or the shutdown began first.
                Some(Ok(())) | None => Ok(()),
            }
        }));
    }

    /// Runs `work` in a task, which ends with `work` or when the shutdown begins.
    pub(super) fn run_until_shutdown(&mut self, work: impl Future<Output: Send> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.push(tokio::spawn(async move {
            let _ended = shutdown.run_until_cancelled(work).await;
            Ok(())
        }));
    }

    /// Ends the relays, because the server has completed its requests, and waits until all tasks
    /// have ended. Waits for all of them even if one fails, so that ingest can commit.
    ///
    /// # Errors
    /// The error of the first failed task, in the order in which the tasks were started.
    pub(super) async fn finish(self) -> Result<()> {
        self.requests_completed.cancel();

        let mut first_failure = Ok(());
        for task in self.tasks {
            // A task that panicked failed, too.
            let result = task.await.map_err(CliError::new).and_then(|result| result);
            first_failure = first_failure.and(result);
        }
        first_failure
    }
}
