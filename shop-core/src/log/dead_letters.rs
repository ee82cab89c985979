//! The dead letter port.

use std::fmt::Debug;

use async_trait::async_trait;

use super::{LogRecord, Partition, Reason};
use crate::Result;

/// Stores records that can never be processed, byte for byte. It belongs to the log, so records can be dead-lettered
/// while the store is unavailable.
///
/// [`LogAdmin`](super::LogAdmin) lists, replays and discards what is put here.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `put` returns `Ok` only when all dead letters are durable, with the original bytes, key and headers
///   (`log::dead_letters_are_byte_identical`).
/// - Putting the same dead letters again is harmless (`log::dead_letters_may_be_put_again`), also when they are resolved
///   (`log_admin::a_resolved_dead_letter_stays_resolved`).
/// - Dead letters are identified by position and time: a gap, and a record at an offset that the log has used again, do
///   not replace another dead letter at their offset (`log_admin::dead_letters_at_one_offset_are_distinct`).
/// - `contains` finds a record whose dead letter was put, also by another process, and is pending or resolved
///   (`log_admin::a_dead_letter_is_found_by_its_record`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait DeadLetters: Debug + Send + Sync + 'static {
    /// Stores all of `dead_letters`. One that is resolved stays resolved, except a gap: it is pending again, because the
    /// same offsets may be lost once more.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached. Some of the dead letters may have
    /// been stored; retrying with all of them is safe.
    async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()>;

    /// Whether there is a dead letter about `record` of `partition`, pending or resolved. Ingest asks before it retries
    /// a stuck record, and continues after one that an operator has parked. The epoch of `partition` is ignored.
    ///
    /// The default returns false: such a log cannot park records.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached.
    async fn contains(&self, record: &LogRecord, partition: &Partition) -> Result<bool> {
        let _unknown = (record, partition);
        Ok(false)
    }

    /// Checks whether dead letters can be put now. Writes nothing.
    ///
    /// # Errors
    /// The reason why not.
    async fn check(&self) -> Result<()>;
}

/// A record that can never be processed, with its position and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The original record.
    pub record: LogRecord,
    /// Its partition.
    pub partition: Partition,
    /// Why it can never be stored.
    pub reason: Reason,
    /// The number of attempts.
    pub attempts: u32,
    /// The version of the program that dead-lettered it.
    pub version: String,
}

impl DeadLetter {
    /// A dead letter about `record`, written by this version after `attempts` attempts.
    #[must_use]
    pub fn new(record: LogRecord, partition: Partition, reason: Reason, attempts: u32) -> Self {
        Self { record, partition, reason, attempts, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}
