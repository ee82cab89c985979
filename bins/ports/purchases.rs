//! The ports and background tasks of purchases.
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
use shop_core::ports::{CurrencyStore, PurchaseQuery, PurchaseSink, PurchaseStore};
use shop_core::record::decode;
use shop_core::retention::{Retention, RetentionOptions};
use shop_core::{Purchase, SystemClockFrom, Timestamp};
use shop_http::{LocalPorts, Metrics, PartReports, PurchasesRole};
use tokio::time::timeout;
use tracing::Span;

use super::{Background, reader};
use crate::backend::{self, PurchasesStore, TopicLog, client};
use crate::settings::Settings;
use crate::{CliError, Result, traces};

/// The ports of purchases.
pub struct PurchasePorts {
    /// The ports that the router serves.
    pub(super) role: PurchasesRole,
    pub(super) log: TopicLog,
    /// The store, if this service uses one.
    store: Option<PurchasesStore>,
    /// The purchases that become visible.
    feed: PurchaseFeed,
    /// The service that stores the purchases, if this process does not use the store.
    management: Option<Arc<ShopClient>>,
    /// The clock of new purchases. With a retention, the clock does not return a time before the
    /// last time that the store saw.
    pub(super) clock: SystemClockFrom,
    /// What is asked for the currency of the shop: the store, or the service in front of it.
    currency_source: Arc<dyn CurrencyStore>,
}

/// How long a start waits for the check of a store that may be unavailable.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Warns at the start if purchases cannot be stored now, such as in a database that is read-only.
///
/// The service starts nevertheless: the purchases that it acknowledges are in the log, and are
/// stored when the store can be written.
async fn warn_if_not_writable(store: &dyn PurchaseStore) {
    if let Ok(Err(error)) = timeout(CHECK_TIMEOUT, store.check()).await {
        tracing::warn!(error = %error.chain(), "the store cannot be written now");
    }
}

impl PurchasePorts {
    /// Creates the ports of purchases, which are accepted by `sink`.
    ///
    /// They are listed from the service `management`, if the settings name one, and else from
    /// `store`. If this process runs ingest, it stores what is in `log`. Does not read from the log
    /// yet.
    ///
    /// # Errors
    /// - an error if there is neither a service nor a store to list purchases from
    /// - an error if the store and the settings specify different currencies
    /// - the errors of the client of the service
    pub async fn open(
        settings: &Settings,
        sink: Arc<dyn PurchaseSink>,
        log: TopicLog,
        store: Option<PurchasesStore>,
    ) -> Result<Self> {
        if store.is_none() && settings.kafka.kafka_bootstrap_servers.is_none() {
            tracing::warn!(
                "this process publishes to the log in SHOP_DATA_DIR ({}) and does not run ingest: run management on the \
                 same folder",
                settings.embedded.data_dir.display()
            );
        }

        let admin = log.log.admin();
        let query: Arc<dyn PurchaseQuery>;
        let currency_source: Arc<dyn CurrencyStore>;
        let mut remote_store = None;
        let feed = if let Some(url) = &settings.management_url {
            let management = Arc::new(client(url, settings).await?);
            if let Some(store) = &store {
                currency_source = Arc::clone(&store.store) as _;
            } else {
                currency_source = Arc::clone(&management) as _;
                remote_store = Some(Arc::clone(&management));
            }
            query = Arc::clone(&management) as _;
            // The group that feeds the store of management is a setting of management.
            PurchaseFeed::with_options(
                admin,
                management,
                Arc::clone(&query),
                FeedOptions::default(),
            )
        } else if let Some(store) = &store {
            currency_source = Arc::clone(&store.store) as _;
            query = Arc::clone(&store.store) as _;
            PurchaseFeed::new(admin, &settings.purchases_group_id, Arc::clone(&query))
        } else {
            return Err(CliError::new("there is no store to list purchases from"));
        };

        // Both calls run together, so that a store that is unavailable delays the start once.
        let ask = backend::currency::of_shop(settings, &*currency_source);
        let check = async {
            if let Some(store) = &store {
                warn_if_not_writable(&*store.store).await;
            }
        };
        let (currency, ()) = tokio::join!(ask, check);

        let mut role = PurchasesRole::new(sink, query);
        role.currency = currency?;
        role.local = LocalPorts::new(
            settings.kafka.kafka_bootstrap_servers.is_none(),
            settings.has_local_store(),
        );
        role.feed = Some(feed.clone());

        let mut clock = SystemClockFrom(Timestamp::MIN);
        // While the server of the store is unavailable, the last time that the store saw is
        // unknown.
        if let Some(store) = &store
            && settings.purchase_retention.is_some()
            && let Ok(Some(last_seen)) = store.store.last_seen().await
        {
            clock = SystemClockFrom(last_seen);
        }

        Ok(Self {
            role,
            log,
            store,
            feed,
            management: remote_store,
            clock,
            currency_source,
        })
    }

