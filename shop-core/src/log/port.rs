//! A log with all of its ports, and the one that appends records.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::{DeadLetters, LogAdmin, LogRecord, LogSource};
use crate::Result;
use crate::record::Event;

/// One topic of a log, with all of its ports, for records of any type.
///
/// Publishing purchases is specific to each adapter: see [`PurchaseSink`](crate::ports::PurchaseSink).
///
/// ```
/// use shop_core::log::Log;
/// use shop_core::memory::InMemoryLog;
///
/// # fn main() -> shop_core::Result<()> {
/// let log: Box<dyn Log> = Box::new(InMemoryLog::default());
/// let (source, dead_letters) = (log.source("purchase-group")?, log.dead_letters());
/// # Ok(())
/// # }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - All ports share one topic: records of the writer are delivered to every group and scanned by the admin, which also
///   lists the dead letters (`log_admin::the_ports_share_one_topic`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[auto_impl::auto_impl(Arc, Box)]
pub trait Log: Debug + Send + Sync + 'static {
    /// The writer.
    fn writer(&self) -> Arc<dyn LogWriter>;

    /// A new member of the consumer group `group`.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when `group` is not a valid group name,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be used.
    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>>;

    /// The dead letters.
    fn dead_letters(&self) -> Arc<dyn DeadLetters>;

    /// The administrative port.
    fn admin(&self) -> Arc<dyn LogAdmin>;
}

/// Appends encoded records to a topic.
///
/// ```
/// use shop_core::Timestamp;
/// use shop_core::log::{Log, LogRecord, LogWriter};
/// use shop_core::memory::InMemoryLog;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// let writer = InMemoryLog::default().writer();
/// // The log assigns offset and timestamp.
/// let record = LogRecord::new(0, Timestamp::MIN, Some("value".into())).with_key(Some("key".into()));
/// writer.append(record).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `append` returns `Ok` only when the record is durable, with its key, headers and value
///   (`log_admin::appended_records_are_unchanged`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait LogWriter: Debug + Send + Sync + 'static {
    /// Appends a record durably. The log assigns offset and timestamp.
    ///
    /// # Errors
    /// As [`PurchaseSink::publish`](crate::ports::PurchaseSink::publish).
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll does not cancel the append.
    async fn append(&self, record: LogRecord) -> Result<()>;

    /// Checks whether a record can be appended now. Writes nothing.
    ///
    /// # Errors
    /// The reason why not.
    async fn check(&self) -> Result<()>;
}

/// Publishes typed events with any [`LogWriter`].
///
/// [`JsonEvent`](crate::record::JsonEvent) has an example.
pub trait LogWriterExt: LogWriter {
    /// Appends `event` durably. The writer must be that of the event's [topic](Event::TOPIC).
    ///
    /// # Errors
    /// As [`append`](LogWriter::append), and [`Internal`](crate::ErrorKind::Internal) when the event cannot be encoded.
    ///
    /// # Cancel safety
    /// As [`append`](LogWriter::append).
    fn publish<E: Event>(&self, event: &E) -> impl Future<Output = Result<()>> + Send {
        let record = event.encode();
        async move { self.append(record?).await }
    }
}

impl<T: LogWriter + ?Sized> LogWriterExt for T {}
