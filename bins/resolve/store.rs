//! The store that the settings ask for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_util::future::BoxFuture;
use shop_core::orders::{Order, OrderStore};
use shop_core::outbox::Outbox;
use shop_core::ports::{Durability, PurchaseQuery, PurchaseStore, RecordStore};
use shop_core::record::Record;
use shop_core::users::{User, UserStore};

use super::Closed;
#[cfg(feature = "mongodb")]
use crate::roles::Role;
use crate::settings::{MongodbSettings, Settings};
use crate::{Failure, Result};

/// A store of purchases, from both its sides.
pub(super) struct Store {
    pub(super) store: Arc<dyn PurchaseStore>,
    pub(super) query: Arc<dyn PurchaseQuery>,
    pub(super) durability: Durability,
    /// The documents met that are no purchases, where that can be.
    pub(super) unreadable: Option<Arc<AtomicU64>>,
    pub(super) closed: Closed,
    pub(super) name: String,
}

impl Store {
    /// What is asked whether it works, when that is closed, and its name.
    pub(super) fn into_check(self) -> (Arc<dyn PurchaseStore>, Arc<dyn PurchaseQuery>, Closed, String) {
        (self.store, self.query, self.closed, self.name)
    }
}

/// A store of users or of orders, from all its sides. It consumes the events `R`.
pub(super) struct AccountStore<S: ?Sized, R> {
    pub(super) store: Arc<S>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) projection: Arc<dyn RecordStore<R>>,
    pub(super) closed: Closed,
    pub(super) name: String,
}

impl<S: ?Sized, R: Record> AccountStore<S, R> {
    /// What asks whether it works, when that is closed, and its name.
    pub(super) fn into_check(self) -> (BoxFuture<'static, shop_core::Result<()>>, Closed, String) {
        let projection = self.projection;
        (Box::pin(async move { projection.check().await }), self.closed, self.name)
    }
}

type Users = AccountStore<dyn UserStore, Order>;
type Orders = AccountStore<dyn OrderStore, User>;

#[cfg(any(feature = "embedded", feature = "mongodb"))]
fn of_users<T>(store: T, closed: Closed, name: String) -> Users
where
    T: UserStore + Outbox + RecordStore<Order> + Clone,
{
    let (outbox, projection) = (Arc::new(store.clone()), Arc::new(store.clone()));
    AccountStore { store: Arc::new(store), outbox, projection, closed, name }
}

#[cfg(any(feature = "embedded", feature = "mongodb"))]
fn of_orders<T>(store: T, closed: Closed, name: String) -> Orders
where
    T: OrderStore + Outbox + RecordStore<User> + Clone,
{
    let (outbox, projection) = (Arc::new(store.clone()), Arc::new(store.clone()));
    AccountStore { store: Arc::new(store), outbox, projection, closed, name }
}

/// The store of users that the settings ask for.
pub(super) async fn users(settings: &Settings) -> Result<Users> {
    match &settings.mongodb {
        Some(mongodb) => users_in_mongodb(settings, mongodb).await,
        None => embedded_users(settings).await,
    }
}

/// The store of orders that the settings ask for.
pub(super) async fn orders(settings: &Settings) -> Result<Orders> {
    match &settings.mongodb {
        Some(mongodb) => orders_in_mongodb(settings, mongodb).await,
        None => embedded_orders(settings).await,
    }
}

pub(super) async fn open(settings: &Settings) -> Result<Store> {
    match &settings.mongodb {
        Some(mongodb) => in_mongodb(settings, mongodb).await,
        None => embedded(settings).await,
    }
}

/// Brings the documents of older systems to our form, in the collection that the settings name.
///
/// # Errors
/// Without MongoDB in the settings, or when it cannot be reached.
pub async fn migrate(settings: &Settings) -> Result<()> {
    let mongodb = settings.mongodb.as_ref().ok_or_else(|| {
        Failure::new("migrate is for a collection of MongoDB: set MONGODB_URI, or another name of it").usage()
    })?;
    migrate_in(settings, mongodb).await
}

