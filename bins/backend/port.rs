//! The interface of backends, and the ports that they open.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all};
use secrecy::ExposeSecret as _;
use shop_client::{BearerToken, RetryPolicy, ShopClient, ShopClientBuilder};
use shop_core::Purchase;
use shop_core::entity::EntityStore;
use shop_core::log::{Log, LogSource, RecordType};
use shop_core::orders::Order;
use shop_core::outbox::Outbox;
use shop_core::ports::{
    CurrencyStore, Durability, PurchaseErase, PurchaseQuery, PurchaseSink, PurchaseStore,
    RecordStore, UnreadableEntry,
};
use shop_core::record::{Record, ReplacedSystem};
use shop_core::users::{User, UserErase, UserStore};
use tokio::time::timeout;

use super::ComponentKind;
use crate::settings::{ProcessRole, Settings};
use crate::{CliError, Result, tls};

/// A backend of logs, of stores, or of both. The other operations return an error.
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

    /// Opens the log of the purchases and their store, if they are one file: what the sink publishes is listed.
    async fn log_and_purchases(
        &self,
        _topic: TopicSpec<'_>,
    ) -> Result<Option<(OpenPort<TopicLog>, OpenPort<PurchasesStore>)>> {
        Ok(None)
    }

    /// Opens the store of the users.
    async fn users(&self) -> Result<OpenPort<EntityPorts<dyn UserBackend, Order>>> {
        unsupported()
    }

    /// Opens the store of the orders.
    async fn orders(&self) -> Result<OpenPort<EntityPorts<dyn EntityStore<Order>, User>>> {
        unsupported()
    }

    /// Reads all rows of users or of orders. Returns their number, and those that ours cannot show.
    async fn read_rows(&self, _of: ProcessRole) -> Result<(u64, Vec<UnreadableEntry>)> {
        unsupported()
    }

    /// Converts the documents of the replaced systems to the current form, or back to that of one. Returns what it has
    /// converted.
    async fn convert(&self, _back_to: Option<ReplacedSystem>) -> Result<serde_json::Value> {
        let message =
            "migrate is for a collection of MongoDB: set SHOP_MONGODB_URI, or another name of it";
        Err(CliError::usage(message))
    }

    /// What is damaged in one of this backend's files.
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

    /// Rewrites the files of purchases and users, so that unused parts have no erased content. Servers have none.
    async fn vacuum(&self) -> Result<()> {
        Ok(())
    }

    /// The file of a part, if it has one.
    fn file(&self, _part: ComponentKind<'_>) -> Option<PathBuf> {
        None
    }
}

fn unsupported<T>() -> Result<T> {
    Err(CliError::new("this backend does not support the operation"))
}

/// The name of a file of a backup, and its size in bytes.
pub(crate) type CopiedFile = (String, u64);

/// A topic, and the type of its records.
#[derive(Clone, Copy)]
pub(crate) struct TopicSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) record: RecordType,
    /// Whether its records are events, which are retained forever.
    pub(crate) is_events: bool,
    /// The group whose ingest consumes it.
    pub(crate) group: &'a str,
}

impl<'a> TopicSpec<'a> {
    pub(crate) fn purchases(settings: &'a Settings) -> Self {
        Self {
            name: &settings.purchases_topic,
            record: Purchase::TYPE,
            is_events: false,
            group: &settings.purchases_group_id,
        }
    }

    pub(crate) fn users(settings: &'a Settings) -> Self {
        Self {
            name: &settings.users_topic,
            record: User::TYPE,
            is_events: true,
            group: &settings.orders_group_id,
        }
    }

    pub(crate) fn orders(settings: &'a Settings) -> Self {
        Self {
            name: &settings.orders_topic,
            record: Order::TYPE,
            is_events: true,
            group: &settings.users_group_id,
        }
    }
}

/// What completes when the ports that this process has opened are closed.
static OPENED: Mutex<Vec<BoxFuture<'static, ()>>> = Mutex::new(Vec::new());
/// How long they may take at the end of the process, when the drain has timed out and a task still uses them.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Lets the process wait for `closed` at its end.
pub(super) fn note_opened(closed: impl Future<Output = ()> + Send + 'static) {
    OPENED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Box::pin(closed));
}

