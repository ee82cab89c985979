//! The log and the store of the purchases of a service, and their background tasks.
//!
//! A service accepts purchases into a sink, which is the log or its store, and lists them from a
//! store: the store of the service `management`, or its own. The process that runs ingest stores
//! what is in the log.

use std::sync::Arc;
use std::time::Duration;

use shop_client::ShopClient;
use shop_core::feed::{FeedOptions, PurchaseFeed};
use shop_core::ingest::{BatchReport, Ingest, IngestObserver};
use shop_core::log::Batch;
use shop_core::operations::Operations;
use shop_core::ports::PurchaseStore;
use shop_core::record::RecordDecoders;
use shop_core::retention::{Retention, RetentionOptions};
use shop_core::verify::SpotCheck;
use shop_core::{Backend, Purchase, SystemClockFrom, Timestamp};
use shop_http::{Metrics, PartReports, Parts, ServiceKind};
use tokio::time::timeout;
use tracing::Span;

use super::background::Background;
use super::unread_log;
use crate::backend::{Backends, create_log_source, currency};
use crate::service_client::create_service_client;
use crate::settings::Settings;
use crate::{CliError, Result, traces};

/// What the tasks of the purchases need beside their log and store.
pub(crate) struct PurchaseTasks {
    /// The service that stores the purchases, if this process does not. Only this service knows who
    /// reads the log.
    management: Option<Arc<ShopClient>>,
    /// Compares the store of this process with its log.
    spot_check: Option<SpotCheck>,
}

/// How long a start waits for the check of a store that may be unavailable.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens the log and the store of the purchases, and adds them to `parts`. Does not read from the
/// log yet.
///
/// Purchases are listed from the service `management`, if the settings name one, and else from the
/// store.
///
/// # Errors
/// - an error if there is neither a service nor a store to list purchases from
/// - an error if the store and the settings specify different currencies
/// - the errors of the backends, and of the client of the service
pub(crate) async fn open_purchases(
    backends: &Backends<'_>,
    parts: &mut Parts,
) -> Result<PurchaseTasks> {
    let settings = backends.settings;
    let mut backend = backends.open_for_service().await?;
    // Operators and the spot check use the store of this process, even if purchases are listed from
    // another service.
    let operations = Operations::new(backend.clone());
    let mut tasks = PurchaseTasks {
        management: None,
        spot_check: None,
    };
    // A store in the file of its log is lost together with the log, so a spot check finds nothing.
    if backend.store.is_some() && !settings.log_and_store_share_file() {
        tasks.spot_check = Some(operations.spot_check(settings.process.purchase_retention)?);
    }
    if backend.store.is_none() && backend.has_local_log {
        tracing::warn!(
            "this process publishes to the log in SHOP_DATA_DIR ({}) and does not run ingest: run management on the \
             same folder",
            settings.data_dir.display()
        );
    }
    let management = list_from_service(&mut backend, settings).await?;

    // Both calls run together, so that an unavailable store delays the start only once.
    let currency_query = currency::read_shop_currency(settings, &backend);
    let write_check = async {
        if let Some(store) = &backend.store {
            warn_if_not_writable(&**store).await;
        }
    };
    let (currency, ()) = tokio::join!(currency_query, write_check);
    backend.currency = currency?;

    // With a retention, the clock of new purchases does not return a time before the last time that
    // the store saw. While the server of the store is unavailable, that time is unknown.
    let mut clock = SystemClockFrom(Timestamp::MIN);
    if let Some(erase) = &backend.erase
        && settings.process.purchase_retention.is_some()
        && let Ok(Some(last_seen)) = erase.last_seen(None).await
    {
        clock = SystemClockFrom(last_seen);
    }
    parts.clock = Arc::new(clock);
    // Only management serves the dead letters, because clients must not reach them.
    if settings.service == ServiceKind::Management {
        parts.operations.push(operations);
    }
    if backend.store.is_none() {
        tasks.management = management;
    }
    parts.purchases = Some(backend);
    Ok(tasks)
}

/// Adds the feed to `backend`. If the settings name a service that lists the purchases, also makes
/// `backend` list from this service, and returns its client.
///
/// # Errors
/// - an error if there is neither a service nor a store to list purchases from
/// - the errors of the client of the service
async fn list_from_service(
    backend: &mut Backend,
    settings: &Settings,
) -> Result<Option<Arc<ShopClient>>> {
    let Some(url) = &settings.management_url else {
        if backend.query.is_none() {
            return Err(CliError::new("there is no store to list purchases from"));
        }
        backend.feed = Some(backend.create_feed()?);
        return Ok(None);
    };

    let log = Arc::clone(backend.require_log()?);
    let management = Arc::new(create_service_client(url, settings).await?);
    // The group that feeds the store of management is a setting of management.
    backend.feed = Some(PurchaseFeed::with_options(
        log,
        Arc::clone(&management) as _,
        Arc::clone(&management) as _,
        FeedOptions::default().decoders(backend.decoders.clone()),
    ));
    backend.query = Some(Arc::clone(&management) as _);
    backend.has_local_store = false;
    if backend.store.is_none() {
        backend.currency_store = Some(Arc::clone(&management) as _);
    }
    Ok(Some(management))
}

