//! Purchases: from settings to what facing and management stand on.

use std::sync::Arc;

use shop_core::ingest::{Ingest, IngestMonitor};
use shop_core::ports::{PurchaseQuery, PurchaseSink, PurchaseStore};
use shop_http::{LocalPorts, Metrics, PurchasesRole, StoreSink};

use super::{Background, note};
use crate::backend::{self, Closed, PurchasesStore, Topic, TopicLog, client, with_failpoints};
use crate::settings::Settings;
use crate::{CliError, Result};

/// The ports of purchases.
pub(super) struct Purchases {
    /// The way into the log.
    pub(super) sink: Arc<dyn PurchaseSink>,
    log: TopicLog,
    /// The store, if this service has one.
    store: Option<PurchasesStore>,
    /// Where listings come from.
    query: Arc<dyn PurchaseQuery>,
    /// Which of them are files of this process.
    local: LocalPorts,
    ingest: Option<IngestMonitor>,
}

/// Opens what the settings ask for. Nothing is read from the log yet.
pub(super) async fn open(settings: &Settings, closed: &mut Vec<Closed>) -> Result<Purchases> {
    let log = backend::for_log(settings).log(Topic::purchases(settings)).await?;
    let log = note(log, closed);
    let mut store = None;
    if settings.ingests() || settings.management_url.is_none() {
        let mut opened = note(backend::for_store(settings).purchases().await?, closed);
        opened.store = with_failpoints::<dyn PurchaseStore>(opened.store);
        store = Some(opened);
    } else if settings.kafka_bootstrap_servers.is_none() {
        tracing::warn!(
            "purchases go into the log in SHOP_DATA_DIR ({}), and this process does not carry them further: \
             management must run on the same folder",
            settings.data_dir.display()
        );
    }
    let query: Arc<dyn PurchaseQuery> = match (&settings.management_url, &store) {
        (Some(url), _) => Arc::new(client(url)?),
        (None, Some(store)) => Arc::clone(&store.query),
        (None, None) => return Err(CliError::new("there is nowhere to ask for listings")),
    };
    let sink = with_failpoints::<dyn PurchaseSink>(Arc::clone(&log.sink));
    let local = LocalPorts::new(settings.kafka_bootstrap_servers.is_none(), settings.has_local_store());
    Ok(Purchases { sink, log, store, query, local, ingest: None })
}

impl Purchases {
    /// What facing has of them.
    pub(super) fn facing(&self) -> PurchasesRole<Arc<dyn PurchaseSink>> {
        let mut role = PurchasesRole::with_sink(Arc::clone(&self.sink), Arc::clone(&self.query));
        (role.ingest, role.local) = (self.ingest.clone(), self.local);
        role
    }

    /// What management has of them.
    pub(super) fn management(&self) -> Result<PurchasesRole<StoreSink>> {
        let store = self.store.as_ref().ok_or_else(|| CliError::new("management needs a store"))?;
        let query = Arc::clone(&self.query);
        let mut role = PurchasesRole::with_store(Arc::clone(&store.store), store.durability, query);
        (role.ingest, role.local) = (self.ingest.clone(), self.local);
        Ok(role)
    }

    /// Starts the pipeline between log and store, if the settings ask for it: joins the group that reads the log.
    pub(super) fn start(
        &mut self,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
    ) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        if let Some(unreadable) = &store.unreadable {
            metrics.count_unreadable(Arc::clone(unreadable));
        }
        if settings.ingests() {
            let ingest = Ingest::new(
                with_failpoints(self.log.source(&settings.kafka_group_id)?),
                Arc::clone(&store.store) as _,
                with_failpoints(self.log.log.dead_letters()),
                settings.ingest_options(),
            );
            let ingest = ingest.with_observer(metrics.ingest_observer());
            self.ingest = Some(background.ingest(ingest, &self.log, metrics));
        }
        Ok(())
    }
}
