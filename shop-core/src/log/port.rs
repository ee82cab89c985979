//! The port of a whole log, [`Log`], and the port that appends records to it, [`LogWriter`].

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::{DeadLetters, LogAdmin, LogRecord, LogSource};
use crate::Result;
use crate::record::Event;

/// One topic of a log, with all its ports, for records of any type.
///
/// [`LogWriter`] appends records, [`LogSource`] reads them as a member of a consumer group,
/// [`DeadLetters`] keeps the records that cannot be processed, and [`LogAdmin`] administers the
/// log.
///
/// Publishing purchases is specific to each adapter: see
/// [`PurchaseSink`](crate::ports::PurchaseSink).
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
/// - All ports share one topic: records of the writer are delivered to every group and scanned by
///   the admin, which also lists the dead letters (`log_admin::the_ports_share_one_topic`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[auto_impl::auto_impl(Arc, Box)]
pub trait Log: Debug + Send + Sync + 'static {
    /// Returns the port that appends records.
    fn writer(&self) -> Arc<dyn LogWriter>;

    /// Creates a new member of the consumer group `group`, which reads records.
    ///
    /// # Errors
    /// - [`Invalid`](crate::ErrorKind::Invalid) if `group` is not a valid group name
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be used
    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>>;

    /// Returns the port that stores dead letters.
    fn dead_letters(&self) -> Arc<dyn DeadLetters>;

    /// Returns the administrative port.
    fn admin(&self) -> Arc<dyn LogAdmin>;
}

/// The port of a log that appends encoded records to one topic.
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
///   (`log_admin::the_ports_share_one_topic`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait LogWriter: Debug + Send + Sync + 'static {
    /// Appends `record` durably. The log assigns offset and timestamp, and ignores the ones in
    /// `record`.
    ///
    /// # Errors
    /// See [`PurchaseSink::publish`](crate::ports::PurchaseSink::publish).
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll does not cancel the append.
    async fn append(&self, record: LogRecord) -> Result<()>;

    /// Checks whether a record can be appended now, without writing one.
    ///
    /// # Errors
    /// The reason why no record can be appended now.
    async fn check(&self) -> Result<()>;
}

/// Publishes typed events with any [`LogWriter`].
///
/// For an example, see [`JsonEvent`](crate::record::JsonEvent).
pub trait LogWriterExt: LogWriter {
    /// Appends `event` durably. The writer must write to the [topic](Event::TOPIC) of the event.
    ///
    /// # Errors
    /// - the errors of [`append`](LogWriter::append)
    /// - [`Internal`](crate::ErrorKind::Internal) if the event cannot be encoded
    ///
    /// # Cancel safety
    /// See [`append`](LogWriter::append).
    fn publish<E: Event>(&self, event: &E) -> impl Future<Output = Result<()>> + Send {
        let record = event.encode();
        async move { self.append(record?).await }
    }
}

impl<T: LogWriter + ?Sized> LogWriterExt for T {}