    /// Returns the operations on the log of the purchases, and on the store if this process uses
    /// one.
    pub(super) fn operations(&self) -> Operations {
        self.log.operations(self.store.as_ref())
    }

    /// Starts ingest, if the settings enable it: joins the consumer group. Otherwise, watches
    /// whether another process reads the log.
    ///
    /// # Errors
    /// The errors of the log, if it cannot be read.
    pub(super) fn start(
        &mut self,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
        reports: &PartReports,
    ) -> Result<()> {
        let feed = self.feed.clone();
        let shutdown = background.shutdown.clone();
        // The server waits for open responses, so the streams of the feed must end.
        tokio::spawn(async move {
            shutdown.cancelled().await;
            feed.close();
        });

        let currency = self.role.currency.clone();
        let currency_source = Arc::clone(&self.currency_source);
        background.run_until_shutdown(async move {
            currency.keep_asking(&*currency_source).await;
        });

        self.start_ingest(background, settings, metrics)?;
        if let Some(management) = &self.management {
            let management = Arc::clone(management);
            background.run_until_shutdown(reader::watch_service(management, reports));
        } else {
            background.run_until_shutdown(reader::watch_topic(
                self.operations(),
                self.role.ingest.clone(),
                reader::READER,
                reports,
            ));
        }
        Ok(())
    }

    /// Starts ingest and the retention of the store, if the settings enable them.
    ///
    /// # Errors
    /// The errors of the log, if it cannot be read.
    fn start_ingest(
        &mut self,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
    ) -> Result<()> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        if let Some(unreadable) = &store.unreadable {
            metrics.count_unreadable(Arc::clone(unreadable));
        }
        if !settings.ingests() {
            return Ok(());
        }

        let group = &settings.purchases_group_id;
        let ingest = Ingest::new(
            self.log.source()?,
            Arc::clone(&store.store) as _,
            self.log.log.dead_letters(),
            settings.ingest_options(),
        );
        let ingest = ingest.with_observer(Arc::new(IngestTelemetry {
            metrics: metrics.ingest_observer(),
            logs_purchases: settings.http.dialect.logs_purchases,
            traced: settings
                .messaging_system()
                .map(|system| (system, group.clone())),
        }));
        // A store in the file of its log is lost together with the log, so a spot check finds
        // nothing.
        let mut spot_check = None;
        if !settings.is_one_file() {
            spot_check = Some(self.operations().spot_check(settings.purchase_retention)?);
        }
        let monitor = background.run_ingest(ingest, &self.log, metrics, spot_check);
        background.record_progress(monitor.clone(), self.feed.clone(), metrics);
        self.role.ingest = Some(monitor);

        if let Some(keep) = settings.purchase_retention {
            let retention =
                Retention::new(Arc::clone(&store.store) as _, RetentionOptions::new(keep));
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
    /// The system of the log and the group that reads it, if spans are exported.
    traced: Option<(&'static str, String)>,
}

impl IngestObserver for IngestTelemetry {
    fn batch_completed(&self, batch: &BatchReport) {
        self.metrics.batch_completed(batch);
    }

    fn spans(&self, batch: &Batch) -> Vec<Span> {
        match &self.traced {
            Some((system, group)) => traces::spans(batch, system, group),
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
            if let Ok(Purchase { id, user_id, .. }) = decode(record, &batch.partition) {
                tracing::info!(purchase.id = %id, user.id = user_id.as_str(), "Received purchase");
            }
        }
    }
}
