//! [`Service`]: a whole service in a process, from its settings to its shutdown, for the binaries and
//! for programs that embed one.
//!
//! [`Service::open`] opens the logs and stores that the settings select, through [`Backends`].
//! [`Service::serve`] starts the background tasks, and serves the router of `shop_http`. The
//! `Service` of `shop_http` is less than this one: the state that the handlers of a router share.
//!
//! | module | content |
//! |---|---|
//! | `purchases` | the log and the store of the purchases, and their tasks |
//! | `entities` | the users and the orders, and their tasks |
//! | `background` | runs the tasks, and ends them in order |
//! | `log_observer` | the task that counts the pending dead letters of a log for metrics |
//! | `unread_log` | the task that reports a log that no process reads |
//! | `disk` | the report that the disk of the embedded files is full |

mod background;
mod disk;
mod entities;
mod log_observer;
mod purchases;
mod unread_log;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sd_notify::NotifyState;
use shop_client::ShopClient;
use shop_core::ports::PurchaseSink;
use shop_http::{AnyOf, Parts, ServiceKind, Tls, routes};

use crate::backend::{Backends, CLOSE_TIMEOUT, Closing};
use crate::lines::Lines;
use crate::listeners::Listeners;
use crate::settings::{ProcessRole, Settings};
use crate::signal::Shutdown;
use crate::{CliError, Result, auth, tls, version};
use background::Background;
use disk::watch_disk;
use entities::Entities;
use purchases::{PurchaseTasks, open_purchases};

pub(crate) use disk::full_disk;

/// A service whose logs and stores are open.
///
/// ```no_run
/// use shop_bins::{CliError, Service, ServiceKind, Settings};
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example() -> Result<(), CliError> {
/// let variables = [("SHOP_DATA_DIR".to_owned(), "data".to_owned())];
/// let settings = Settings::from_variables(ServiceKind::Management, variables)?;
/// let service = Service::open(settings).await?;
/// service.serve(CancellationToken::new()).await
/// # }
/// ```
pub struct Service {
    settings: Settings,
    /// The roles and ports that the router serves. A program that embeds the service can replace
    /// the sink of the purchases, or add roles of its own.
    pub parts: Parts,
    /// The users and the orders, with the tasks of their rows.
    entities: Entities,
    /// What the tasks of the purchases need, if the service has purchases.
    purchase_tasks: Option<PurchaseTasks>,
    /// The inspections of stores whose servers were unavailable.
    late_inspections: Vec<BoxFuture<'static, Result<()>>>,
    authenticator: Option<AnyOf>,
    tls: Option<Tls>,
    closing: Arc<Closing>,
    /// The queue of log lines of a binary.
    pub(crate) lines: Option<Lines>,
}

impl Service {
    /// Checks the settings together with the files of keys and certificates, then opens the logs and
    /// the stores that the settings select.
    ///
    /// Facing publishes purchases to the log. Management writes the purchases that it receives
    /// itself, such as from an import, straight into the store, and serves the dead letters.
    ///
    /// # Errors
    /// - an error if the settings cannot work, before a port is opened or created
    /// - the errors of the logs and of the stores; what was opened is closed by then
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened, and does not wait for that.
    pub async fn open(settings: Settings) -> Result<Self> {
        let no_shutdown = Shutdown::new();
        let service = Self::open_until(&no_shutdown, settings).await?;
        service.ok_or_else(|| CliError::new("the service was stopped before it was open"))
    }

    /// Opens like [`open`](Self::open), and returns `None` if `shutdown` begins before the end.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub(crate) async fn open_until(
        shutdown: &Shutdown,
        settings: Settings,
    ) -> Result<Option<Self>> {
        let closing = Arc::<Closing>::default();
        let opening = Box::pin(Self::open_with(settings, Arc::clone(&closing)));
        let service = shutdown.run_until_cancelled(opening).await.transpose();
        let is_open = matches!(service, Ok(Some(_)));
        if !is_open {
            closing.wait(CLOSE_TIMEOUT).await;
        }
        service
    }

    /// Opens the service. Adds to `closing` the futures that complete when the opened files and
    /// connections are closed.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    async fn open_with(settings: Settings, closing: Arc<Closing>) -> Result<Self> {
        auth::require_auth_if_reachable(&settings).await?;
        let tls = tls::read_listener_tls(&settings).await?;
        let no_purchases = None;
        let mut parts = Parts::new(settings.service, no_purchases);
        let authenticator = auth::authenticator(&settings, &parts.metrics).await?;
        // Only checks the files for calls of other services, before a port is opened.
        drop(
            tls::with_service_certificates(ShopClient::builder("https://localhost"), &settings)
                .await?,
        );

        let backends = Backends::with_closing(&settings, Arc::clone(&closing));
        let mut purchase_tasks = None;
        if settings.has(ProcessRole::Purchases) {
            purchase_tasks = Some(open_purchases(&backends, &mut parts).await?);
        }
        let entities = Entities::open(&backends).await?;
        if settings.service == ServiceKind::Management {
            parts.operations.extend(entities.operations());
        }
        let late_inspections = backends.take_late_inspections();
        Ok(Self {
            settings,
            parts,
            entities,
            purchase_tasks,
            late_inspections,
            authenticator,
            tls,
            closing,
            lines: None,
        })
    }

    /// Listens, runs the background tasks, and serves requests until `shutdown` is cancelled or a
    /// listener fails. Then completes the work in progress, at most for the drain timeout of the
    /// settings, and closes the logs and the stores.
    ///
    /// Notifies systemd, if systemd started this process.
    ///
    /// # Errors
    /// - an error if an address cannot be bound, or if the log cannot be read
    /// - the error of a listener, or of a background task
    /// - an error if accepted purchases are not durable
    pub async fn serve(self, shutdown: Shutdown) -> Result<()> {
        let closing = Arc::clone(&self.closing);
        let result = self.serve_until(shutdown).await;
        closing.wait(CLOSE_TIMEOUT).await;
        result
    }

    /// Serves like [`serve`](Self::serve), and drops the logs and the stores at the end.
    ///
    /// # Errors
    /// The errors of [`serve`](Self::serve).
    async fn serve_until(mut self, shutdown: Shutdown) -> Result<()> {
        let listeners = Listeners::bind(&self.settings).await?;
        let metrics = &self.parts.metrics;
        if let Some(lines) = &self.lines {
            // The diagnostic log now contains the service's address, for a program that waits for
            // the address.
            lines.wait_until_written();
            let is_failing = Arc::clone(&lines.is_failing);
            metrics.count_dropped_lines(Arc::clone(&lines.dropped), is_failing);
        }
        metrics.note_build(version::LABELS);
        if let Some(tls) = &self.tls {
            tls.expose(metrics);
        }

        let background = self.start_tasks(&shutdown)?;
        notify_systemd(NotifyState::Ready);
        let shutdown_begun = shutdown.clone();
        tokio::spawn(async move {
            shutdown_begun.cancelled().await;
            notify_systemd(NotifyState::Stopping);
        });

        let accounts = self.entities.accounts;
        self.parts.roles.push(Arc::new(accounts.clone()));
        self.parts
            .roles
            .extend(self.settings.process.compat_roles(accounts));
        let purchases = self.parts.purchases.as_ref();
        let sink = purchases.and_then(|purchases| purchases.sink.clone());
        let mut router = routes(self.parts);
        if let Some(authenticator) = self.authenticator {
            router = router.authenticate(authenticator);
        }
        let options = self.settings.http_options();
        let drain_timeout = self.settings.process.drain_timeout;
        let server = listeners.serve(router, &self.settings, options, self.tls, &shutdown);
        run_until_shutdown(Box::pin(server), background, sink, &shutdown, drain_timeout).await
    }

    /// Starts the background tasks that the settings select, which join the consumer groups.
    ///
    /// # Errors
    /// The errors of the log, if it cannot be read.
    fn start_tasks(&mut self, shutdown: &Shutdown) -> Result<Background> {
        let settings = &self.settings;
        let (metrics, reports) = (&self.parts.metrics, &self.parts.reports);
        let mut background = Background::new(shutdown);
        watch_disk(settings, reports);
        for inspection in self.late_inspections.drain(..) {
            background.run_inspection(inspection);
        }
        if let (Some(tasks), Some(purchases)) =
            (self.purchase_tasks.take(), &mut self.parts.purchases)
        {
            tasks.start(purchases, &mut background, settings, metrics, reports)?;
        }
        self.entities
            .start(&mut background, settings, metrics, reports)?;
        Ok(background)
    }
}

