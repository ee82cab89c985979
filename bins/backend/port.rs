//! The interface of backends, and the ports that they open.
//!
//! A [`Backend`] opens the ports of one system. Each port is an [`OpenPort`], which also contains
//! the name of its backend for output. For each store, one trait unites all its ports, so that one
//! `Arc` serves as each of these ports. What a process opens is closed by [`close()`] at the end of
//! the process. [`client`] opens the port of another service.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all};
use secrecy::ExposeSecret as _;
use shop_accounts::entity::EntityStore;
use shop_accounts::orders::Order;
use shop_accounts::outbox::Outbox;
use shop_accounts::users::{User, UserErase, UserStore};
use shop_client::{BearerToken, RetryPolicy, ShopClient, ShopClientBuilder};
use shop_core::Purchase;
use shop_core::log::{Log, LogSource, RecordType};
use shop_core::operations::Operations;
use shop_core::ports::{
    CurrencyStore, Durability, PurchaseErase, PurchaseQuery, PurchaseSink, PurchaseStore,
    RecordStore, StoreSink, UnreadableEntry,
};
use shop_core::record::{Record as _, ReplacedSystem};
use shop_core::shop::DeadLetterLog;
use shop_store::StoreInspection;
use tokio::time::timeout;

use super::ComponentKind;
use crate::settings::{ProcessRole, Settings};
use crate::{CliError, Result, tls};

/// A backend of logs, of stores, or of both. The operations that a backend does not support return
/// an error, unless their documentation says otherwise.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Opens the log of a topic.
    async fn log(&self, _topic: TopicSpec<'_>) -> Result<OpenPort<TopicLog>> {
        unsupported()
    }

    /// Opens the store of the purchases.
    async fn purchases(&self) -> Result<OpenPort<PurchasesStore>> {
        unsupported()
    }

    /// Opens the log of the purchases together with their store.
    ///
    /// Returns `None` unless both are one file in which a sink stores a purchase at once.
    async fn log_and_purchases(
        &self,
    ) -> Result<Option<(OpenPort<TopicLog>, OpenPort<PurchasesStore>)>> {
        Ok(None)
    }

    /// Opens the store of the users.
    async fn users(&self) -> Result<OpenPort<Arc<dyn UserBackend>>> {
        unsupported()
    }

    /// Opens the store of the orders.
    async fn orders(&self) -> Result<OpenPort<Arc<dyn OrderBackend>>> {
        unsupported()
    }

    /// Reads all rows of users or of orders. Returns their number, and the rows that cannot be
    /// read.
    async fn read_rows(&self, _role: ProcessRole) -> Result<(u64, Vec<UnreadableEntry>)> {
        unsupported()
    }

    /// Converts the documents of the replaced systems to the current format, or back to the format
    /// of one system. Returns the counts of the converted documents.
    async fn convert(&self, _back_to: Option<ReplacedSystem>) -> Result<serde_json::Value> {
        Err(CliError::usage(
            "migrate is for a collection of MongoDB: set SHOP_MONGODB_URI, or another name of it",
        ))
    }

    /// Checks one file of this backend. Returns a line for each damage.
    async fn damage_of(&self, _file: &Path) -> Result<Vec<String>> {
        unsupported()
    }

    /// Copies the files of this backend into a folder. Returns the copies.
    async fn backup(&self, _into: &Path) -> Result<Vec<CopiedFile>> {
        Err(CliError::usage(
            "backup is for embedded files: back up the servers with their own tools",
        ))
    }

    /// Copies the files of a backup into the data folder. Returns the copies.
    async fn restore(&self, _from: &Path) -> Result<Vec<CopiedFile>> {
        Err(CliError::usage(
            "restore is for embedded files: restore the servers with their own tools",
        ))
    }

    /// Rewrites the files of purchases and users, so that erased content does not remain in their
    /// unused parts. Does nothing for servers.
    async fn vacuum(&self) -> Result<()> {
        Ok(())
    }

    /// Returns the file of a component, or `None` if the component is not a file.
    fn file(&self, _component: ComponentKind<'_>) -> Option<PathBuf> {
        None
    }
}

/// Returns the error of an operation that a backend does not support.
fn unsupported<T>() -> Result<T> {
    Err(CliError::new("this backend does not support the operation"))
}

