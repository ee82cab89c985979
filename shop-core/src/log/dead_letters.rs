//! Where records go that can never be stored.

use std::fmt::Debug;

use async_trait::async_trait;

use super::{LogRecord, Partition, Reason};
use crate::Result;

/// Keeps records that can never be stored, byte for byte. The log's side owns it, so that a store that is
/// unavailable does not keep a bad record from being dead-lettered.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - `put` answers `Ok` only when all letters are durable, with the bytes, key and headers that the record had
///   (`log::dead_letters_are_byte_identical`).
/// - Putting the same letters again is harmless (`log::dead_letters_may_be_put_again`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait DeadLetters: Debug + Send + Sync + 'static {
    /// Keeps all of `letters`.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached. Some of the letters may
    /// be kept all the same; putting all again is safe.
    async fn put(&self, letters: &[DeadLetter]) -> Result<()>;

    /// Whether a put has a chance now. Writes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<()>;
}

/// A record that can never be stored, with where it stood and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The record as it stood in the log.
    pub record: LogRecord,
    /// Its partition.
    pub partition: Partition,
    /// Why it can never be stored.
    pub reason: Reason,
    /// How often it was tried.
    pub attempts: u32,
    /// The version of the program that gave it up.
    pub version: String,
}

impl DeadLetter {
    /// A letter about `record`, given up by this version after `attempts` attempts.
    #[must_use]
    pub fn new(record: LogRecord, partition: Partition, reason: Reason, attempts: u32) -> Self {
        Self { record, partition, reason, attempts, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}
