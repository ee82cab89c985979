//! A service from its start to its end.

use std::time::Duration;

use shop_core::ingest::{Ingest, IngestMonitor, Tally};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::resolve::Ports;
use crate::settings::Settings;
use crate::signal::Shutdown;
use crate::{Failure, Result};

/// Listens where the settings say.
///
/// # Errors
/// When the address cannot be had, with the settings that name it.
pub async fn listen(settings: &Settings) -> Result<TcpListener> {
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

/// A pipeline that runs beside the server.
#[derive(Debug)]
pub struct RunningIngest {
    monitor: IngestMonitor,
    task: JoinHandle<shop_core::Result<Tally>>,
}

impl RunningIngest {
    /// Starts `ingest`, if there is one, until `shutdown` begins.
    #[must_use]
    pub fn start(ingest: Option<Ingest>, shutdown: &Shutdown) -> Option<Self> {
        let ingest = ingest?;
        let (monitor, shutdown) = (ingest.monitor(), shutdown.clone());
        Some(Self { monitor, task: tokio::spawn(ingest.run(async move { shutdown.begun().await })) })
    }

    /// A view of its state.
    #[must_use]
    pub fn monitor(&self) -> IngestMonitor {
        self.monitor.clone()
    }
}

/// Waits until `server` and `ingest` have ended, everything taken is durable, and `ports` are closed; after
/// `shutdown` has begun, at most for `drain`.
///
/// # Errors
/// When the server or the pipeline broke.
pub async fn until_the_end(
    server: impl Future<Output = std::io::Result<()>> + Send,
    ingest: Option<RunningIngest>,
    ports: Ports,
    shutdown: &Shutdown,
    drain: Duration,
) -> Result<()> {
    let all = async move {
        let served = server.await;
        // A server that broke takes everything else with it.
        shutdown.begin();
        let closed = ports.sink.close(drain).await;
        // Waited for whatever became of the others: what it has stored is to be committed.
        let ingested = match ingest {
            Some(ingest) => Some(ingest.task.await),
            None => None,
        };
        ports.close().await;
        served.map_err(Failure::new)?;
        closed?;
        ingested.transpose().map_err(Failure::new)?.transpose()?;
        Ok(())
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
