//! Opens the ports of a service, by its settings, and runs its background tasks.

mod entities;
mod pending_dead_letters;
mod purchases;

use std::sync::Arc;
use std::time::Duration;

use shop_core::domain::Currency;
use shop_core::entity::EntityStore;
use shop_core::feed::PurchaseFeed;
use shop_core::ingest::{Ingest, IngestMonitor};
use shop_core::log::RecordType;
use shop_core::orders::Order;
use shop_core::outbox::{Relay, RelayMonitor};
use shop_core::record::Record;
use shop_core::users::{User, UserStore};
use shop_core::verify::SpotCheck;
use shop_http::{DeadLetterLog, Metrics, Parts, ServiceKind};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::backend::{self, TopicLog};
use crate::settings::{ProcessRole, Settings};
use crate::signal::Shutdown;
use crate::{CliError, Result};
use entities::EntityRuntime;
use purchases::PurchasePorts;

/// The ports of a service.
#[derive(Default)]
pub(crate) struct Ports {
    purchases: Option<PurchasePorts>,
    users: Option<EntityRuntime<dyn UserStore, Order>>,
    orders: Option<EntityRuntime<dyn EntityStore<Order>, User>>,
}

impl Ports {
    /// Opens the ports that the settings select. Does not read from the log yet.
    ///
    /// # Errors
    /// The first port that cannot be opened, and why.
    pub(crate) async fn open(settings: &Settings) -> Result<Self> {
        // Not in optimized programs, also if they are built together with tests.
        #[cfg(all(feature = "failpoints", debug_assertions))]
        shop_core::init_failpoints();
        // The logs share its clients.
        let logs = &*backend::for_log(settings);
        let mut ports = Self::default();
        if settings.has(ProcessRole::Purchases) {
            ports.purchases = Some(purchases::open(settings, logs).await?);
        }
        (ports.users, ports.orders) = entities::open(settings, logs).await?;
        Ok(ports)
    }

    /// Starts the background tasks that the settings select: joins the consumer groups.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) fn start(
        &mut self,
        settings: &Settings,
        metrics: &Metrics,
        shutdown: &Shutdown,
    ) -> Result<Background> {
        let mut background = Background {
            tasks: Vec::new(),
            shutdown: shutdown.clone(),
            served: CancellationToken::new(),
        };
        if let Some(purchases) = &mut self.purchases {
            purchases.start(&mut background, settings, metrics, shutdown)?;
        }
        if let Some(users) = &mut self.users {
            users.start(&mut background, settings, metrics)?;
        }
        if let Some(orders) = &mut self.orders {
            orders.start(&mut background, settings, metrics)?;
        }
        Ok(background)
    }

    /// Returns the parts of the service's router.
    pub(crate) fn parts(&self, service: ServiceKind, metrics: Metrics) -> Parts {
        let purchases = self.purchases.as_ref();
        let mut parts = Parts::new(service, purchases.map(|purchases| purchases.role.clone()));
        parts.metrics = metrics;
        if let Some(purchases) = purchases {
            parts.clock = Arc::new(purchases.clock);
        }

        // Operators replay and drop dead letters at management.
        let is_management = service == ServiceKind::Management;
        if let Some(users) = &self.users {
            parts.users = Some(users.role.clone());
            if is_management {
                parts.dead_letters.extend(users.dead_letters());
            }
        }
        if let Some(orders) = &self.orders {
            parts.orders = Some(orders.role.clone());
            if is_management {
                parts.dead_letters.extend(orders.dead_letters());
            }
        }
        parts
    }

    /// The currency of the purchases, if they have one.
    pub(crate) fn currency(&self) -> Option<Currency> {
        self.purchases.as_ref()?.currency.clone()
    }

    /// Rejects new purchases, and waits until the accepted ones are durable, at most for `drain`.
    ///
    /// # Errors
    /// When some are not durable by then.
    pub(crate) async fn flush(&self, drain: Duration) -> Result<()> {
        match &self.purchases {
            Some(purchases) => Ok(purchases.role.sink.close(drain).await?),
            None => Ok(()),
        }
    }
}

/// The dead letters of `log`, whose records are of type `of`.
fn dead_letters(log: &TopicLog, of: RecordType) -> DeadLetterLog {
    DeadLetterLog::new(&*log.topic, of, Arc::clone(&log.log))
}

/// The background tasks of a service. Ingest runs until the shutdown begins; relays run until the server has completed
/// its requests.
pub(crate) struct Background {
    tasks: Vec<JoinHandle<shop_core::Result<()>>>,
    shutdown: Shutdown,
    served: CancellationToken,
}

impl Background {
    /// Runs `relay`.
    fn relay(&mut self, relay: Relay) -> RelayMonitor {
        let monitor = relay.monitor();
        let served = self.served.clone();
        self.tasks.push(tokio::spawn(async move {
            relay.run(served.cancelled_owned()).await;
            Ok(())
        }));
        monitor
    }

    /// Runs `ingest`, and counts the pending dead-lettered records of its `log` in `metrics`, among them what
    /// `spot_check` finds.
    fn ingest<R: Record>(
        &mut self,
        ingest: Ingest<R>,
        log: &TopicLog,
        metrics: &Metrics,
        spot_check: Option<SpotCheck>,
    ) -> IngestMonitor {
        let monitor = ingest.monitor();
        let shutdown = self.shutdown.clone();
        let run = ingest.run(shutdown.cancelled_owned());
        self.tasks
            .push(tokio::spawn(async move { run.await.map(drop) }));
        self.until_shutdown(pending_dead_letters::count(
            log.log.admin(),
            log.topic.clone(),
            monitor.clone(),
            metrics.clone(),
            spot_check,
        ));
        monitor
    }

    /// Reads for the last hour in `/health` how far `ingest` is, once for each of its intervals.
    fn sample(&mut self, ingest: IngestMonitor, feed: PurchaseFeed, metrics: &Metrics) {
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
    fn until_shutdown<T: Send>(&mut self, work: impl Future<Output = T> + Send + 'static) {
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
