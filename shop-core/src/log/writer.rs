//! The writing end of a log, for records of any kind.

use std::fmt::Debug;

use async_trait::async_trait;

use super::LogRecord;
use crate::Result;

/// The writing end of a topic, for records that are encoded already.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - `append` returns `Ok` only when the record is durable, with its key, headers and value
///   (`log_admin::appended_records_are_kept_as_given`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait LogWriter: Debug + Send + Sync + 'static {
    /// Makes a record durable. The log sets its offset and time.
    ///
    /// # Errors
    /// As [`PurchaseSink::publish`](crate::ports::PurchaseSink::publish).
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll does not take the record back.
    async fn append(&self, record: LogRecord) -> Result<()>;

    /// Whether an append has a chance now. Writes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<()>;
}
