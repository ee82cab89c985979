//! The ports of a service, and its background tasks.
//!
//! [`Backends`] opens the logs and stores that the settings select. The binary puts them together
//! to [`Ports`]. [`Ports::start`] then starts the [`Background`] tasks: ingest, the relays, the
//! retention, and the tasks that observe the logs for metrics. [`Ports::parts`] returns what the
//! router of the service serves.

mod backends;
mod disk;
mod entities;
mod pending_dead_letters;
mod purchases;
mod reader;

use std::sync::Arc;
use std::time::Duration;

use shop_accounts::entity::EntityStore;
use shop_accounts::http::Accounts;
use shop_accounts::orders::Order;
use shop_accounts::outbox::{Relay, RelayMonitor};
use shop_accounts::users::{User, UserStore};
use shop_core::feed::PurchaseFeed;
use shop_core::ingest::{Ingest, IngestMonitor};
use shop_core::record::Record;
use shop_core::verify::SpotCheck;
use shop_http::{Metrics, PartReports, Parts};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::backend::TopicLog;
use crate::settings::Settings;
use crate::signal::Shutdown;
use crate::{CliError, Result};
use entities::EntityRuntime;

pub(crate) use disk::full_disk;

pub use backends::Backends;
pub use purchases::PurchasePorts;

/// The ports of a service, one member for each role of the process.
///
/// Without a role, its requests are not served.
#[derive(Default)]
pub struct Ports {
    /// The ports of purchases.
    pub purchases: Option<PurchasePorts>,
    users: Option<EntityRuntime<dyn UserStore, Order>>,
    orders: Option<EntityRuntime<dyn EntityStore<Order>, User>>,
    serves_dead_letters: bool,
}

impl Ports {
    /// Lets operators list, replay and drop dead letters over HTTP. Clients must not reach such a
    /// service.
    pub const fn serve_dead_letters(&mut self) {
        self.serves_dead_letters = true;
    }

    /// Starts the background tasks that the settings select, which join the consumer groups.
    ///
    /// # Errors
    /// The errors of the log, if it cannot be read.
    pub(crate) fn start(
        &mut self,
        settings: &Settings,
        metrics: &Metrics,
        reports: &PartReports,
        shutdown: &Shutdown,
    ) -> Result<Background> {
        let mut background = Background {
            tasks: Vec::new(),
            shutdown: shutdown.clone(),
            served: CancellationToken::new(),
        };
        disk::watch_disk(settings, reports);
        if let Some(purchases) = &mut self.purchases {
            purchases.start(&mut background, settings, metrics, reports)?;
        }
        if let Some(users) = &mut self.users {
            users.start("users", &mut background, settings, metrics, reports)?;
        }
        if let Some(orders) = &mut self.orders {
            orders.start("orders", &mut background, settings, metrics, reports)?;
        }
        Ok(background)
    }

    /// Returns the parts of the service's router.
    pub(crate) fn parts(
        &self,
        settings: &Settings,
        metrics: Metrics,
        reports: PartReports,
    ) -> Parts {
        let purchases = self.purchases.as_ref();
        let role = purchases.map(|purchases| purchases.role.clone());
        let mut parts = Parts::new(settings.service, role);
        parts.metrics = metrics;
        parts.reports = reports;
        if let Some(purchases) = purchases {
            parts.clock = Arc::new(purchases.clock);
        }

        let users = self.users.as_ref().map(|users| users.role.clone());
        let orders = self.orders.as_ref().map(|orders| orders.role.clone());
        // Also without users and orders: `/users` is then a 404 as in the replaced system.
        parts.roles.push(Arc::new(Accounts {
            users,
            orders,
            unknown_user_wait: settings.order_user_wait,
        }));
        if self.serves_dead_letters {
            let operations = &mut parts.operations;
            operations.extend(purchases.map(PurchasePorts::operations));
            operations.extend(self.users.iter().filter_map(EntityRuntime::operations));
            operations.extend(self.orders.iter().filter_map(EntityRuntime::operations));
        }
        parts
    }

    /// Rejects new purchases, and waits until the accepted purchases are durable, at most for
    /// `drain`.
    ///
    /// # Errors
    /// An error if some purchases are not durable by then.
    pub(crate) async fn flush(&self, drain: Duration) -> Result<()> {
        if let Some(purchases) = &self.purchases {
            purchases.role.sink.close(drain).await?;
        }
        Ok(())
    }
}

/// The background tasks of a service.
///
/// Ingest, the retention and the observing tasks run until the shutdown begins; ingest then
/// completes the work that it began. Relays run until the server has completed its requests.
pub(crate) struct Background {
    tasks: Vec<JoinHandle<shop_core::Result<()>>>,
    shutdown: Shutdown,
    /// Is cancelled when the server has completed its requests.
    served: CancellationToken,
}

impl Background {
    /// Runs `relay` in a task. Returns the monitor of the relay.
    fn run_relay(&mut self, relay: Relay) -> RelayMonitor {
        let monitor = relay.monitor();
        let run = relay.run(self.served.clone().cancelled_owned());
        self.tasks.push(tokio::spawn(async move {
            run.await;
            Ok(())
        }));
        monitor
    }

    /// Runs `ingest` in a task, and returns its monitor.
    ///
    /// Another task counts the pending dead-lettered records of the ingest's `log` in `metrics`,
    /// and among them the gaps that `spot_check` finds.
    fn run_ingest<R: Record>(
        &mut self,
        ingest: Ingest<R>,
        log: &TopicLog,
        metrics: &Metrics,
        spot_check: Option<SpotCheck>,
    ) -> IngestMonitor {
        let monitor = ingest.monitor();
        let run = ingest.run(self.shutdown.clone().cancelled_owned());
        self.tasks
            .push(tokio::spawn(async move { run.await.map(drop) }));

        self.run_until_shutdown(pending_dead_letters::observe_log(
            log.log.admin(),
            log.topic.clone(),
            monitor.clone(),
            metrics.clone(),
            spot_check,
        ));
        monitor
    }

    /// Records in `metrics`, at regular intervals, the lag of `ingest` and the positions of `feed`.
    /// `/health` shows the records of the last hour.
    fn record_progress(&mut self, ingest: IngestMonitor, feed: PurchaseFeed, metrics: &Metrics) {
        let metrics = metrics.clone();
        let mut ticks = tokio::time::interval(Metrics::HISTORY_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.run_until_shutdown(async move {
            loop {
                ticks.tick().await;
                if let (Ok(lag), Ok(positions)) = (ingest.lag().await, feed.positions().await) {
                    metrics.note_progress(&lag, positions);
                }
            }
        });
    }

    /// Runs `work` in a task, which ends with `work` or when the shutdown begins.
    fn run_until_shutdown(&mut self, work: impl Future<Output: Send> + Send + 'static) {
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
    pub(crate) async fn finish(self) -> Result<()> {
        self.served.cancel();

        let mut first_failure = Ok(());
        for task in self.tasks {
            let ended = task
                .await
                .map_err(CliError::new)
                .and_then(|result| Ok(result?));
            first_failure = first_failure.and(ended);
        }
        first_failure
    }
}