/// Warns at the start if purchases cannot be stored now, such as in a database that is read-only.
///
/// The service starts nevertheless: the purchases that it acknowledges are in the log, and are
/// stored when the store can be written.
async fn warn_if_not_writable(store: &dyn PurchaseStore) {
    // A check that takes longer says nothing.
    if let Ok(Err(error)) = timeout(CHECK_TIMEOUT, store.check()).await {
        tracing::warn!(error = %error.chain(), "the store cannot be written now");
    }
}

impl PurchaseTasks {
    /// Starts the tasks of the purchases of `backend`. If the settings enable ingest, joins the
    /// consumer group. If not, watches whether another process reads the log.
    ///
    /// # Errors
    /// The errors of the log, if it cannot be read.
    pub(crate) fn start(
        mut self,
        backend: &mut Backend,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
        reports: &PartReports,
    ) -> Result<()> {
        if let Some(feed) = backend.feed.clone() {
            let shutdown = background.shutdown.clone();
            // The server waits for open responses, so the streams of the feed must end.
            tokio::spawn(async move {
                shutdown.cancelled().await;
                feed.close();
            });
        }
        if let Some(currency_store) = backend.currency_store.clone() {
            let currency = backend.currency.clone();
            background.run_until_shutdown(async move {
                currency.keep_asking(&*currency_store).await;
            });
        }

        self.start_ingest(backend, background, settings, metrics)?;
        if let Some(management) = self.management {
            background.run_until_shutdown(unread_log::watch_service(management, reports));
        } else {
            background.run_until_shutdown(unread_log::watch_topic(
                Operations::new(backend.clone()),
                backend.ingest.clone(),
                unread_log::READER,
                reports,
            ));
        }
        Ok(())
    }

    /// Starts ingest and the retention of the store of `backend`, if the settings enable them.
    ///
    /// # Errors
    /// The errors of the log, if it cannot be read.
    fn start_ingest(
        &mut self,
        backend: &mut Backend,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
    ) -> Result<()> {
        let Some(store) = backend.store.clone() else {
            return Ok(());
        };
        if let Some(unreadable) = &backend.unreadable {
            metrics.count_unreadable(Arc::clone(unreadable));
        }
        if !settings.ingests {
            return Ok(());
        }

        let ingest = Ingest::new(
            create_log_source(settings, backend)?,
            store,
            Arc::clone(backend.require_log()?),
            settings.ingest_options(),
        )
        .with_decoders(backend.decoders.clone());
        let group = backend.require_group()?;
        let ingest = ingest.with_observer(Arc::new(IngestTelemetry {
            metrics: metrics.ingest_observer(),
            logs_purchases: settings.process.logs_purchases(),
            decoders: backend.decoders.clone(),
            trace_names: settings
                .messaging_system()
                .map(|system| (system, group.to_owned())),
        }));
        let monitor = background.run_ingest(ingest, backend, metrics, self.spot_check.take())?;
        if let Some(feed) = &backend.feed {
            background.record_progress(monitor.clone(), feed.clone(), metrics);
        }
        backend.ingest = Some(monitor);

        if let (Some(retention_period), Some(erase)) =
            (settings.process.purchase_retention, &backend.erase)
        {
            let options = RetentionOptions::new(retention_period);
            let retention = Retention::new(Arc::clone(erase), options);
            metrics.count_expired(retention.monitor());
            background.run_until_shutdown(async move { retention.run().await });
        }
        Ok(())
    }
}

/// The observer of ingest: metrics, spans, and a log line for each purchase.
#[derive(Debug)]
struct IngestTelemetry {
    metrics: Arc<dyn IngestObserver>,
    /// Whether a log line is written for each stored purchase, as the dialect says.
    logs_purchases: bool,
    /// The decoders of the records of the log.
    decoders: RecordDecoders,
    /// The system of the log and the group that reads it, if spans are exported.
    trace_names: Option<(&'static str, String)>,
}

impl IngestObserver for IngestTelemetry {
    fn batch_completed(&self, batch: &BatchReport) {
        self.metrics.batch_completed(batch);
    }

    fn spans(&self, batch: &Batch) -> Vec<Span> {
        match &self.trace_names {
            Some((system, group)) => traces::start_record_spans(batch, system, group),
            None => Vec::new(),
        }
    }

    fn records_durable(&self, batch: &Batch) {
        self.metrics.records_durable(batch);
        if !self.logs_purchases {
            return;
        }
        for record in &batch.records {
            // Dead letters are logged in lines of their own.
            if let Ok(Purchase { id, user_id, .. }) = self.decoders.decode(record, &batch.partition)
            {
                tracing::info!(purchase.id = %id, user.id = user_id.as_str(), "Received purchase");
            }
        }
    }
}
