//! The ports of purchases, by the settings.

use std::sync::Arc;

use shop_core::domain::Currency;
use shop_core::feed::{FeedOptions, PurchaseFeed};
use shop_core::ingest::{BatchReport, Ingest, IngestObserver};
use shop_core::log::{Batch, GroupPositions, IngestPositions};
use shop_core::ports::{PurchaseQuery, PurchaseSink, PurchaseStore};
use shop_core::record::{Record as _, decode};
use shop_core::retention::{Retention, RetentionOptions};
use shop_core::verify::SpotCheck;
use shop_core::{Purchase, SystemClockFrom, Timestamp};
use shop_http::{LocalPorts, Metrics, PurchasesRole, StoreSink};
use tokio::time::timeout;
use tracing::Span;

use super::{Background, dead_letters};
use crate::backend::{self, Backend, PurchasesStore, TopicLog, TopicSpec, client};
use crate::settings::{ServiceKind, Settings};
use crate::signal::Shutdown;
use crate::{CliError, Result, traces};

/// The ports of purchases.
pub(super) struct PurchasePorts {
    /// What is served: facing publishes to the log, management writes straight into its store.
    pub(super) role: PurchasesRole,
    log: TopicLog,
    /// The store, if this service has one.
    store: Option<PurchasesStore>,
    /// The purchases that become visible.
    feed: PurchaseFeed,
    /// The time of new purchases: with a retention, not before the last that it has seen.
    pub(super) clock: SystemClockFrom,
    /// The currency of all purchases.
    pub(super) currency: Option<Currency>,
}

/// Says at the start that purchases cannot be stored now, such as in a database that is read-only. The service starts
/// nevertheless: what it acknowledges is in the log, and is stored when the store can be written.
async fn warn_if_not_writable(store: &dyn PurchaseStore) {
    if let Ok(Err(error)) = timeout(backend::currency::TIMEOUT, store.check()).await {
        tracing::warn!(error = %error.chain(), "the store cannot be written now");
    }
}

/// Opens the ports that the settings select. Does not read from the log yet.
pub(super) async fn open(settings: &Settings, logs: &dyn Backend) -> Result<PurchasePorts> {
    let topic = TopicSpec::purchases(settings);
    let (log, mut store) = match logs.log_and_purchases(topic).await? {
        Some((log, store)) => (log.port, Some(store.port)),
        None => (logs.log(topic).await?.port, None),
    };
    if store.is_none() {
        if settings.ingests() || settings.management_url.is_none() {
            store = Some(backend::for_purchases(settings).purchases().await?.port);
        } else if settings.kafka_bootstrap_servers.is_none() {
            tracing::warn!(
                "this process publishes to the log in SHOP_DATA_DIR ({}) and does not run ingest: run management on the \
                 same folder",
                settings.data_dir.display()
            );
        }
    }

    let admin = log.log.admin();
    let mut currency = match &store {
        // Together: a store that is unavailable delays the start once.
        Some(store) => {
            let of_store = backend::currency::of_store(settings, &store.store);
            tokio::join!(warn_if_not_writable(&*store.store), of_store).1?
        }
        None => settings.currency.clone(),
    };
    let (query, positions): (Arc<dyn PurchaseQuery>, Arc<dyn IngestPositions>) =
        match (&settings.management_url, &store) {
            // Which group feeds the store of management is its own setting.
            (Some(url), _) => {
                let management = Arc::new(client(url, settings).await?);
                if store.is_none() {
                    currency = backend::currency::of_service(settings, &management).await?;
                }
                (Arc::clone(&management) as _, management)
            }
            (None, Some(store)) => {
                let positions = GroupPositions {
                    log: Arc::clone(&admin),
                    group: settings.purchases_group_id.as_str().into(),
                };
                (Arc::clone(&store.store) as _, Arc::new(positions))
            }
            (None, None) => return Err(CliError::new("there is no store to list purchases from")),
        };
    let feed =
        PurchaseFeed::with_options(admin, positions, Arc::clone(&query), FeedOptions::default());
    let is_facing = settings.service == ServiceKind::Facing;
    let sink: Arc<dyn PurchaseSink> = match &store {
        Some(store) if !is_facing => Arc::new(StoreSink::new(
            Arc::clone(&store.store) as _,
            store.durability,
        )),
        _ => (log.sink)(),
    };
    let mut role = PurchasesRole::new(sink, query);
    role.local = LocalPorts::new(
        settings.kafka_bootstrap_servers.is_none(),
        settings.has_local_store(),
    );
    role.feed = Some(feed.clone());
    // Clients reach facing.
    role.log = (!is_facing).then(|| dead_letters(&log, Purchase::TYPE));

    let mut clock = SystemClockFrom(Timestamp::MIN);
    // While the server of the store is unavailable, the last time that it has seen is unknown.
    if let Some(store) = &store
        && settings.purchase_retention.is_some()
        && let Ok(Some(last_seen)) = store.store.last_seen().await
    {
        clock = SystemClockFrom(last_seen);
    }

    Ok(PurchasePorts {
        role,
        log,
        store,
        feed,
        clock,
        currency,
    })
}

