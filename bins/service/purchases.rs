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
use shop_core::log::{Batch, IngestPositions};
use shop_core::operations::Operations;
use shop_core::ports::{PurchaseQuery, PurchaseStore};
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
    let spot_check = create_spot_check(&operations, &backend, settings)?;
    if backend.store.is_none() && backend.has_local_log {
        tracing::warn!(
            "this process publishes to the log in SHOP_DATA_DIR ({}) and does not run ingest: run management on the \
             same folder",
            settings.data_dir.display()
        );
    }

    let mut management = None;
    if let Some(url) = &settings.management_url {
        management = Some(list_from_management(&mut backend, url, settings).await?);
    } else {
        list_from_own_store(&mut backend)?;
    }

    // Both calls run together, so that an unavailable store delays the start only once.
    let currency_query = currency::read_shop_currency(settings, &backend);
    let write_check = async {
        if let Some(store) = &backend.store {
            warn_if_not_writable(&**store).await;
        }
    };
    let (currency, ()) = tokio::join!(currency_query, write_check);
    backend.currency = currency?;
    parts.clock = Arc::new(clock_of_purchases(&backend, settings).await);

    // Only management serves the dead letters, because clients must not reach them.
    if settings.service == ServiceKind::Management {
        parts.operations.push(operations);
    }
    // A process with a store asks its own log whether it is read.
    if backend.store.is_some() {
        management = None;
    }
    parts.purchases = Some(backend);
    Ok(PurchaseTasks {
        management,
        spot_check,
    })
}

/// Creates the spot check of the store of `backend` against its log. Returns `None` if a spot check
/// of this process would find nothing.
///
/// # Errors
/// An error if `backend` has a store, but no log or no group.
fn create_spot_check(
    operations: &Operations,
    backend: &Backend,
    settings: &Settings,
) -> Result<Option<SpotCheck>> {
    // A store in the file of its log is lost together with the log.
    if backend.store.is_none() || settings.log_and_store_share_file() {
        return Ok(None);
    }
    let spot_check = operations.spot_check(settings.process.purchase_retention)?;
    Ok(Some(spot_check))
}

/// Makes `backend` list purchases from its own store, and adds the feed of these purchases.
///
/// # Errors
/// An error if there is no store to list purchases from.
fn list_from_own_store(backend: &mut Backend) -> Result<()> {
    if backend.query.is_none() {
        return Err(CliError::new("there is no store to list purchases from"));
    }
    backend.feed = Some(backend.create_feed()?);
    Ok(())
}

/// Makes `backend` list purchases from the service `management` at `url`, and adds the feed of the
/// log, which waits until management has stored a purchase. Returns the client of management.
///
/// # Errors
/// - an error if `backend` has no log
/// - the errors of the client
async fn list_from_management(
    backend: &mut Backend,
    url: &str,
    settings: &Settings,
) -> Result<Arc<ShopClient>> {
    let log = Arc::clone(backend.require_log()?);
    let management = Arc::new(create_service_client(url, settings).await?);
    let query: Arc<dyn PurchaseQuery> = Arc::clone(&management) as _;
    // The group that feeds the store of management is a setting of management, so only management
    // can say how far the group has read the log.
    let positions: Arc<dyn IngestPositions> = Arc::clone(&management) as _;

    let feed_options = FeedOptions::default().decoders(backend.decoders.clone());
    backend.feed = Some(PurchaseFeed::with_options(
        log,
        positions,
        Arc::clone(&query),
        feed_options,
    ));
    backend.query = Some(query);
    backend.has_local_store = false;
    // A process with a store of its own writes to it, so that store decides about the currency.
    if backend.store.is_none() {
        backend.currency_store = Some(Arc::clone(&management) as _);
    }
    Ok(management)
}

/// Returns the clock of new purchases.
///
/// With a retention, the clock does not return a time before the last time that the store of
/// `backend` saw. While the server of the store is unavailable, that time is unknown.
async fn clock_of_purchases(backend: &Backend, settings: &Settings) -> SystemClockFrom {
    if let Some(erase) = &backend.erase
        && settings.process.purchase_retention.is_some()
        && let Ok(Some(last_seen)) = erase.last_seen(None).await
    {
        return SystemClockFrom(last_seen);
    }
    SystemClockFrom(Timestamp::MIN)
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
        .with_decoders(backend.decoders.clone())
        .with_observer(Arc::new(IngestTelemetry::new(backend, settings, metrics)?));
        let monitor = background.run_ingest(ingest, backend, metrics, self.spot_check.take())?;
        if let Some(feed) = &backend.feed {
            background.record_progress(monitor.clone(), feed.clone(), metrics);
        }
        backend.ingest = Some(monitor);

        start_retention(backend, background, settings, metrics);
        Ok(())
    }
}

/// Starts the task that erases the purchases of `backend` that are older than the retention, if the
/// settings have one.
fn start_retention(
    backend: &Backend,
    background: &mut Background,
    settings: &Settings,
    metrics: &Metrics,
) {
    if let (Some(retention_period), Some(erase)) =
        (settings.process.purchase_retention, &backend.erase)
    {
        let options = RetentionOptions::new(retention_period);
        let retention = Retention::new(Arc::clone(erase), options);
        metrics.count_expired(retention.monitor());
        background.run_until_shutdown(async move { retention.run().await });
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

impl IngestTelemetry {
    /// Creates the observer of the ingest of `backend`.
    ///
    /// # Errors
    /// An error if `backend` has no group.
    fn new(backend: &Backend, settings: &Settings, metrics: &Metrics) -> Result<Self> {
        let group = backend.require_group()?;
        Ok(Self {
            metrics: metrics.ingest_observer(),
            logs_purchases: settings.process.logs_purchases(),
            decoders: backend.decoders.clone(),
            trace_names: settings
                .messaging_system()
                .map(|system| (system, group.to_owned())),
        })
    }
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
