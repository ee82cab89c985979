//! A log with all of its ports.

use std::fmt::Debug;
use std::sync::Arc;

use super::{DeadLetters, LogAdmin, LogSource, LogWriter};
use crate::Result;

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