#[cfg(feature = "mongodb")]
async fn migrate_in(settings: &Settings, mongodb: &MongodbSettings) -> Result<()> {
    let store = connect(settings, mongodb).await?;
    let report = |migration: shop_store::mongo::Migration| {
        tracing::info!(
            seen = migration.seen,
            changed = migration.changed,
            left = migration.left,
            "migrating"
        );
    };
    let migration = store.migrate(report).await?;
    tracing::info!(
        seen = migration.seen,
        changed = migration.changed,
        left = migration.left,
        "migrated: what is left is no purchase, as named before, or was changed by another client meanwhile"
    );
    Ok(())
}

#[cfg(feature = "mongodb")]
async fn connect(settings: &Settings, mongodb: &MongodbSettings) -> Result<shop_store::mongo::MongoStore> {
    use shop_store::mongo::{MongoStore, MongoStoreOptions};

    let mut options = MongoStoreOptions::new(mongodb.uri.clone());
    options.database.clone_from(&mongodb.database);
    options.collection.clone_from(&mongodb.collection);
    options.create_indexes = settings.creates();
    let store = MongoStore::open(options).await.map_err(in_uri)?;
    if settings.command.is_some() {
        is_there(&store).await.map_err(in_uri)?;
    }
    Ok(store)
}

/// Refuses a collection that is not there. Without the right to list collections it is taken to be there.
#[cfg(feature = "mongodb")]
async fn is_there(store: &shop_store::mongo::MongoStore) -> shop_core::Result<()> {
    use shop_core::{Error, ErrorKind};

    store.check().await?;
    match store.exists().await {
        Ok(false) => {
            let message = "there is nothing here: name the database and the collection that the services use";
            Err(Error::new(ErrorKind::Unavailable, message).with_context("missing", store.namespace()))
        }
        Err(error) if error.kind() != ErrorKind::Denied => Err(error),
        Ok(true) | Err(_) => Ok(()),
    }
}

#[cfg(feature = "mongodb")]
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn in_uri(error: shop_core::Error) -> Failure {
    Failure::about("MONGODB_URI (or another name of it)", &error)
}

#[cfg(feature = "mongodb")]
async fn in_mongodb(settings: &Settings, mongodb: &MongodbSettings) -> Result<Store> {
    let store = connect(settings, mongodb).await?;
    Ok(Store {
        name: format!("MongoDB, {}", store.namespace()),
        unreadable: Some(store.unreadable()),
        query: Arc::new(store.clone()),
        store: Arc::new(store),
        durability: Durability::Replicated,
        closed: Box::pin(std::future::ready(())),
    })
}

/// The options of a database of users or of orders.
#[cfg(feature = "mongodb")]
fn in_database(
    settings: &Settings,
    mongodb: &MongodbSettings,
    role: Role,
    chosen: Option<&String>,
) -> shop_store::mongo::MongoAccountsOptions {
    let given = mongodb.database.clone().or_else(|| shop_store::mongo::database_of(&mongodb.uri));
    let database = chosen.cloned().unwrap_or_else(|| settings.roles.database_of(role, given));
    shop_store::mongo::MongoAccountsOptions::new(mongodb.uri.clone(), database)
}

#[cfg(feature = "mongodb")]
async fn users_in_mongodb(settings: &Settings, mongodb: &MongodbSettings) -> Result<Users> {
    let options = in_database(settings, mongodb, Role::Users, settings.users.database.as_ref());
    let store = shop_store::mongo::MongoUsers::open(options).await.map_err(in_uri)?;
    let name = format!("MongoDB, {}", store.namespace());
    Ok(of_users(store, Box::pin(std::future::ready(())), name))
}

