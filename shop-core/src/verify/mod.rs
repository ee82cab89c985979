//! Verifies a store against the whole log: finds missing, duplicate and mismatched purchases, and
//! pending gaps.
//!
//! | Part | Responsibility |
//! |---|---|
//! | `stored` | Scans the store before the log and after: remembers contents, finds duplicates |
//! | `scan` | Scans the log, and looks up the records that the scan of the store did not find |
//! | `report` | The differences that were found, as text and as JSON |
//! | `spot_check` | Looks up a few records before the position of a group, without a whole scan |
//!
//! ```
//! use shop_core::memory::{InMemoryLog, InMemoryStore};
//! use shop_core::verify::verify;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> shop_core::Result<()> {
//! let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
//! let verified = verify(&log, store, None).await?;
//! assert_eq!(verified.to_string(), "nothing verified: no record was ever written to the log");
//! assert!(!verified.has_findings() && !verified.is_clean());
//! # Ok(())
//! # }
//! ```

mod report;
mod scan;
mod spot_check;
mod stored;
#[cfg(test)]
mod verify_test;

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;

use crate::log::{Log, LogExt as _};
use crate::ports::PurchaseQuery;
use crate::record::RecordDecoders;
use crate::{Clock as _, Result, SystemClock, Timestamp, options};

use scan::LogScan;

pub use report::{Findings, UnverifiedRecord, VerifyReport};
pub use spot_check::SpotCheck;

/// Verifies a store against a log, and reports each difference.
///
/// `retention` is the time for which the store keeps purchases, if it
/// [deletes](crate::retention::run_retention) old ones. Older purchases may be stored or not.
///
/// # What is verified
/// - Every record of the log is stored with the same content, or dead-lettered, or its dead letter
///   was resolved, or its purchase was erased or is older than the retention. Otherwise it is
///   [missing](VerifyReport::missing), or [mismatched](VerifyReport::mismatched) if its id is
///   stored with other content.
/// - A scan of the store yields each id once. Other ids are [duplicates](VerifyReport::duplicates).
/// - No [gap](VerifyReport::gaps) is pending: the log kept every record until it was read, or an
///   operator discarded the dead letter of the gap.
/// - The log was not [compacted](VerifyReport::compacted).
///
/// Records that are appended after the scan began are not verified. Earlier records may still be in
/// flight, so records that are not found are looked up again until none appears for 10 seconds. A
/// verification therefore waits for a running pipeline as long as the pipeline makes progress.
///
/// # Cost
/// Calls:
/// - one scan of the log
/// - one scan of the store if it contains up to 3,500,000 purchases, two scans for up to twice as
///   many, four scans for up to four times as many, and so on
/// - one `get` of the store, 32 concurrently, for each record whose purchase the first scan did not
///   keep, and one page more for a record without an id
///
/// Memory:
/// - up to 140 MB for 3,500,000 purchases of the store
/// - about 70 bytes for each of up to 3,500,000 missing purchases
/// - about 70 bytes per dead letter, pending or resolved
/// - one batch of the log, and the purchases of 10,000 records that are looked up again
///
/// # Errors
/// Returns the errors of the log and of the store, unchanged. Transient errors of the store are
/// retried, and returned if they last for about half a minute. Nothing was written; the
/// verification can be repeated.
///
/// # Cancel safety
/// Dropping the future ends the verification without side effects.
pub async fn verify(
    log: &dyn Log,
    store: impl PurchaseQuery,
    retention: Option<Duration>,
) -> Result<VerifyReport> {
    let retained_from = retention.map(|retention| SystemClock.now().saturating_sub(retention));
    let options = VerifyOptions::default().retained_from(retained_from);
    Verify::new(Arc::new(store), options)
        .run(log, |_progress| ())
        .await
}

/// A [`verify`] with options, whose progress can be shown.
#[derive(Debug, Clone)]
pub struct Verify {
    query: Arc<dyn PurchaseQuery>,
    options: VerifyOptions,
    /// Decodes the records of the log.
    decoders: RecordDecoders,
}

options! {
    /// Options of a [`Verify`].
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct VerifyOptions {
        /// The time without progress after which a record that was not found counts as missing
        /// (default 10 s). With zero, records are looked up once more.
        pub quiet_period: Duration = Duration::from_secs(10),
        /// The maximum number of concurrent lookups (default 32); 0 counts as 1.
        pub max_lookups: usize = 32,
        /// The maximum number of records that are kept for another lookup (default 10,000). At this
        /// number the scan pauses until they are found.
        pub max_pending: usize = 10_000,
        /// The approximate maximum number of ids of the store in memory (default 3,500,000: a hash
        /// map that is nearly full, of 140 MB), and of missing ids.
        ///
        /// A purchase that is missing after so many others is counted with each of its records.
        pub dedup_window: usize = 3_500_000,
        /// The maximum number of samples of each kind in the report (default 20). The counts are
        /// complete.
        pub max_reported: usize = 20,
        /// The time before which the store deletes purchases (default none). Earlier purchases may
        /// be stored or not.
        pub retained_from: Option<Timestamp> = None,
        /// Whether records that do not decode are only counted (default false): another
        /// consumer skips them without a dead letter.
        pub skip_undecodable: bool = false,
    }
}

/// The progress of a verification, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyProgress {
    /// The number of records of the log that were scanned.
    pub records: u64,
    /// The number of records that were not found yet and are looked up again.
    pub pending: u64,
    /// The number of purchases of the store that were scanned. A large store is scanned more than
    /// once.
    pub scanned: u64,
}

impl Verify {
    /// Creates a verification of the store behind `query`.
    #[must_use]
    pub fn new(query: Arc<dyn PurchaseQuery>, options: VerifyOptions) -> Self {
        Self {
            query,
            options,
            decoders: RecordDecoders::default(),
        }
    }

    /// Returns this verification with the `decoders` of the records of the log.
    #[must_use]
    pub fn with_decoders(mut self, decoders: RecordDecoders) -> Self {
        self.decoders = decoders;
        self
    }

    /// Scans `log` and its dead letters, and returns the differences between log and store.
    ///
    /// Dead letters are read at the start, and again before any record is reported as missing.
    /// `progress` is called after each batch and page.
    ///
    /// # Errors
    /// Returns the errors of the log and of the store, unchanged. Transient errors of the store are
    /// retried, and returned if they last for about half a minute. Nothing was written; the
    /// verification can be repeated.
    ///
    /// # Cancel safety
    /// Dropping the future ends the verification without side effects.
    pub async fn run(
        &self,
        log: &dyn Log,
        progress: impl Fn(VerifyProgress) + Send + Sync,
    ) -> Result<VerifyReport> {
        // The scan of the log is opened before the store is scanned. Records that are appended
        // later are not verified.
        let mut batches = log.scan_all().await?;
        let mut log_scan = LogScan::begin(self, log, &progress).await?;
        while let Some(batch) = batches.try_next().await? {
            log_scan.verify_batch(&batch).await?;
        }
        let (mut report, stored) = log_scan.finish().await?;

        report.first_offset = log.info().first_offset;
        let records = report.records;
        stored
            .finish(self, &mut report, |scanned| {
                progress(VerifyProgress {
                    records,
                    pending: 0,
                    scanned,
                });
            })
            .await?;
        Ok(report)
    }
}
