//! What every backend gives.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use shop_client::{RetryPolicy, ShopClient};
use shop_core::Purchase;
#[cfg(feature = "failpoints")]
pub(crate) use shop_core::fault::with_failpoints;
use shop_core::log::{Log, LogSource, RecordType};
use shop_core::orders::{Order, OrderStore};
use shop_core::outbox::Outbox;
use shop_core::ports::{Durability, PurchaseQuery, PurchaseSink, PurchaseStore, RecordStore};
use shop_core::record::Record;
use shop_core::users::{User, UserStore};

use crate::settings::Settings;
use crate::{CliError, Result};

/// Keeps logs, or stores, or both; what it does not keep, it refuses.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Why it does not keep what is asked for.
    fn unsupported(&self) -> CliError {
        CliError::new("this is kept elsewhere")
    }

    /// Opens the log of a topic.
    async fn log(&self, _topic: Topic<'_>) -> Result<OpenPort<TopicLog>> {
        Err(self.unsupported())
    }

    /// Opens the store of the purchases.
    async fn purchases(&self) -> Result<OpenPort<PurchasesStore>> {
        Err(self.unsupported())
    }

    /// Opens the store of the users.
    async fn users(&self) -> Result<OpenPort<EntityStore<dyn UserStore, Order>>> {
        Err(self.unsupported())
    }

    /// Opens the store of the orders.
    async fn orders(&self) -> Result<OpenPort<EntityStore<dyn OrderStore, User>>> {
        Err(self.unsupported())
    }

    /// Converts the documents of the replaced systems to the current form. Returns how many there were.
    async fn migrate(&self) -> Result<serde_json::Value> {
        let message = "migrate is for a collection of MongoDB: set MONGODB_URI, or another name of it";
        Err(CliError::new(message).usage())
    }

    /// The file of a topic's log, if it has one.
    fn log_file(&self, _topic: Topic<'_>) -> Option<PathBuf> {
        None
    }

    /// The file of the store `name`, if it has one.
    fn store_file(&self, _name: &str) -> Option<PathBuf> {
        None
    }
}

/// A topic, and the type of its records.
#[derive(Clone, Copy)]
pub(crate) struct Topic<'a> {
    pub(crate) name: &'a str,
    pub(crate) record: RecordType,
    /// Whether these are events, of which none is ever deleted.
    pub(crate) is_events: bool,
}

impl<'a> Topic<'a> {
    pub(crate) fn purchases(settings: &'a Settings) -> Self {
        Self { name: &settings.kafka_topic, record: Purchase::TYPE, is_events: false }
    }

    pub(crate) fn users(settings: &'a Settings) -> Self {
        Self { name: &settings.users_topic, record: User::TYPE, is_events: true }
    }

    pub(crate) fn orders(settings: &'a Settings) -> Self {
        Self { name: &settings.orders_topic, record: Order::TYPE, is_events: true }
    }
}

/// Completes when what was opened has been dropped and is closed.
pub(crate) type Closed = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A port that was opened.
pub(crate) struct OpenPort<T> {
    pub(crate) port: T,
    /// What stands behind it, for people.
    pub(crate) name: String,
    pub(crate) closed: Closed,
}

impl<T: Send> OpenPort<T> {
    /// The part of the port that `narrow` leaves.
    pub(crate) fn map<U>(self, narrow: impl FnOnce(T) -> U) -> OpenPort<U> {
        OpenPort { port: narrow(self.port), name: self.name, closed: self.closed }
    }

    /// Drops the port, and waits until it is closed; answers its name.
    pub(crate) async fn close(self) -> String {
        let Self { port, name, closed } = self;
        drop(port);
        closed.await;
        name
    }
}

/// The log of a topic, from all its sides.
#[derive(Clone)]
pub(crate) struct TopicLog {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) sink: Arc<dyn PurchaseSink>,
    pub(crate) topic: String,
    /// What its errors are about.
    pub(crate) about: &'static str,
    /// Whether a service would make it: known only where nothing is made.
    pub(crate) to_be_made: bool,
}

impl TopicLog {
    /// A new member of the consumer group `group`.
    pub(crate) fn source(&self, group: &str) -> Result<Arc<dyn LogSource>> {
        self.log.source(group).map_err(CliError::about(self.about))
    }
}

/// A store of purchases, from both its sides.
pub(crate) struct PurchasesStore {
    pub(crate) store: Arc<dyn PurchaseStore>,
    pub(crate) query: Arc<dyn PurchaseQuery>,
    pub(crate) durability: Durability,
    /// The documents met that are no purchases, where that can be.
    pub(crate) unreadable: Option<Arc<AtomicU64>>,
}

/// A store of users or of orders, from all its sides. It consumes the events `R`.
pub(crate) struct EntityStore<S: ?Sized, R: Record> {
    pub(crate) store: Arc<S>,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) projection: Arc<dyn RecordStore<R>>,
}

impl<S: ?Sized, R: Record> EntityStore<S, R> {
    /// `store` from all its sides, of which `as_store` makes the one that is not known here.
    pub(super) fn new<T: Outbox + RecordStore<R>>(store: T, as_store: fn(Arc<T>) -> Arc<S>) -> Self {
        let store = Arc::new(store);
        let (outbox, projection) = (Arc::clone(&store), Arc::clone(&store));
        Self {
            store: as_store(store),
            outbox: with_failpoints::<dyn Outbox>(outbox),
            projection: with_failpoints::<dyn RecordStore<R>>(projection),
        }
    }
}

/// A client of another service of ours.
pub(crate) fn client(url: &str) -> Result<ShopClient> {
    // Whoever asks facing repeats; twice over would multiply the load.
    Ok(ShopClient::builder(url).retries(RetryPolicy::none()).build()?)
}

/// The port itself: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn with_failpoints<P: ?Sized>(port: Arc<P>) -> Arc<P> {
    port
}
