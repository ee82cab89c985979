//! [`Backends`]: opens the logs and stores that the settings select, and closes what it opened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use shop_core::Backend;
#[cfg(feature = "kafka")]
use shop_kafka::KafkaLog;
#[cfg(feature = "embedded")]
use shop_store::embedded::{EmbeddedLog, EmbeddedStore};
#[cfg(feature = "mongodb")]
use shop_store::mongo::MongoStore;
#[cfg(feature = "postgres")]
use shop_store::postgres::PostgresStore;
use tokio::time::timeout;

#[cfg(feature = "embedded")]
use super::embedded;
#[cfg(feature = "kafka")]
use super::kafka;
#[cfg(feature = "mongodb")]
use super::mongodb;
#[cfg(feature = "postgres")]
use super::postgres;
use super::{OpenPort, OrderBackend, TopicSpec, UserBackend, record_decoders};
use crate::settings::{Log, ServiceKind, Settings, Store};
use crate::{CliError, Result};

/// How long the process waits for what it opened to be closed, if a task still uses it.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The futures that complete when the files and connections that a process opened are closed.
#[derive(Default)]
pub(crate) struct Closing(Mutex<Vec<BoxFuture<'static, ()>>>);

impl Closing {
    /// Adds a future that completes when an opened port is closed.
    fn add(&self, closed: impl Future<Output = ()> + Send + 'static) {
        self.futures().push(Box::pin(closed));
    }

    /// Waits until the files and connections of all dropped ports are closed, at most for `limit`.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait. The files are closed nevertheless.
    pub(crate) async fn wait(&self, limit: Duration) {
        let futures = std::mem::take(&mut *self.futures());
        let _timed_out = timeout(limit, join_all(futures)).await;
    }

    /// Locks the futures.
    fn futures(&self) -> MutexGuard<'_, Vec<BoxFuture<'static, ()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An opened log of a topic.
enum OpenLog {
    #[cfg(feature = "kafka")]
    Kafka(KafkaLog),
    #[cfg(feature = "embedded")]
    Embedded(EmbeddedLog),
}

/// An opened store of purchases.
enum OpenStore {
    #[cfg(feature = "mongodb")]
    Mongo(MongoStore),
    #[cfg(feature = "postgres")]
    Postgres(PostgresStore),
    #[cfg(feature = "embedded")]
    Embedded(EmbeddedStore),
}

impl OpenLog {
    /// Returns the parts of this log, which is `topic`, without a sink.
    fn backend(self, topic: TopicSpec<'_>) -> Backend {
        let mut backend: Backend = match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(log) => log.backend(topic.group),
            #[cfg(feature = "embedded")]
            Self::Embedded(log) => log.backend(topic.group),
        };
        backend.record_type = topic.record;
        backend.decoders = record_decoders();
        backend
    }

    /// Returns the parts of this log, which is `topic`, with a sink that publishes to it.
    fn publishing_backend(self, topic: TopicSpec<'_>) -> Backend {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(log) => {
                let sink = log.sink();
                Self::Kafka(log).backend(topic).with_sink(sink)
            }
            #[cfg(feature = "embedded")]
            Self::Embedded(log) => {
                let sink = log.sink();
                Self::Embedded(log).backend(topic).with_sink(sink)
            }
        }
    }
}

impl OpenStore {
    /// Returns the parts of this store.
    fn backend(self) -> Backend {
        match self {
            #[cfg(feature = "mongodb")]
            Self::Mongo(store) => store.backend(),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.backend(),
            #[cfg(feature = "embedded")]
            Self::Embedded(store) => store.backend(),
        }
    }
}

/// Inspections of stores that complete when their servers are available, with an error if a store
/// has a fault.
type LateInspections = Vec<BoxFuture<'static, Result<()>>>;

/// The logs and stores that the settings select, and what a process opened of them.
///
/// The log is on Kafka, or embedded. The store of purchases is in MongoDB, in PostgreSQL, or
/// embedded; users and orders are in PostgreSQL, or embedded. What was opened is closed when all its
/// ports are dropped, and [`close`](Self::close) waits for that.
pub(crate) struct Backends<'a> {
    pub(crate) settings: &'a Settings,
    closing: Arc<Closing>,
    late_inspections: Mutex<LateInspections>,
    /// The log that a service opened first on Kafka. The logs of the other topics share its clients.
    #[cfg(feature = "kafka")]
    pub(super) first_log: std::sync::OnceLock<KafkaLog>,
}