/// Notifies systemd, if systemd started this process with `Type=notify`.
fn notify_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be notified");
    }
}

/// Waits until the server and the background tasks end, and the purchases that `sink` accepted are
/// durable.
///
/// Once `shutdown` begins, the wait lasts at most for `drain_timeout`. A wait that times out logs a
/// warning, and is no error.
///
/// # Errors
/// Returns the error of the server, of the purchases that are not durable, or of a background task.
async fn run_until_shutdown(
    server: impl Future<Output = io::Result<()>> + Send,
    background: Background,
    sink: Option<Arc<dyn PurchaseSink>>,
    shutdown: &Shutdown,
    drain_timeout: Duration,
) -> Result<()> {
    let completion = async move {
        let server_result = server.await;
        // A failed server stops the background tasks, too.
        shutdown.cancel();
        // The closed sink rejects new purchases. `close` waits until the accepted ones are
        // published.
        let sink_result = match sink {
            Some(sink) => sink.close(drain_timeout).await,
            None => Ok(()),
        };
        let task_result = background.finish().await;

        // Everything has ended. Now the first error is returned.
        server_result.map_err(CliError::new)?;
        sink_result?;
        task_result
    };
    let timeout = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain_timeout).await;
    };
    tokio::select! {
        result = completion => result,
        () = timeout => {
            tracing::warn!(
                drain = ?drain_timeout,
                "drain timed out: purchases without a response may have been accepted, records without a commit are redelivered"
            );
            Ok(())
        }
    }
}

#[cfg(all(test, feature = "embedded", feature = "postgres"))]
mod tests {
    use shop_store::embedded::FILE;

    use super::*;

    #[tokio::test]
    async fn a_service_that_cannot_open_its_store_closes_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let variables = [
            ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
            (
                "SHOP_POSTGRES_URL",
                "postgresql://127.0.0.1:1/shop?sslmode=verify-full&sslrootcert=/missing",
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings::from_variables(ServiceKind::Management, variables).unwrap();

        let error = Service::open(settings).await.map(drop).unwrap_err();
        assert!(error.to_string().contains("/missing"), "{error}");
        let file = folder.path().join(format!("{FILE}.db"));
        assert!(file.exists() && !file.with_extension("db-wal").exists());
    }
}
