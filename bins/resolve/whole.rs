//! The log and the store as an operator's commands need them.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use shop_core::Result;
use shop_core::log::{Batch, DeadLetter, DeadLetterState};
use shop_core::orders::Order;
use shop_core::ports::{PurchaseQuery, RecordStore};
use shop_core::users::User;

use super::Closed;
use super::log::{self, Topic};
use super::store::{self, AccountStore};
use crate::Failure;
use crate::settings::Settings;

/// A log as a whole, from outside of any group.
#[async_trait]
pub(crate) trait WholeLog: Send + Sync {
    /// All records that it holds now.
    async fn records(&self) -> Result<BoxStream<'static, Result<Batch>>>;

    /// The offset of the first record that is ever written to a partition.
    fn origin(&self) -> u64;

    /// All that it has put aside by now.
    async fn put_aside(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>>;

    /// Publishes the records of `letters` again, and keeps these no longer.
    async fn replay(&self, letters: &[DeadLetter]) -> Result<u64>;

    /// Keeps `letters` no longer.
    async fn discard(&self, letters: &[DeadLetter]) -> Result<u64>;
}

/// The same of each adapter: their streams are types of their own.
#[cfg(any(feature = "embedded", feature = "kafka"))]
macro_rules! whole_log {
    ($log:ty, $origin:literal) => {
        #[async_trait]
        impl WholeLog for $log {
            async fn records(&self) -> Result<BoxStream<'static, Result<Batch>>> {
                Ok(Box::pin(Self::records(self).await?))
            }

            fn origin(&self) -> u64 {
                $origin
            }

            async fn put_aside(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
                Ok(Box::pin(self.dead_letters().put_aside().await?))
            }

            async fn replay(&self, letters: &[DeadLetter]) -> Result<u64> {
                self.dead_letters().replay(letters).await
            }

            async fn discard(&self, letters: &[DeadLetter]) -> Result<u64> {
                self.dead_letters().discard(letters).await
            }
        }
    };
}

#[cfg(feature = "embedded")]
whole_log!(shop_store::embedded::EmbeddedLog, 1);
#[cfg(feature = "kafka")]
whole_log!(shop_kafka::KafkaLog, 0);

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

/// The log that the settings ask for: that of the purchases, or of the events in `topic`.
///
/// # Errors
/// When the settings name no such topic, or there is none.
pub(crate) async fn whole_log(
    settings: &Settings,
    topic: Option<&str>,
) -> crate::Result<Opened<dyn WholeLog>> {
    let events = [&settings.users.topic, &settings.orders.topic];
    let topic = match topic {
        None => Topic::Purchases,
        Some(topic) if *topic == settings.topic => Topic::Purchases,
        Some(topic) if events.into_iter().any(|known| known == topic) => Topic::Events(topic),
        Some(topic) => {
            let [users, orders] = events;
            let known = format!("choose {}, {users} or {orders}", settings.topic);
            return Err(Failure::new(format!("--topic: nothing is known of {topic:?}: {known}")).usage());
        }
    };
    let log = log::open(settings, topic).await?;
    Ok(Opened { port: log.whole, name: log.name, closed: log.closed })
}

/// The way out of the store that the settings ask for.
pub(crate) async fn query(settings: &Settings) -> crate::Result<Opened<dyn PurchaseQuery>> {
    let store = store::open(settings).await?;
    Ok(Opened { port: store.query, name: store.name, closed: store.closed })
}

/// A topic of events as a whole, and who keeps what they say.
pub(crate) struct Heard<R> {
    pub(crate) log: Opened<dyn WholeLog>,
    pub(crate) store: Opened<dyn RecordStore<R>>,
}

/// What users hear of orders.
pub(crate) async fn heard_by_users(settings: &Settings) -> crate::Result<Heard<Order>> {
    heard(settings, &settings.orders.topic, store::users(settings)).await
}

/// What orders hear of users.
pub(crate) async fn heard_by_orders(settings: &Settings) -> crate::Result<Heard<User>> {
    heard(settings, &settings.users.topic, store::orders(settings)).await
}

/// Opens the log first: without one, no store is created.
async fn heard<S: ?Sized, R>(
    settings: &Settings,
    topic: &str,
    opening: impl Future<Output = crate::Result<AccountStore<S, R>>> + Send,
) -> crate::Result<Heard<R>> {
    let log = whole_log(settings, Some(topic)).await?;
    let store =
        opening.await.map(|store| Opened { port: store.heard, name: store.name, closed: store.closed });
    match store {
        Ok(store) => Ok(Heard { log, store }),
        Err(failure) => {
            log.close().await;
            Err(failure)
        }
    }
}