impl<'a> Backends<'a> {
    /// Selects the backends. Opens nothing.
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self::with_closing(settings, Arc::default())
    }

    /// Selects the backends, with the list `closing` of the process. The list gets a future per
    /// opened port, so that a process that uses the ports for longer than this value lives can wait
    /// until they are closed.
    pub(crate) fn with_closing(settings: &'a Settings, closing: Arc<Closing>) -> Self {
        // Optimized programs enable no failpoints, even if they are built together with tests.
        #[cfg(all(feature = "failpoints", debug_assertions))]
        if settings.serves() {
            shop_core::init_failpoints();
        }
        Self {
            settings,
            closing,
            late_inspections: Mutex::default(),
            #[cfg(feature = "kafka")]
            first_log: std::sync::OnceLock::new(),
        }
    }

    /// Lets [`close`](Self::close) wait for `closed`, which completes when an opened port is closed.
    #[cfg(any(feature = "embedded", feature = "mongodb"))]
    pub(super) fn close_at_end(&self, closed: impl Future<Output = ()> + Send + 'static) {
        self.closing.add(closed);
    }

    /// Waits until the files and connections of all dropped ports are closed, at most for `limit`.
    pub(crate) async fn close(&self, limit: Duration) {
        self.closing.wait(limit).await;
    }

    /// Adds the inspection of a store whose server is unavailable.
    #[cfg(any(feature = "mongodb", feature = "postgres"))]
    pub(super) fn inspect_later(
        &self,
        inspection: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.locked_inspections().push(Box::pin(inspection));
    }

    /// Takes the inspections of stores whose servers were unavailable. A service that has such
    /// stores runs them, and ends with the error of a store that is not fit for purchases.
    pub(crate) fn late_inspections(&self) -> LateInspections {
        std::mem::take(&mut *self.locked_inspections())
    }

    /// Locks the inspections.
    fn locked_inspections(&self) -> MutexGuard<'_, LateInspections> {
        let locked = self.late_inspections.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the log of `topic`, without a sink. A command opens the log before a store, so that no
    /// store is created without a log.
    ///
    /// # Errors
    /// The errors of the backend.
    pub(crate) async fn log(&self, topic: TopicSpec<'_>) -> Result<OpenPort<Backend>> {
        let opened = self.open_log(topic).await?;
        Ok(opened.map(|log| log.backend(topic)))
    }

    /// Opens the store of the purchases.
    ///
    /// # Errors
    /// The errors of the backend.
    pub(crate) async fn purchases(&self) -> Result<OpenPort<Backend>> {
        let opened = self.open_store().await?;
        Ok(opened.map(OpenStore::backend))
    }

    /// Opens the log of the purchases, with a sink that publishes to it, and their store, for a
    /// command that writes both. If the sink stores a purchase at once, by
    /// [`Settings::stores_at_once`], both are one file.
    ///
    /// # Errors
    /// The errors of the backends.
    pub(crate) async fn log_and_purchases(&self) -> Result<(OpenPort<Backend>, OpenPort<Backend>)> {
        let (log, store) = self.open_publishing_log().await?;
        if let Some(store) = store {
            return Ok((log, store));
        }
        // The log is checked before the store is opened, so that no store is created without a log.
        let checked = log.port.require_sink()?.check().await;
        checked.map_err(CliError::about(&log.name))?;
        Ok((log, self.purchases().await?))
    }

    /// Opens the log and the store of the purchases that this service uses.
    ///
    /// Facing publishes purchases to the log. Management stores what facing published, by its
    /// ingest. Purchases that management receives itself, such as from an import, are written to the
    /// store, and not to the log.
    ///
    /// # Errors
    /// The errors of the backends.
    pub(crate) async fn open_for_service(&self) -> Result<Backend> {
        let settings = self.settings;
        let publishes = settings.service == ServiceKind::Facing;
        let (log, mut store) = if publishes || settings.stores_at_once() {
            self.open_publishing_log().await?
        } else {
            (self.log(TopicSpec::purchases(settings)).await?, None)
        };
        if store.is_none() && settings.needs_store() {
            store = Some(self.purchases().await?);
        }

        let mut backend = log.port;
        if !publishes {
            backend.sink = None;
        }
        Ok(match store {
            Some(store) => backend.with(store.port),
            None => backend,
        })
    }

    /// Opens the log of the purchases, with a sink that publishes to it. If the sink stores a
    /// purchase at once, this also opens the store, which is in the same file.
    ///
    /// # Errors
    /// The errors of the backend.
    async fn open_publishing_log(&self) -> Result<(OpenPort<Backend>, Option<OpenPort<Backend>>)> {
        let topic = TopicSpec::purchases(self.settings);
        let opened = self.open_log(topic).await?;
        match &opened.port {
            #[cfg(feature = "embedded")]
            OpenLog::Embedded(log) if self.settings.stores_at_once() => {
                let store = embedded::open_store_of(self, log).await?;
                let sink = embedded::storing_sink(log, topic).await?;
                let log = opened.map(|log| log.backend(topic).with_sink(sink));
                Ok((log, Some(store.map(|store| store.backend()))))
            }
            _ => Ok((opened.map(|log| log.publishing_backend(topic)), None)),
        }
    }

    /// Opens the log of `topic` where the settings say.
    ///
    /// # Errors
    /// The errors of the backend.
    async fn open_log(&self, topic: TopicSpec<'_>) -> Result<OpenPort<OpenLog>> {
        match &self.settings.log {
            #[cfg(feature = "kafka")]
            Log::Kafka(kafka) => Ok(kafka::open(self, kafka, topic).await?.map(OpenLog::Kafka)),
            #[cfg(feature = "embedded")]
            Log::Embedded(options) => {
                let opened = embedded::open_log(self, options, topic).await?;
                Ok(opened.map(OpenLog::Embedded))
            }
            #[cfg(not(feature = "embedded"))]
            Log::Embedded(_) => Err(without_files()),
        }
    }

    /// Opens the store of the purchases where the settings say.
    ///
    /// # Errors
    /// The errors of the backend.
    async fn open_store(&self) -> Result<OpenPort<OpenStore>> {
        match &self.settings.store {
            #[cfg(feature = "mongodb")]
            Store::Mongo { purchases, .. } => {
                let opened = mongodb::open(self, purchases.clone()).await?;
                Ok(opened.map(OpenStore::Mongo))
            }
            #[cfg(feature = "postgres")]
            Store::Postgres { purchases, .. } => {
                let opened = postgres::open(self, purchases.clone()).await?;
                Ok(opened.map(OpenStore::Postgres))
            }
            #[cfg(feature = "embedded")]
            Store::Embedded => {
                let opened = embedded::open_store(self).await?;
                Ok(opened.map(OpenStore::Embedded))
            }
            #[cfg(not(feature = "embedded"))]
            Store::Embedded => Err(without_files()),
        }
    }

    /// Opens the store of the users.
    ///
    /// # Errors
    /// - a usage error if the store of the settings has no users and orders
    /// - the errors of the backend
    pub(crate) async fn users(&self) -> Result<OpenPort<Arc<dyn UserBackend>>> {
        match &self.settings.store {
            #[cfg(all(feature = "mongodb", feature = "postgres"))]
            Store::Mongo {
                entities: Some(entities),
                ..
            } => postgres::open_users(self, entities.clone()).await,
            #[cfg(feature = "mongodb")]
            Store::Mongo { .. } => Err(without_entities()),
            #[cfg(feature = "postgres")]
            Store::Postgres { entities, .. } => postgres::open_users(self, entities.clone()).await,
            #[cfg(feature = "embedded")]
            Store::Embedded => embedded::open_users(self).await,
            #[cfg(not(feature = "embedded"))]
            Store::Embedded => Err(without_files()),
        }
    }

    /// Opens the store of the orders.
    ///
    /// # Errors
    /// - a usage error if the store of the settings has no users and orders
    /// - the errors of the backend
    pub(crate) async fn orders(&self) -> Result<OpenPort<Arc<dyn OrderBackend>>> {
        match &self.settings.store {
            #[cfg(all(feature = "mongodb", feature = "postgres"))]
            Store::Mongo {
                entities: Some(entities),
                ..
            } => postgres::open_orders(self, entities.clone()).await,
            #[cfg(feature = "mongodb")]
            Store::Mongo { .. } => Err(without_entities()),
            #[cfg(feature = "postgres")]
            Store::Postgres { entities, .. } => postgres::open_orders(self, entities.clone()).await,
            #[cfg(feature = "embedded")]
            Store::Embedded => embedded::open_orders(self).await,
            #[cfg(not(feature = "embedded"))]
            Store::Embedded => Err(without_files()),
        }
    }
}

/// Returns the error of a process that opens users or orders, although its settings select only a
/// store of purchases.
#[cfg(feature = "mongodb")]
fn without_entities() -> CliError {
    CliError::usage("SHOP_MONGODB_URI has no users and orders: set SHOP_POSTGRES_URL beside it")
}

/// Returns the error of settings that select embedded files.
#[cfg(not(feature = "embedded"))]
fn without_files() -> CliError {
    CliError::new("this program was built without the embedded log and store")
}
