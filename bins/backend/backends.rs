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
    /// Adds `port_closed`, a future that completes when an opened port is closed.
    fn add(&self, port_closed: impl Future<Output = ()> + Send + 'static) {
        self.lock_futures().push(Box::pin(port_closed));
    }

    /// Waits until the files and connections of all dropped ports are closed, at most for `limit`.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait. The files are closed nevertheless.
    pub(crate) async fn wait(&self, limit: Duration) {
        let futures = std::mem::take(&mut *self.lock_futures());
        // After the limit, the process ends without what is still open.
        let _timed_out = timeout(limit, join_all(futures)).await.is_err();
    }

    /// Locks the futures.
    fn lock_futures(&self) -> MutexGuard<'_, Vec<BoxFuture<'static, ()>>> {
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
    /// Returns the backend with this log of `topic`, without a sink.
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

    /// Returns the backend with this log of `topic`, and with a sink that publishes to the log.
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
    /// Returns the backend with this store.
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

/// Inspections of stores whose servers were unavailable. Each inspection completes when the server
/// is available, with an error if the store has a fault.
type LateInspections = Vec<BoxFuture<'static, Result<()>>>;

/// The logs and stores that the settings select. It opens what a process asks for.
///
/// The log is on Kafka, or embedded. The store of purchases is in MongoDB, in PostgreSQL, or
/// embedded; users and orders are in PostgreSQL, or embedded. What was opened is closed when all its
/// ports are dropped, and [`close`](Self::close) waits for that.
pub(crate) struct Backends<'a> {
    pub(crate) settings: &'a Settings,
    closing: Arc<Closing>,
    late_inspections: Mutex<LateInspections>,
    /// The log of the topic that a service opened first on Kafka. The logs of its other topics share
    /// the clients of this log.
    #[cfg(feature = "kafka")]
    pub(super) shared_log: std::sync::OnceLock<KafkaLog>,
}

impl<'a> Backends<'a> {
    /// Selects the backends. Opens nothing.
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self::with_closing(settings, Arc::default())
    }

    /// Selects the backends, and adds a future for each port that is opened to `closing`, the list
    /// of the process. By this list, a process can wait until its ports are closed, even after this
    /// value is dropped.
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
            shared_log: std::sync::OnceLock::new(),
        }
    }

    /// Makes [`close`](Self::close) wait for `port_closed`, which completes when an opened port is
    /// closed.
    #[cfg(any(feature = "embedded", feature = "mongodb"))]
    pub(super) fn close_at_end(&self, port_closed: impl Future<Output = ()> + Send + 'static) {
        self.closing.add(port_closed);
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
        self.lock_inspections().push(Box::pin(inspection));
    }

    /// Takes the inspections of stores whose servers were unavailable. A service that has such
    /// stores runs them, and ends with the error of a store that is not fit for purchases.
    pub(crate) fn take_late_inspections(&self) -> LateInspections {
        std::mem::take(&mut *self.lock_inspections())
    }

    /// Locks the inspections.
    fn lock_inspections(&self) -> MutexGuard<'_, LateInspections> {
        self.late_inspections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the log of `topic`, without a sink. A command opens the log before a store, so that no
    /// store is created without a log.
    ///
    /// # Errors
    /// The errors of the backend.
    pub(crate) async fn log(&self, topic: TopicSpec<'_>) -> Result<OpenPort<Backend>> {
        let open_log = self.open_log(topic).await?;
        Ok(open_log.map(|log| log.backend(topic)))
    }

    /// Opens the store of the purchases.
    ///
    /// # Errors
    /// The errors of the backend.
    pub(crate) async fn purchases(&self) -> Result<OpenPort<Backend>> {
        let open_store = self.open_store().await?;
        Ok(open_store.map(OpenStore::backend))
    }

    /// Opens the log of the purchases, with a sink that publishes to the log, and the store of the
    /// purchases, for a command that writes both. Returns the log and the store.
    ///
    /// # Errors
    /// The errors of the backends.
    pub(crate) async fn log_and_purchases(&self) -> Result<(OpenPort<Backend>, OpenPort<Backend>)> {
        let (log, store) = self.open_publishing_log().await?;
        if let Some(store) = store {
            return Ok((log, store));
        }
        // The log is checked before the store is opened, so that no store is created without a log.
        log.port
            .require_sink()?
            .check()
            .await
            .map_err(CliError::about(&log.name))?;
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
        let publishes_to_log = settings.service == ServiceKind::Facing;
        let (log, mut store) = if publishes_to_log || settings.stores_on_append() {
            self.open_publishing_log().await?
        } else {
            (self.log(TopicSpec::purchases(settings)).await?, None)
        };
        if store.is_none() && settings.needs_store() {
            store = Some(self.purchases().await?);
        }

        let mut backend = log.port;
        // Without a sink of the log, the sink of the store is used.
        if !publishes_to_log {
            backend.sink = None;
        }
        Ok(match store {
            Some(store) => backend.with(store.port),
            None => backend,
        })
    }

    /// Opens the log of the purchases, with a sink that publishes to the log.
    ///
    /// If the settings store each purchase in the transaction that appends it to the log, also
    /// opens the store, which is then in the file of the log, and returns it.
    ///
    /// # Errors
    /// The errors of the backend.
    async fn open_publishing_log(&self) -> Result<(OpenPort<Backend>, Option<OpenPort<Backend>>)> {
        let topic = TopicSpec::purchases(self.settings);
        let open_log = self.open_log(topic).await?;
        match &open_log.port {
            #[cfg(feature = "embedded")]
            OpenLog::Embedded(log) if self.settings.stores_on_append() => {
                let store = embedded::open_store_of(self, log).await?;
                let sink = embedded::storing_sink(log, topic).await?;
                let log = open_log.map(|log| log.backend(topic).with_sink(sink));
                Ok((log, Some(store.map(|store| store.backend()))))
            }
            // The store, if there is one, is opened by itself.
            _ => Ok((open_log.map(|log| log.publishing_backend(topic)), None)),
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
                let open_log = embedded::open_log(self, options, topic).await?;
                Ok(open_log.map(OpenLog::Embedded))
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
                let open_store = mongodb::open(self, purchases.clone()).await?;
                Ok(open_store.map(OpenStore::Mongo))
            }
            #[cfg(feature = "postgres")]
            Store::Postgres { purchases, .. } => {
                let open_store = postgres::open(self, purchases.clone()).await?;
                Ok(open_store.map(OpenStore::Postgres))
            }
            #[cfg(feature = "embedded")]
            Store::Embedded => {
                let open_store = embedded::open_store(self).await?;
                Ok(open_store.map(OpenStore::Embedded))
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

/// Returns the error of a process that opens users or orders, although its settings select a store
/// for purchases only.
#[cfg(feature = "mongodb")]
fn without_entities() -> CliError {
    CliError::usage("SHOP_MONGODB_URI has no users and orders: set SHOP_POSTGRES_URL beside it")
}

/// Returns the error of settings that select embedded files, which this build does not support.
#[cfg(not(feature = "embedded"))]
fn without_files() -> CliError {
    CliError::new("this program was built without the embedded log and store")
}