/// The name of a file of a backup, and its size in bytes.
pub(crate) type CopiedFile = (String, u64);

/// A topic, the type of its records, and the group that consumes them.
#[derive(Clone, Copy)]
pub(crate) struct TopicSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) record: RecordType,
    /// Whether the records are events, which are retained for ever.
    pub(crate) is_events: bool,
    /// The group whose ingest consumes the topic.
    pub(crate) group: &'a str,
}

impl<'a> TopicSpec<'a> {
    /// Returns the topic of the purchases.
    pub(crate) fn purchases(settings: &'a Settings) -> Self {
        Self {
            name: &settings.purchases_topic,
            record: Purchase::TYPE,
            is_events: false,
            group: &settings.purchases_group_id,
        }
    }

    /// Returns the topic of the events of users, which the orders consume.
    pub(crate) fn users(settings: &'a Settings) -> Self {
        Self {
            name: &settings.users_topic,
            record: User::TYPE,
            is_events: true,
            group: &settings.orders_group_id,
        }
    }

    /// Returns the topic of the events of orders, which the users consume.
    pub(crate) fn orders(settings: &'a Settings) -> Self {
        Self {
            name: &settings.orders_topic,
            record: Order::TYPE,
            is_events: true,
            group: &settings.users_group_id,
        }
    }
}

/// Futures that complete when the ports that this process opened are closed.
static CLOSING_PORTS: Mutex<Vec<BoxFuture<'static, ()>>> = Mutex::new(Vec::new());
/// How long the process waits for its ports at its end, if the drain timed out and a task still
/// uses a port.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Lets [`close()`] wait for `closed`, which completes when an opened port is closed.
pub(super) fn close_at_exit(closed: impl Future<Output = ()> + Send + 'static) {
    CLOSING_PORTS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Box::pin(closed));
}

/// Waits until the files and connections of all dropped ports are closed, at most for `limit`.
pub(crate) async fn close(limit: Duration) {
    let closing_ports =
        std::mem::take(&mut *CLOSING_PORTS.lock().unwrap_or_else(PoisonError::into_inner));
    let _timed_out = timeout(limit, join_all(closing_ports)).await;
}

/// A port that was opened.
pub(crate) struct OpenPort<T> {
    pub(crate) port: T,
    /// The name of its backend, for output.
    pub(crate) name: String,
    /// Whether the topic or the store does not exist yet, and a service creates it.
    pub(crate) is_missing: bool,
    /// What an inspection of a store on a server found, such as warnings.
    pub(crate) inspection: StoreInspection,
}

impl<T> OpenPort<T> {
    /// Creates the port of a store on a server, which was inspected and accepted.
    #[cfg(any(feature = "mongodb", feature = "postgres"))]
    pub(super) fn inspected(port: T, mut name: String, inspection: StoreInspection) -> Self {
        if let Some(rows) = inspection.taken_over {
            name += &format!(", takes over {rows} rows");
        }
        Self {
            port,
            name,
            is_missing: !inspection.exists,
            inspection,
        }
    }
}

/// A function that creates a sink of a log.
type SinkFactory = Arc<dyn Fn() -> Arc<dyn PurchaseSink> + Send + Sync>;

/// The log of a topic, with all its ports.
#[derive(Clone)]
pub struct TopicLog {
    pub(crate) log: Arc<dyn Log>,
    /// Creates a sink. A process that creates no sink starts no producer.
    new_sink: SinkFactory,
    pub(crate) topic: String,
    pub(crate) record: RecordType,
    /// The group whose ingest consumes the topic.
    group: String,
    /// The beginning of the errors of the backend.
    about: &'static str,
    /// The store in the file of the log, if a sink stores a purchase at once.
    pub(crate) store: Option<PurchasesStore>,
}

impl TopicLog {
    /// Creates the ports of the log of `topic`. Errors of the log begin with `about`.
    pub(super) fn new(
        topic: TopicSpec<'_>,
        log: impl Log,
        new_sink: impl Fn() -> Arc<dyn PurchaseSink> + Send + Sync + 'static,
        about: &'static str,
    ) -> Self {
        Self {
            log: Arc::new(log),
            new_sink: Arc::new(new_sink),
            topic: topic.name.to_owned(),
            record: topic.record,
            group: topic.group.to_owned(),
            about,
            store: None,
        }
    }

