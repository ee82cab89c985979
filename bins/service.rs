//! [`Service`]: a service from its settings to its shutdown, for the binaries and for programs that
//! embed a whole service.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use shop_client::ShopClient;
use shop_http::{AnyOf, Metrics, PartReports, Tls, routes};

use crate::lines::Lines;
use crate::listeners::Listeners;
use crate::ports::{Background, Ports};
use crate::settings::Settings;
use crate::signal::Shutdown;
use crate::{CliError, Result, auth, backend, tls, version};

/// A service whose ports are open.
///
/// ```no_run
/// use shop_bins::{Backends, CliError, Ports, PurchasePorts, Service, ServiceKind, Settings};
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example() -> Result<(), CliError> {
/// let variables = [("SHOP_DATA_DIR".to_owned(), "data".to_owned())];
/// let settings = Settings::from_variables(ServiceKind::Management, variables)?;
/// let service = Service::open(settings, async |settings| {
///     let backends = Backends::new(settings);
///     let log = backends.log().await?;
///     let store = backends.store(&log).await?;
///     let mut ports = Ports::default();
///     ports.purchases =
///         Some(PurchasePorts::open(settings, store.sink(), log, Some(store)).await?);
///     Ok(ports)
/// })
/// .await?;
/// service.serve(CancellationToken::new()).await
/// # }
/// ```
pub struct Service {
    settings: Settings,
    ports: Ports,
    authenticator: Option<AnyOf>,
    tls: Option<Tls>,
    metrics: Metrics,
    /// The queue of log lines of a binary.
    pub(crate) lines: Option<Lines>,
}

impl Service {
    /// Checks the settings together with the files of keys and certificates, then opens the ports
    /// with `open_ports`, which decides what the service accepts, stores and lists.
    ///
    /// # Errors
    /// - an error if the settings cannot work, before a port is opened or created
    /// - the errors of `open_ports`
    pub async fn open(
        settings: Settings,
        open_ports: impl AsyncFnOnce(&Settings) -> Result<Ports>,
    ) -> Result<Self> {
        auth::require_choice(&settings).await?;
        let tls = tls::of_listener(&settings).await?;
        let metrics = Metrics::new();
        let authenticator = auth::authenticator(&settings, &metrics).await?;
        drop(tls::for_services(ShopClient::builder("https://localhost"), &settings).await?);

        Ok(Self {
            ports: open_ports(&settings).await?,
            settings,
            authenticator,
            tls,
            metrics,
            lines: None,
        })
    }

    /// Listens, runs the background tasks, and serves requests until `shutdown` is cancelled or a
    /// listener fails. Then completes the work in progress, at most for the drain timeout of the
    /// settings, and closes the ports.
    ///
    /// Notifies systemd, if systemd started this process.
    ///
    /// # Errors
    /// - an error if an address cannot be bound, or if the log cannot be read
    /// - the error of a listener, or of a background task
    /// - an error if accepted purchases are not durable
    pub async fn serve(mut self, shutdown: Shutdown) -> Result<()> {
        let listeners = Listeners::bind(&self.settings).await?;
        if let Some(lines) = &self.lines {
            // The log now contains the service's address, for a program that waits for the address.
            lines.write_out();
            let is_failing = Arc::clone(&lines.is_failing);
            self.metrics
                .count_dropped_lines(Arc::clone(&lines.dropped), is_failing);
        }
        self.metrics.note_build(version::LABELS);
        if let Some(tls) = &self.tls {
            tls.expose(&self.metrics);
        }

        let reports = PartReports::new();
        let background = self
            .ports
            .start(&self.settings, &self.metrics, &reports, &shutdown)?;
        notify_systemd(NotifyState::Ready);
        let stopping = shutdown.clone();
        tokio::spawn(async move {
            stopping.cancelled().await;
            notify_systemd(NotifyState::Stopping);
        });

        let mut router = routes(self.ports.parts(&self.settings, self.metrics, reports));
        if let Some(authenticator) = self.authenticator {
            router = router.authenticate(authenticator);
        }
        let options = self.settings.http_options();
        let drain = self.settings.drain_timeout;
        let server = listeners.serve(router, &self.settings, options, self.tls, &shutdown);
        let ended =
            run_until_shutdown(Box::pin(server), background, self.ports, &shutdown, drain).await;
        backend::close(backend::CLOSE_TIMEOUT).await;
        ended
    }
}

/// Notifies systemd, if systemd started this process with `Type=notify`.
fn notify_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be notified");
    }
}

/// Waits until the server and the background tasks end, and accepted purchases are durable. Then
/// drops `ports`.
///
/// Once `shutdown` begins, the wait lasts at most for `drain`. A wait that times out is no error.
///
/// # Errors
/// Returns the error of the server, of the purchases that are not durable, or of a background task.
async fn run_until_shutdown(
    server: impl Future<Output = io::Result<()>> + Send,
    background: Background,
    ports: Ports,
    shutdown: &Shutdown,
    drain: Duration,
) -> Result<()> {
    let complete = async move {
        let served = server.await;
        // A failed server stops the background tasks, too.
        shutdown.cancel();
        let flushed = ports.flush(drain).await;
        let ended = background.finish().await;
        served.map_err(CliError::new)?;
        flushed?;
        ended
    };
    let timed_out = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        ended = complete => ended,
        () = timed_out => {
            tracing::warn!(
                ?drain,
                "drain timed out: purchases without a response may have been accepted, records without a commit are redelivered"
            );
            Ok(())
        }
    }
}
