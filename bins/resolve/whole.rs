//! The log and the store as an operator's commands need them.

use std::sync::Arc;

use shop_core::Purchase;
use shop_core::log::{LogAdmin, RecordType};
use shop_core::orders::Order;
use shop_core::ports::{PurchaseQuery, RecordStore};
use shop_core::record::Record;
use shop_core::users::User;

use super::Closed;
use super::log::{self, Topic};
use super::store::{self, AccountStore};
use crate::Failure;
use crate::settings::Settings;

/// What was opened for a command.
pub(crate) struct Opened<T: ?Sized> {
    pub(crate) port: Arc<T>,
    name: String,
    closed: Closed,
}

impl<T: ?Sized + Send + Sync> Opened<T> {
    /// Drops it, and waits until it is closed; answers its name.
    pub(crate) async fn close(self) -> String {
        let Self { port, name, closed } = self;
        drop(port);
        closed.await;
        name
    }
}

/// The log that the settings ask for, that of the purchases or of the events in `topic`, and the type of its records.
///
/// # Errors
/// When the settings name no such topic, or there is none.
pub(crate) async fn log_admin(
    settings: &Settings,
    topic: Option<&str>,
) -> crate::Result<(Opened<dyn LogAdmin>, RecordType)> {
    let events = [&settings.users.topic, &settings.orders.topic];
    let (topic, of) = match topic {
        None => (Topic::Purchases, Purchase::TYPE),
        Some(topic) if *topic == settings.topic => (Topic::Purchases, Purchase::TYPE),
        Some(topic) if *topic == settings.users.topic => (Topic::Events(topic), User::TYPE),
        Some(topic) if *topic == settings.orders.topic => (Topic::Events(topic), Order::TYPE),
        Some(topic) => {
            let [users, orders] = events;
            let known = format!("choose {}, {users} or {orders}", settings.topic);
            return Err(Failure::new(format!("--topic: nothing is known of {topic:?}: {known}")).usage());
        }
    };
    let log = log::open(settings, topic).await?;
    Ok((Opened { port: log.admin, name: log.name, closed: log.closed }, of))
}

/// The way out of the store that the settings ask for.
pub(crate) async fn query(settings: &Settings) -> crate::Result<Opened<dyn PurchaseQuery>> {
    let store = store::open(settings).await?;
    Ok(Opened { port: store.query, name: store.name, closed: store.closed })
}

/// A topic of events as a whole, and who keeps what they say.
pub(crate) struct Projection<R> {
    pub(crate) log: Opened<dyn LogAdmin>,
    pub(crate) store: Opened<dyn RecordStore<R>>,
}

/// What users hear of orders.
pub(crate) async fn users_projection(settings: &Settings) -> crate::Result<Projection<Order>> {
    open_projection(settings, &settings.orders.topic, store::users(settings)).await
}

/// What orders hear of users.
pub(crate) async fn orders_projection(settings: &Settings) -> crate::Result<Projection<User>> {
    open_projection(settings, &settings.users.topic, store::orders(settings)).await
}

/// Opens the log first: without one, no store is created.
async fn open_projection<S: ?Sized, R>(
    settings: &Settings,
    topic: &str,
    opening: impl Future<Output = crate::Result<AccountStore<S, R>>> + Send,
) -> crate::Result<Projection<R>> {
    let (log, _) = log_admin(settings, Some(topic)).await?;
    let store =
        opening.await.map(|store| Opened { port: store.projection, name: store.name, closed: store.closed });
    match store {
        Ok(store) => Ok(Projection { log, store }),
        Err(failure) => {
            log.close().await;
            Err(failure)
        }
    }
}
