//! The whole log against the store: is anything missing, is anything there twice?
//!
//! ```
//! use std::sync::Arc;
//!
//! use shop_core::memory::{InMemoryLog, InMemoryStore};
//! use shop_core::verify::{Verify, VerifyOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> shop_core::Result<()> {
//! let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
//!
//! let verify = Verify::new(Arc::new(store), VerifyOptions::default());
//! let verified = verify.run(&log, |_progress| ()).await?;
//! assert!(verified.is_clean());
//! assert_eq!(verified.to_string(), "missing 0, twice 0, dead-lettered 0");
//! # Ok(())
//! # }
//! ```

mod dead_letters;
mod duplicates;
mod scan;
#[cfg(test)]
mod verify_test;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;

use crate::log::{LogAdmin, RecordPosition};
use crate::ports::PurchaseQuery;
use crate::{PurchaseId, Result};

use scan::LogScan;

/// Holds a store to what a log says.
///
/// # What it asks
/// - Of every record of the log, whether its purchase is stored with the same content, its letter is kept among the
///   dead letters, or its letter was settled by hand. A record of which nothing is true is
///   [missing](VerifyReport::missing); one whose id is stored with other content, though, is
///   [differing](VerifyReport::differing).
/// - Of the store, whether a scan yields an id [twice](VerifyReport::twice). While documents are migrated, which moves
///   them, an id may be met twice that is there once.
///
/// What was published after the walk began is not looked at. A record that was published before may still be on its
/// way: what is not found is looked for again until nothing more of it has turned up for
/// [`wait`](VerifyOptions::wait), so that a pipeline that runs is waited for as long as it gets on.
///
/// # What it costs
/// Time: one `get` of the store for each record, [`lookups`](VerifyOptions::lookups) at a time, and one scan of the
/// store if it has up to [`dedup_window`](VerifyOptions::ids_at_once) purchases; two with up to twice as many, four with
/// up to four times as many, and so on. Memory: the ids of that many purchases and of all letters, kept or settled, at
/// some 30 bytes each; one batch of the log; the purchases of [`pending`](VerifyOptions::pending) records.
#[derive(Debug, Clone)]
pub struct Verify {
    query: Arc<dyn PurchaseQuery>,
    options: VerifyOptions,
}

/// How a [`Verify`] works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// How long nothing more turns up before what was not found is missing, 10 s unless chosen. It is looked for
    /// again once even if this is zero.
    pub quiet_period: Duration,
    /// How many lookups are under way at a time, 32 unless chosen; 0 counts as 1.
    pub max_lookups: usize,
    /// The most records that are not found yet and waited for together, 10,000 unless chosen: with more the walk
    /// pauses for them.
    pub pending: usize,
    /// About the most ids of the store that are remembered at a time, 2,000,000 unless chosen.
    pub dedup_window: usize,
    /// The most findings of each kind that are named, 20 unless chosen; the others are counted.
    pub named: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            quiet_period: Duration::from_secs(10),
            max_lookups: 32,
            pending: 10_000,
            dedup_window: 2_000_000,
            named: 20,
        }
    }
}

/// How far a verification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The records of the log that were looked at.
    pub records: u64,
    /// Those of them that were not found yet, and are looked for again.
    pub waiting: u64,
    /// The purchases of the store that were scanned; some more than once in a large store.
    pub scanned: u64,
}

/// What a verification has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The records of the log that were looked at.
    pub records: u64,
    /// Of each topic and partition, the first offset that the log still had. What was before it was not looked at. A
    /// partition without records is not listed.
    pub first_offsets: BTreeMap<(String, u32), u64>,
    /// The purchases of the store.
    pub purchases: u64,
    /// Records whose letters are kept among the dead letters.
    pub dead_lettered: u64,
    /// Of those, the ones whose id another purchase has: clients have sent them under a key that was used before.
    pub conflicts: u64,
    /// Records whose letters were replayed or dropped. What was replayed stands in the log once more, and is held to
    /// the same there.
    pub resolved: u64,
    /// Records that are nowhere.
    pub missing: Findings<UnverifiedRecord>,
    /// Records whose id is stored with other content, and that are no dead letters.
    pub mismatched: Findings<UnverifiedRecord>,
    /// Ids that the store has more than once.
    pub duplicates: Findings<PurchaseId>,
}

impl VerifyReport {
    /// Whether nothing is missing, nothing is there twice, and nothing is stored with other content.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.missing.count == 0 && self.mismatched.count == 0 && self.duplicates.count == 0
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { missing, duplicates: twice, dead_lettered, .. } = self;
        write!(f, "missing {}, twice {}, dead-lettered {dead_lettered}", missing.count, twice.count)
    }
}

/// How many there are, and which, as far as they are to be named.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Findings<T> {
    /// All of them.
    pub count: u64,
    /// The first of them.
    pub named: Vec<T>,
}

impl<T> Default for Findings<T> {
    fn default() -> Self {
        Self { count: 0, named: Vec::new() }
    }
}

impl<T> Findings<T> {
    fn add(&mut self, finding: T, most: usize) {
        self.count += 1;
        if self.named.len() < most {
            self.named.push(finding);
        }
    }
}

/// A record that the store does not account for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnverifiedRecord {
    /// The id of its purchase; its own, if it is no purchase.
    pub id: PurchaseId,
    /// Where it stands.
    pub position: RecordPosition,
}

impl Verify {
    /// Holds the store behind `query` to logs.
    #[must_use]
    pub const fn new(query: Arc<dyn PurchaseQuery>, options: VerifyOptions) -> Self {
        Self { query, options }
    }

    /// Scans `log` and its dead letters; the latter are read at the beginning, and again before anything is called
    /// missing. `progress` is called after each batch and page.
    ///
    /// # Errors
    /// Those of the log and of the store, as they are. Nothing was changed; the verification may be started again.
    ///
    /// # Cancel safety
    /// Dropping the future ends the verification and leaves nothing behind.
    pub async fn run(
        &self,
        log: &dyn LogAdmin,
        progress: impl Fn(VerifyProgress) + Send + Sync,
    ) -> Result<VerifyReport> {
        let mut batches = log.scan().await?;
        let mut walk = LogScan::begin(self, log, &progress).await?;
        while let Some(batch) = batches.try_next().await? {
            walk.batch(&batch).await?;
        }
        let mut verified = walk.end().await?;
        let records = verified.records;
        let scanned = |scanned| progress(VerifyProgress { records, waiting: 0, scanned });
        (verified.purchases, verified.duplicates) =
            duplicates::scan(&self.query, &self.options, scanned).await?;
        Ok(verified)
    }
}