impl PurchasePorts {
    /// Starts ingest, if the settings enable it: joins the consumer group.
    pub(super) fn start(
        &mut self,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
        shutdown: &Shutdown,
    ) -> Result<()> {
        let feed = self.feed.clone();
        let shutdown = shutdown.clone();
        // The server waits for open responses.
        tokio::spawn(async move {
            shutdown.cancelled().await;
            feed.close();
        });
        let Some(store) = &self.store else {
            return Ok(());
        };
        if let Some(unreadable) = &store.unreadable {
            metrics.count_unreadable(Arc::clone(unreadable));
        }
        if settings.ingests() {
            let ingest = Ingest::new(
                self.log.source()?,
                Arc::clone(&store.store) as _,
                self.log.log.dead_letters(),
                settings.ingest_options(),
            );
            let ingest = ingest.with_observer(Arc::new(IngestTelemetry {
                metrics: metrics.ingest_observer(),
                logs_purchases: settings.dialect.logs_purchases,
                traced: settings
                    .messaging_system()
                    .map(|system| (system, settings.purchases_group_id.clone())),
            }));
            // A store in the file of its log is lost with it.
            let is_apart = !settings.is_one_file();
            let group = settings.purchases_group_id.clone();
            let query = Arc::clone(&store.store);
            let spot_check =
                SpotCheck::new(&*self.log.log, group, query, settings.purchase_retention);
            let monitor =
                background.ingest(ingest, &self.log, metrics, is_apart.then_some(spot_check));
            background.sample(monitor.clone(), self.feed.clone(), metrics);
            self.role.ingest = Some(monitor);
            if let Some(keep) = settings.purchase_retention {
                let retention =
                    Retention::new(Arc::clone(&store.store) as _, RetentionOptions::new(keep));
                metrics.count_expired(retention.monitor());
                background.until_shutdown(async move { retention.run().await });
            }
        }
        Ok(())
    }
}

/// Measures ingest.
#[derive(Debug)]
struct IngestTelemetry {
    metrics: Arc<dyn IngestObserver>,
    /// Whether there is a line per purchase that is stored, as in the dialect that has one.
    logs_purchases: bool,
    /// The system of the log and the group that reads it, if spans are exported.
    traced: Option<(&'static str, String)>,
}

impl IngestObserver for IngestTelemetry {
    fn batch_completed(&self, batch: &BatchReport) {
        self.metrics.batch_completed(batch);
    }

    fn spans(&self, batch: &Batch) -> Vec<Span> {
        self.traced
            .iter()
            .flat_map(|(system, group)| traces::spans(batch, system, group))
            .collect()
    }

    fn records_durable(&self, batch: &Batch) {
        self.metrics.records_durable(batch);
        if !self.logs_purchases {
            return;
        }
        for record in &batch.records {
            // Dead letters have separate lines.
            if let Ok(Purchase { id, user_id, .. }) = decode(record, &batch.partition) {
                tracing::info!(purchase.id = %id, user.id = user_id.as_str(), "Received purchase");
            }
        }
    }
}