    /// Creates a sink that publishes to the log.
    #[must_use]
    pub fn sink(&self) -> Arc<dyn PurchaseSink> {
        (self.new_sink)()
    }

    /// Returns the dead letters of the log.
    pub(crate) fn dead_letters(&self) -> DeadLetterLog {
        DeadLetterLog::new(&*self.topic, self.record, Arc::clone(&self.log))
    }

    /// Returns the operations on this log, and on `store` if it is a log of purchases.
    pub(crate) fn operations(&self, store: Option<&PurchasesStore>) -> Operations {
        let operations = Operations::new()
            .with_log(self.dead_letters())
            .with_group(&self.group);
        match store {
            Some(store) => store.add_to(operations),
            None => operations,
        }
    }

    /// Creates a new member of the topic's group.
    ///
    /// # Errors
    /// The errors of [`Log::source`].
    pub(crate) fn source(&self) -> Result<Arc<dyn LogSource>> {
        self.log
            .source(&self.group)
            .map_err(CliError::about(self.about))
    }
}

/// A store of purchases with all its ports.
pub(crate) trait PurchaseBackend:
    PurchaseStore + PurchaseQuery + PurchaseErase + CurrencyStore
{
}

impl<S: PurchaseStore + PurchaseQuery + PurchaseErase + CurrencyStore> PurchaseBackend for S {}

/// An opened store of purchases.
#[derive(Clone)]
pub struct PurchasesStore {
    pub(crate) store: Arc<dyn PurchaseBackend>,
    pub(crate) durability: Durability,
    /// The number of documents or rows read that are not purchases, if the backend counts them.
    pub(crate) unreadable: Option<Arc<AtomicU64>>,
}

impl PurchasesStore {
    /// Returns the operations on this store alone.
    pub(crate) fn operations(&self) -> Operations {
        self.add_to(Operations::new())
    }

    /// Returns `operations`, which can use this store, too.
    fn add_to(&self, operations: Operations) -> Operations {
        operations.with_store(Arc::clone(&self.store), Arc::clone(&self.store))
    }

    /// Creates a sink that writes purchases into the store, past the log.
    #[must_use]
    pub fn sink(&self) -> Arc<dyn PurchaseSink> {
        Arc::new(StoreSink::new(
            Arc::clone(&self.store) as _,
            self.durability,
        ))
    }
}

/// A store of users with all its ports. The store applies the events of orders.
pub(crate) trait UserBackend: UserStore + UserErase + Outbox + RecordStore<Order> {}

impl<S: UserStore + UserErase + Outbox + RecordStore<Order>> UserBackend for S {}

/// A store of orders with all its ports. The store applies the events of users.
pub(crate) trait OrderBackend: EntityStore<Order> + Outbox + RecordStore<User> {}

impl<S: EntityStore<Order> + Outbox + RecordStore<User>> OrderBackend for S {}

/// Creates a client of another service of this project.
///
/// # Errors
/// - an error if the token of the services is invalid
/// - the errors of [`tls::for_services`] and of the client
pub(crate) async fn client(url: &str, settings: &Settings) -> Result<ShopClient> {
    let client = authorized(ShopClient::builder(url), settings)?;
    Ok(tls::for_services(client, settings).await?.build()?)
}

/// Returns `client` with the token of the services, and with the options for calls between the
/// services.
///
/// # Errors
/// An error if the token is invalid.
pub(crate) fn authorized(
    client: ShopClientBuilder,
    settings: &Settings,
) -> Result<ShopClientBuilder> {
    // The callers of facing retry. Retries here would multiply the load. Between the services,
    // responses without compression are faster.
    let client = client.retries(RetryPolicy::none()).gzip(false);
    let Some(token) = &settings.service_token else {
        return Ok(client);
    };

    let secret = settings.secret("SHOP_SERVICE_TOKEN", token);
    let setting = match secret.file {
        Some(_) => "SHOP_SERVICE_TOKEN_FILE",
        None => "SHOP_SERVICE_TOKEN",
    };
    BearerToken::new(token.expose_secret()).map_err(CliError::about(setting))?;
    // The client keeps a token until a service rejects it.
    Ok(client.token_provider(move || {
        let secret = secret.clone();
        async move {
            let token = BearerToken::new(secret.current().await.expose_secret());
            Ok(token?)
        }
    }))
}
