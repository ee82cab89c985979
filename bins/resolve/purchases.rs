//! Purchases: from settings to what facing and management stand on.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use shop_client::{Retries, ShopClient};
use shop_core::ingest::{Ingest, IngestMonitor};
use shop_core::log::{DeadLetters, LogAdmin};
use shop_core::ports::{Durability, PurchaseQuery, PurchaseSink, PurchaseStore};
use shop_http::{LocalPorts, Metrics, PurchasesRole, StoreSink};

use super::log::{self, Topic};
use super::{OpenSource, Opening, store};
use crate::settings::Settings;
use crate::{Failure, Result};

/// The ports of purchases.
#[expect(missing_debug_implementations, reason = "a function among its fields has no Debug")]
pub struct Purchases {
    /// The way into the log.
    pub sink: Arc<dyn PurchaseSink>,
    /// The way into the store, if this service has one.
    pub store: Option<(Arc<dyn PurchaseStore>, Durability)>,
    /// Where listings come from.
    pub query: Arc<dyn PurchaseQuery>,
    /// Which of them are files of this process.
    pub local: LocalPorts,
    pub(super) open_source: OpenSource,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) admin: Arc<dyn LogAdmin>,
    pub(super) unreadable: Option<Arc<AtomicU64>>,
}

/// Opens what the settings ask for. Nothing is read from the log yet.
pub(super) async fn open(settings: &Settings, opening: &mut Opening) -> Result<Purchases> {
    let log = log::open(settings, Topic::Purchases).await?;
    opening.note(log.closed);
    let store = match &settings.management_url {
        Some(_) if !settings.ingest => None,
        _ => {
            let store = store::open(settings).await?;
            opening.note(store.closed);
            Some((store.store, store.query, store.durability, store.unreadable))
        }
    };
    if store.is_none() && settings.kafka.is_none() {
        tracing::warn!(
            "purchases go into the log in SHOP_DATA_DIR ({}), and this process does not carry them further: \
             management must run on the same folder",
            settings.data_dir.display()
        );
    }
    let query: Arc<dyn PurchaseQuery> = match (&settings.management_url, &store) {
        (Some(url), _) => Arc::new(client(url)?),
        (None, Some((_, query, ..))) => Arc::clone(query),
        (None, None) => return Err(Failure::new("there is nowhere to ask for listings")),
    };
    let unreadable = store.as_ref().and_then(|(.., unreadable)| unreadable.clone());
    let store = store.map(|(store, _, durability, _)| (store, durability));
    let (sink, open_source, dead_letters, admin) = (log.sink, log.open_source, log.dead_letters, log.admin);
    let is_local = settings.management_url.is_none() && settings.mongodb.is_none();
    let local = LocalPorts::new(settings.kafka.is_none(), is_local);
    let purchases = Purchases { sink, store, query, local, open_source, dead_letters, admin, unreadable };
    #[cfg(feature = "failpoints")]
    let purchases = super::failpoints::around_purchases(purchases);
    Ok(purchases)
}

/// A client of another service of ours.
pub(super) fn client(url: &str) -> Result<ShopClient> {
    // Whoever asks facing repeats; twice over would multiply the load.
    Ok(ShopClient::builder(url).retries(Retries::none()).build()?)
}

impl Purchases {
    /// What facing has of them.
    pub(super) fn facing(&self, ingest: Option<IngestMonitor>) -> PurchasesRole<Arc<dyn PurchaseSink>> {
        let mut role = PurchasesRole::with_sink(Arc::clone(&self.sink), Arc::clone(&self.query));
        (role.ingest, role.local) = (ingest, self.local);
        role
    }

    /// What management has of them.
    pub(super) fn management(&self, ingest: Option<IngestMonitor>) -> Result<PurchasesRole<StoreSink>> {
        let (store, durability) =
            self.store.clone().ok_or_else(|| Failure::new("management needs a store"))?;
        let mut role = PurchasesRole::with_store(store, durability, Arc::clone(&self.query));
        (role.ingest, role.local) = (ingest, self.local);
        Ok(role)
    }

    /// The pipeline between log and store, if the settings ask for it, measured in `metrics`: joins the group that
    /// reads the log.
    pub(super) fn ingest(&self, settings: &Settings, metrics: &Metrics) -> Result<Option<Ingest>> {
        let Some((store, _)) = self.store.as_ref().filter(|_| settings.ingest) else { return Ok(None) };
        let (source, dead_letters) = ((self.open_source)(&settings.group)?, Arc::clone(&self.dead_letters));
        let ingest =
            Ingest::new(source, Arc::clone(store) as _, dead_letters, settings.ingest_options.clone());
        Ok(Some(ingest.observed_by(metrics.ingest_observer())))
    }
}
