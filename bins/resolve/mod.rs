//! From settings to ports. The only place that knows which adapters were built.

#[cfg(feature = "failpoints")]
mod failpoints;
mod log;
mod store;
mod whole;

use std::pin::Pin;
use std::sync::Arc;

use shop_client::{Retries, ShopClient};
use shop_core::ingest::{Ingest, IngestMonitor};
use shop_core::ports::{DeadLetters, Durability, PurchaseQuery, PurchaseSink, PurchaseSource, PurchaseStore};
use shop_http::{Facing, Management, Metrics};

use crate::settings::Settings;
use crate::{Failure, Result};

pub use store::migrate;
pub(crate) use whole::{WholeLog, query, whole_log};

/// What is asked for and this program was built without.
#[must_use]
pub fn unbuilt(kafka: bool, mongodb: bool) -> Vec<String> {
    let mut faults = Vec::new();
    if kafka && cfg!(not(feature = "kafka")) {
        faults.push(without("Kafka", "KAFKA_BOOTSTRAP_SERVERS", "log"));
    }
    if mongodb && cfg!(not(feature = "mongodb")) {
        faults.push(without("MongoDB", "MONGODB_URI", "store"));
    }
    if !(kafka && mongodb) && cfg!(not(feature = "embedded")) {
        faults.push(
            "this program was built without the embedded log and store: set KAFKA_BOOTSTRAP_SERVERS and \
             MONGODB_URI, or build it with feature `embedded`"
                .to_owned(),
        );
    }
    faults
}

fn without(what: &str, setting: &str, embedded: &str) -> String {
    format!(
        "{what} is asked for ({setting}, or another name of it), but this program was built without it: unset that \
         to use the embedded {embedded}, or build it with feature `{}`",
        what.to_lowercase()
    )
}

/// Joins the group that reads the log.
type OpenSource = Box<dyn Fn() -> Result<Arc<dyn PurchaseSource>> + Send + Sync>;

/// Completes when what was opened has been dropped and is closed.
type Closed = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// The log that the settings ask for, from all its sides.
struct Log {
    sink: Arc<dyn PurchaseSink>,
    open_source: OpenSource,
    dead_letters: Arc<dyn DeadLetters>,
    whole: Arc<dyn WholeLog>,
    closed: Closed,
    name: String,
}

/// The store that the settings ask for, from both its sides.
struct Store {
    store: Arc<dyn PurchaseStore>,
    query: Arc<dyn PurchaseQuery>,
    durability: Durability,
    closed: Closed,
    name: String,
}

/// Everything that a service stands on.
#[expect(missing_debug_implementations, reason = "a function among its fields has no Debug")]
pub struct Ports {
    /// The way into the log.
    pub sink: Arc<dyn PurchaseSink>,
    /// The way into the store, if this service has one.
    pub store: Option<(Arc<dyn PurchaseStore>, Durability)>,
    /// Where listings come from.
    pub query: Arc<dyn PurchaseQuery>,
    /// What stands behind each of them, for people.
    pub names: Vec<(&'static str, String)>,
    open_source: OpenSource,
    dead_letters: Arc<dyn DeadLetters>,
    closed: Vec<Closed>,
}

/// Opens what the settings ask for. Nothing is read from the log yet.
///
/// # Errors
/// What cannot be opened, and why.
pub async fn ports(settings: &Settings) -> Result<Ports> {
    let log = log::open(settings).await?;
    let mut names = vec![("log", log.name)];
    let store = match &settings.management_url {
        Some(_) if !settings.ingest => None,
        _ => Some(store::open(settings).await?),
    };
    names.extend(store.as_ref().map(|store| ("store", store.name.clone())));
    if store.is_none() && settings.kafka.is_none() {
        tracing::warn!(
            "purchases go into the log in SHOP_DATA_DIR ({}), and this process does not carry them further: \
             management must run on the same folder",
            settings.data_dir.display()
        );
    }
    let query: Arc<dyn PurchaseQuery> = match (&settings.management_url, &store) {
        (Some(url), _) => {
            names.push(("listings", url.clone()));
            // Whoever asks facing repeats; twice over would multiply the load.
            Arc::new(ShopClient::builder(url).retries(Retries::none()).build()?)
        }
        (None, Some(store)) => Arc::clone(&store.query),
        (None, None) => return Err(Failure::new("there is nowhere to ask for listings")),
    };
    let mut closed = vec![log.closed];
    let store = store.map(|store| {
        closed.push(store.closed);
        (store.store, store.durability)
    });
    let (sink, open_source, dead_letters) = (log.sink, log.open_source, log.dead_letters);
    let ports = Ports { sink, store, query, names, open_source, dead_letters, closed };
    #[cfg(feature = "failpoints")]
    let ports = failpoints::wrap(ports);
    Ok(ports)
}

impl Ports {
    /// What facing's router stands on, with the ingest of this process if one runs.
    #[must_use]
    pub fn facing(&self, ingest: Option<IngestMonitor>, metrics: Metrics) -> Facing {
        let mut parts = Facing::new(Arc::clone(&self.sink), Arc::clone(&self.query));
        (parts.ingest, parts.metrics) = (ingest, metrics);
        parts
    }

    /// What management's router stands on, with the ingest of this process.
    ///
    /// # Errors
    /// When there is no store.
    pub fn management(&self, ingest: Option<IngestMonitor>, metrics: Metrics) -> Result<Management> {
        let (store, durability) =
            self.store.clone().ok_or_else(|| Failure::new("management needs a store"))?;
        let mut parts = Management::new(store, durability, Arc::clone(&self.query));
        (parts.ingest, parts.metrics) = (ingest, metrics);
        Ok(parts)
    }

    /// The pipeline between log and store, if the settings ask for it, measured in `metrics`: joins the group that
    /// reads the log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn ingest(&self, settings: &Settings, metrics: &Metrics) -> Result<Option<Ingest>> {
        let Some((store, _)) = self.store.as_ref().filter(|_| settings.ingest) else { return Ok(None) };
        let (source, dead_letters) = ((self.open_source)()?, Arc::clone(&self.dead_letters));
        let ingest = Ingest::new(source, Arc::clone(store), dead_letters, settings.ingest_options.clone());
        Ok(Some(ingest.observed_by(metrics.ingest_observer())))
    }

    /// Drops all of them, and waits until nobody else has them either and they are closed.
    pub async fn close(mut self) {
        let closed = std::mem::take(&mut self.closed);
        drop(self);
        for port in closed {
            port.await;
        }
    }
}

#[cfg(feature = "embedded")]
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn in_data_dir(error: shop_core::Error) -> Failure {
    Failure::new(format!("the data folder (SHOP_DATA_DIR) cannot be used: {}", error.chain()))
}
