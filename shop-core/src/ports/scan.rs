//! A scan of everything that a store contains, in the order that is cheapest for it.

use std::fmt;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use tokio::time::sleep;

use super::Cursor;
use crate::{Error, Purchase, Result};

/// A part of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ScanBatch {
    /// Stored purchases.
    pub purchases: Vec<Purchase>,
    /// Stored entries that are not purchases.
    pub unreadable: Vec<UnreadableEntry>,
    /// Where the next part begins; `None` at the end. Only the store that returned it can continue there.
    pub next: Option<Cursor>,
}

impl ScanBatch {
    /// A part with these purchases, followed by the one at `next`.
    #[must_use]
    pub const fn new(purchases: Vec<Purchase>, next: Option<Cursor>) -> Self {
        Self {
            purchases,
            unreadable: Vec::new(),
            next,
        }
    }

    /// The same part with these unreadable entries.
    #[must_use]
    pub fn with_unreadable(mut self, unreadable: Vec<UnreadableEntry>) -> Self {
        self.unreadable = unreadable;
        self
    }
}

/// A document or row of a store that is not a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadableEntry {
    /// Its id, as the store's own tools print it, in one line.
    pub id: String,
    /// Why it is not a purchase.
    pub reason: String,
}

impl UnreadableEntry {
    /// The entry with this id.
    #[must_use]
    pub fn new(id: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self {
            id: id.into(),
            reason: reason.to_string(),
        }
    }
}

/// Runs `call` until it succeeds, fails permanently, or has failed for about half a minute.
///
/// # Errors
/// The last error.
pub(crate) async fn retried<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> Result<T> {
    // 10 pauses: 0.1 s to 5 s, and up to twice that with jitter.
    let policy = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100));
    let policy = policy
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(10);
    let warn = |error: &Error, pause| {
        tracing::warn!(error = %error.chain(), ?pause, "a read failed, retrying");
    };
    call.retry(policy)
        .sleep(sleep)
        .when(Error::is_retryable)
        .notify(warn)
        .await
}
