//! A service from its start to its end.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use shop_core::ingest::{Ingest, IngestMonitor};
use shop_core::log::LogAdmin;
use shop_core::outbox::{Relay, RelayMonitor};
use shop_core::record::Record;
use shop_http::{Metrics, facing, management, serve};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::resolve::{self, Ports};
use crate::settings::{Service, Settings};
use crate::signal::{self, Shutdown};
use crate::{Failure, Result, check_config, commands, ended, healthcheck, telemetry, waiting_letters};

/// The whole of a binary: reads the settings of this process, does what they ask for, and answers what to exit with.
pub async fn service(service: Service) -> ExitCode {
    ended(work(service).await)
}

async fn work(service: Service) -> Result<()> {
    let settings = Settings::read(service, resolve::unbuilt)?;
    let shutdown = signal::shutdown()?;
    telemetry::init(&settings)?;
    if settings.healthcheck {
        return healthcheck::run(&settings).await;
    }
    if let Some(command) = &settings.command {
        return commands::run(command, &settings, &shutdown).await;
    }
    if settings.check_config {
        return check_config::run(&settings, &shutdown).await;
    }
    let opened = shutdown.before(resolve::ports(&settings)).await;
    let Some(ports) = opened.transpose()? else { return Ok(()) };
    let listener = listen(&settings).await?;
    let metrics = Metrics::new();
    let running = ports.start(&settings, &metrics, &shutdown)?;
    let router = match service {
        Service::Facing => facing(ports.facing(&running, metrics), settings.http.clone()),
        Service::Management => management(ports.management(&running, metrics)?, settings.http.clone()),
    };
    let stop = shutdown.clone();
    let server = serve(listener, router, &settings.http, async move { stop.begun().await });
    until_the_end(server, running, ports, &shutdown, settings.drain).await
}

/// Listens where the settings say.
///
/// # Errors
/// When the address cannot be had, with the settings that name it.
async fn listen(settings: &Settings) -> Result<TcpListener> {
    let (host, port) = &settings.listen;
    let listener = TcpListener::bind((host.as_str(), *port)).await.map_err(|error| {
        let what = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there: end it, or choose another PORT",
            std::io::ErrorKind::PermissionDenied => "this user may not: choose a PORT of 1024 or above",
            _ => "choose another HOST or PORT",
        };
        Failure::new(format!("cannot listen on HOST {host}, PORT {port}: {what} ({error})"))
    })?;
    let address = listener.local_addr().map_err(Failure::new)?;
    tracing::info!(http.address = %address, "{} listens on http://{address}", settings.service.name());
    Ok(listener)
}

/// The relay of an entity's events and the ingest of those that it consumes, if they run in this process.
pub(crate) type RunningAccount = (RelayMonitor, Option<IngestMonitor>);

/// What runs beside the server: pipelines that carry what is read from the log, until the shutdown begins, and relays,
/// which go on until the server has answered everybody.
#[derive(Debug)]
pub struct Running {
    purchases: Option<IngestMonitor>,
    /// What users tell, and what they hear of others.
    pub(crate) users: Option<RunningAccount>,
    /// The same of orders.
    pub(crate) orders: Option<RunningAccount>,
    tasks: Vec<JoinHandle<shop_core::Result<()>>>,
    shutdown: Shutdown,
    served: CancellationToken,
}

impl Running {
    pub(crate) fn new(shutdown: &Shutdown) -> Self {
        let (shutdown, served) = (shutdown.clone(), CancellationToken::new());
        Self { purchases: None, users: None, orders: None, tasks: Vec::new(), shutdown, served }
    }

    /// A view of the pipeline of purchases, if that runs.
    pub(crate) fn ingest(&self) -> Option<IngestMonitor> {
        self.purchases.clone()
    }

    pub(crate) fn carry_purchases(&mut self, ingest: Option<Ingest>) {
        self.purchases = ingest.map(|ingest| self.carry(ingest));
    }

    pub(crate) fn carry_events<R: Record>(
        &mut self,
        relay: Relay,
        ingest: Option<Ingest<R>>,
    ) -> RunningAccount {
        let (monitor, served) = (relay.monitor(), self.served.clone());
        self.tasks.push(tokio::spawn(async move {
            relay.run(served.cancelled_owned()).await;
            Ok(())
        }));
        (monitor, ingest.map(|ingest| self.carry(ingest)))
    }

    /// Counts what waits in `log` to be settled, as long as `ingest` reads its `topic`.
    pub(crate) fn count_letters(
        &mut self,
        log: &Arc<dyn LogAdmin>,
        topic: &str,
        ingest: &IngestMonitor,
        metrics: &Metrics,
    ) {
        let count =
            waiting_letters::count(Arc::clone(log), topic.to_owned(), ingest.clone(), metrics.clone());
        let shutdown = self.shutdown.clone();
        self.tasks.push(tokio::spawn(async move {
            let _stopped = shutdown.before(count).await;
            Ok(())
        }));
    }

    fn carry<R: Record>(&mut self, ingest: Ingest<R>) -> IngestMonitor {
        let (monitor, shutdown) = (ingest.monitor(), self.shutdown.clone());
        let run = ingest.run(async move { shutdown.begun().await });
        self.tasks.push(tokio::spawn(async move { run.await.map(drop) }));
        monitor
    }

    /// Waits for the end of all of them, whatever becomes of each: what was stored is to be committed.
    async fn ended(self) -> Result<()> {
        self.served.cancel();
        let mut first_failure = Ok(());
        for task in self.tasks {
            let ended = task.await.map_err(Failure::new).and_then(|ended| Ok(ended?));
            first_failure = first_failure.and(ended);
        }
        first_failure
    }
}

/// Waits until the server and what runs beside it have ended, everything taken is durable, and `ports` are closed; after
/// `shutdown` has begun, at most for `drain`.
///
/// # Errors
/// When the server or a pipeline broke.
async fn until_the_end(
    server: impl Future<Output = std::io::Result<()>> + Send,
    running: Running,
    ports: Ports,
    shutdown: &Shutdown,
    drain: Duration,
) -> Result<()> {
    let all = async move {
        let served = server.await;
        // A server that broke takes everything else with it.
        shutdown.begin();
        let closed = match &ports.purchases {
            Some(purchases) => purchases.sink.close(drain).await,
            None => Ok(()),
        };
        let ended = running.ended().await;
        ports.close().await;
        served.map_err(Failure::new)?;
        closed?;
        ended
    };
    let too_late = async {
        shutdown.begun().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        ended = all => ended,
        () = too_late => {
            tracing::warn!(
                ?drain,
                "ended with work under way: what was not answered may have been taken, what was not committed \
                 is delivered again"
            );
            Ok(())
        }
    }
}