/// Waits when all ports are dropped, at most for `limit`, until their files and connections are closed.
pub(crate) async fn close(limit: Duration) {
    let opened = std::mem::take(&mut *OPENED.lock().unwrap_or_else(PoisonError::into_inner));
    let _timed_out = timeout(limit, join_all(opened)).await;
}

/// A port that was opened.
pub(crate) struct OpenPort<T> {
    pub(crate) port: T,
    /// The name of its backend, for output.
    pub(crate) name: String,
    /// Whether it does not exist yet, and a service creates it.
    pub(crate) to_be_made: bool,
}

/// Makes sinks of a log.
pub(crate) type Sinks = Arc<dyn Fn() -> Arc<dyn PurchaseSink> + Send + Sync>;

/// The log of a topic, with all its ports.
#[derive(Clone)]
pub(crate) struct TopicLog {
    pub(crate) log: Arc<dyn Log>,
    /// Makes a sink. A process without one has no producer.
    pub(crate) sink: Sinks,
    pub(crate) topic: String,
    /// The group whose ingest consumes it.
    group: String,
    /// The prefix of its errors.
    about: &'static str,
}

impl TopicLog {
    pub(super) fn new(
        topic: TopicSpec<'_>,
        log: Arc<dyn Log>,
        sink: Sinks,
        about: &'static str,
    ) -> Self {
        Self {
            log,
            sink,
            topic: topic.name.to_owned(),
            group: topic.group.to_owned(),
            about,
        }
    }

    /// A new member of the topic's group.
    pub(crate) fn source(&self) -> Result<Arc<dyn LogSource>> {
        self.log
            .source(&self.group)
            .map_err(CliError::about(self.about))
    }
}

/// All ports of a store of purchases.
pub(crate) trait PurchaseBackend:
    PurchaseStore + PurchaseQuery + PurchaseErase + CurrencyStore
{
}

impl<S: PurchaseStore + PurchaseQuery + PurchaseErase + CurrencyStore> PurchaseBackend for S {}

/// A store of purchases.
pub(crate) struct PurchasesStore {
    pub(crate) store: Arc<dyn PurchaseBackend>,
    pub(crate) durability: Durability,
    /// The number of documents or rows read that are not purchases, if the backend counts them.
    pub(crate) unreadable: Option<Arc<AtomicU64>>,
}

/// A store of users from which they can be erased.
pub(crate) trait UserBackend: UserStore + UserErase {}

impl<S: UserStore + UserErase> UserBackend for S {}

/// A store of users or of orders, with all its ports. It consumes the events `R`.
pub(crate) struct EntityPorts<S: ?Sized, R: Record> {
    pub(crate) store: Arc<S>,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) projection: Arc<dyn RecordStore<R>>,
}

impl<S: ?Sized, R: Record> EntityPorts<S, R> {
    /// All ports of `store`; `as_store` converts it to the store itself.
    pub(super) fn new<T: Outbox + RecordStore<R>>(
        store: T,
        as_store: fn(Arc<T>) -> Arc<S>,
    ) -> Self {
        let store = Arc::new(store);
        Self {
            outbox: Arc::clone(&store) as _,
            projection: Arc::clone(&store) as _,
            store: as_store(store),
        }
    }
}

/// A client of another service of this project.
pub(crate) async fn client(url: &str, settings: &Settings) -> Result<ShopClient> {
    let client = authorized(ShopClient::builder(url), settings)?;
    Ok(tls::for_services(client, settings).await?.build()?)
}

/// `client` with the token of the services.
pub(crate) fn authorized(
    client: ShopClientBuilder,
    settings: &Settings,
) -> Result<ShopClientBuilder> {
    // Callers of facing retry; retrying here too would multiply the load. Between the services no compression is faster.
    let client = client.retries(RetryPolicy::none()).gzip(false);
    let Some(token) = &settings.service_token else {
        return Ok(client);
    };
    BearerToken::new(token.expose_secret())?;
    let token = settings.secret("SHOP_SERVICE_TOKEN", token);
    // The client keeps it until it is rejected.
    Ok(client.token_provider(move || {
        let token = BearerToken::new(token.current().expose_secret());
        async move { Ok(token?) }
    }))
}
