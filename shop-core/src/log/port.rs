//! A log as one value.

use std::fmt::Debug;
use std::sync::Arc;

use super::{DeadLetters, LogAdmin, LogSource, LogWriter};
use crate::Result;

/// One topic of a log, with all of its ports. Records of any type use the same ones.
///
/// How purchases are published is an adapter's own matter: see [`PurchaseSink`](crate::ports::PurchaseSink).
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - All ports are of the same topic: what the writer appends, sources of every group deliver and the admin scans;
///   what is put among the dead letters, the admin lists (`log_admin::the_ports_share_one_topic`).
#[cfg_attr(feature = "mock", mockall::automock)]
pub trait Log: Debug + Send + Sync + 'static {
    /// The writing end.
    fn writer(&self) -> Arc<dyn LogWriter>;

    /// A new member of the consumer group `group`.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when this cannot be the name of a group,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be used.
    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>>;

    /// Where records go that can never be stored.
    fn dead_letters(&self) -> Arc<dyn DeadLetters>;

    /// The log as its operators see it.
    fn admin(&self) -> Arc<dyn LogAdmin>;
}