#[cfg(feature = "mongodb")]
async fn orders_in_mongodb(settings: &Settings, mongodb: &MongodbSettings) -> Result<Orders> {
    let options = in_database(settings, mongodb, Role::Orders, settings.orders.database.as_ref());
    let store = shop_store::mongo::MongoOrders::open(options).await.map_err(in_uri)?;
    let name = format!("MongoDB, {}", store.namespace());
    Ok(of_orders(store, Box::pin(std::future::ready(())), name))
}

#[cfg(not(feature = "mongodb"))]
async fn users_in_mongodb(_settings: &Settings, _mongodb: &MongodbSettings) -> Result<Users> {
    Err(Failure::new("this program was built without MongoDB"))
}

#[cfg(not(feature = "mongodb"))]
async fn orders_in_mongodb(_settings: &Settings, _mongodb: &MongodbSettings) -> Result<Orders> {
    Err(Failure::new("this program was built without MongoDB"))
}

#[cfg(not(feature = "mongodb"))]
async fn in_mongodb(_settings: &Settings, _mongodb: &MongodbSettings) -> Result<Store> {
    Err(Failure::new("this program was built without MongoDB"))
}

#[cfg(not(feature = "mongodb"))]
async fn migrate_in(_settings: &Settings, _mongodb: &MongodbSettings) -> Result<()> {
    Err(Failure::new("this program was built without MongoDB"))
}

#[cfg(feature = "embedded")]
fn embedded_options(create: bool) -> shop_store::embedded::EmbeddedStoreOptions {
    let mut options = shop_store::embedded::EmbeddedStoreOptions::default();
    options.create = create;
    options
}

/// Whether a store of users or of orders is made if it is missing: a replay may rebuild it in a fresh one.
#[cfg(feature = "embedded")]
const fn keeps_accounts(settings: &Settings) -> bool {
    settings.creates() || matches!(settings.command, Some(crate::commands::Command::Replay(_)))
}

#[cfg(feature = "embedded")]
async fn embedded(settings: &Settings) -> Result<Store> {
    use shop_store::embedded::EmbeddedStore;

    use super::in_data_dir;

    let options = embedded_options(settings.creates());
    let store = EmbeddedStore::open(&settings.data_dir, options).await.map_err(in_data_dir)?;
    Ok(Store {
        closed: Box::pin(store.closed()),
        query: Arc::new(store.clone()),
        store: Arc::new(store),
        durability: Durability::LocalDisk,
        unreadable: None,
        name: format!("embedded, {}", settings.data_dir.join("store.db").display()),
    })
}

#[cfg(not(feature = "embedded"))]
async fn embedded(_settings: &Settings) -> Result<Store> {
    Err(Failure::new("this program was built without the embedded store"))
}

#[cfg(feature = "embedded")]
async fn embedded_users(settings: &Settings) -> Result<Users> {
    use shop_store::embedded::EmbeddedUsers;

    use super::in_data_dir;

    let options = embedded_options(keeps_accounts(settings));
    let store = EmbeddedUsers::open(&settings.data_dir, options).await.map_err(in_data_dir)?;
    let closed = Box::pin(store.closed());
    Ok(of_users(store, closed, format!("embedded, {}", settings.data_dir.join("users.db").display())))
}

#[cfg(feature = "embedded")]
async fn embedded_orders(settings: &Settings) -> Result<Orders> {
    use shop_store::embedded::EmbeddedOrders;

    use super::in_data_dir;

    let options = embedded_options(keeps_accounts(settings));
    let store = EmbeddedOrders::open(&settings.data_dir, options).await.map_err(in_data_dir)?;
    let closed = Box::pin(store.closed());
    Ok(of_orders(store, closed, format!("embedded, {}", settings.data_dir.join("orders.db").display())))
}

#[cfg(not(feature = "embedded"))]
async fn embedded_users(_settings: &Settings) -> Result<Users> {
    Err(Failure::new("this program was built without the embedded store"))
}

#[cfg(not(feature = "embedded"))]
async fn embedded_orders(_settings: &Settings) -> Result<Orders> {
    Err(Failure::new("this program was built without the embedded store"))
}
