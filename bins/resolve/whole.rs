//! The log and the store as an operator's commands need them.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use shop_core::Result;
use shop_core::letters::PutAside;
use shop_core::ports::{Batch, DeadLetter, PurchaseQuery};

use super::{Closed, log, store};
use crate::settings::Settings;

/// A log as a whole, from outside of any group.
#[async_trait]
pub(crate) trait WholeLog: Send + Sync {
    /// All records that it holds now.
    async fn records(&self) -> Result<BoxStream<'static, Result<Batch>>>;

    /// All that it has put aside by now.
    async fn put_aside(&self) -> Result<BoxStream<'static, Result<PutAside>>>;

    /// Publishes the records of `letters` again, and keeps these no longer.
    async fn replay(&self, letters: &[DeadLetter]) -> Result<u64>;

    /// Keeps `letters` no longer.
    async fn discard(&self, letters: &[DeadLetter]) -> Result<u64>;
}

/// The same of each adapter: their streams are types of their own.
#[cfg(any(feature = "embedded", feature = "kafka"))]
macro_rules! whole_log {
    ($log:ty) => {
        #[async_trait]
        impl WholeLog for $log {
            async fn records(&self) -> Result<BoxStream<'static, Result<Batch>>> {
                Ok(Box::pin(Self::records(self).await?))
            }

            async fn put_aside(&self) -> Result<BoxStream<'static, Result<PutAside>>> {
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
whole_log!(shop_store::embedded::EmbeddedLog);
#[cfg(feature = "kafka")]
whole_log!(shop_kafka::KafkaLog);

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

/// The log that the settings ask for.
pub(crate) async fn whole_log(settings: &Settings) -> crate::Result<Opened<dyn WholeLog>> {
    let log = log::open(settings).await?;
    Ok(Opened { port: log.whole, name: log.name, closed: log.closed })
}

/// The way out of the store that the settings ask for.
pub(crate) async fn query(settings: &Settings) -> crate::Result<Opened<dyn PurchaseQuery>> {
    let store = store::open(settings).await?;
    Ok(Opened { port: store.query, name: store.name, closed: store.closed })
}
