//! Verifies a store against the whole log: finds missing, duplicate and mismatched purchases, and
//! pending gaps.
//!
//! | Part | Responsibility |
//! |---|---|
//! | `stored` | Scans the store before the log: remembers purchases, finds duplicates |
//! | `fingerprint` | The 16 bytes by which a purchase is remembered |
//! | `scan` | Scans the log, and waits for the records that the scan of the store did not find |
//! | `lookup` | Looks up one such record in the store |
//! | `dead_letters` | The dead letters of the log, pending and resolved |
//! | `bounds` | The offsets of the log that no scan yields: compacted, or in open transactions |
//! | `progress` | How far the verification is, and how much time remains |
//! | `report` | The differences that were found, as text and as JSON |
//! | `spot_check` | Looks up a few records before the position of a group, without a whole scan |
//!
//! # Cost
//!
//! A verification scans the store once and the log once, if the store contains up to 10,500,000
//! purchases. A larger store takes several passes, each of which scans both: two passes for up to
//! about twice as many purchases, and so on.
//!
//! A record whose purchase the scan of the store did not find is looked up: by one `get`, and by one
//! page of a listing if the record has no id. At most 32 records are looked up concurrently.
//!
//! The memory is the sum of these parts:
//!
//! - about 20 bytes for each purchase of the store that one pass remembers: 16 bytes, and what the
//!   allocator leaves unused. 10,500,000 purchases take up to 210 MB.
//! - about 20 bytes for each missing purchase, with the same limit
//! - about 70 bytes per dead letter, pending or resolved
//! - one batch of the log, and the purchases of 10,000 records that are looked up again
//!
//! # Accuracy
//!
//! A purchase is remembered by hashes of its id and of its content, in 16 bytes. Among 10,000,000
//! purchases, two ids have the same hash in one of 100,000,000 verifications. Then a stored purchase
//! may be reported as a duplicate, or a missing purchase may be overlooked. The hashes have another
//! random key in each verification, so the next one does not repeat the error, and no client can
//! construct purchases with the same hash.
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

mod bounds;
mod dead_letters;
mod fingerprint;
#[cfg(test)]
mod fixture;
mod lookup;
#[cfg(test)]
mod passes_test;
mod progress;
mod report;
mod scan;
mod spot_check;
mod stored;
#[cfg(test)]
mod verify_test;

use std::sync::Arc;
use std::time::Duration;

use crate::log::{Log, Offsets, ScanEnd};
use crate::ports::PurchaseQuery;
use crate::record::RecordDecoders;
use crate::{Clock as _, Result, SystemClock, Timestamp, options};

use scan::LogVerifier;

pub use progress::VerifyProgress;
pub use report::{Findings, UnverifiedRecord, VerifyReport};
pub use spot_check::SpotCheck;

/// Verifies a store against a log, and reports each difference.
///
/// `retention` is the time for which the store keeps purchases, if it
/// [deletes](crate::retention::run_retention) old ones. Older purchases may be stored or not.
///
/// # What is verified
/// - Every record of the log is accounted for: it is stored with the same content, or dead-lettered,
///   or its dead letter was resolved, or its purchase was erased or is older than the retention. A
///   record whose id is stored with other content is [mismatched](VerifyReport::mismatched). Any
///   other record is [missing](VerifyReport::missing).
/// - The scan of the store yields each id once. An id that it yields again is a
///   [duplicate](VerifyReport::duplicates).
/// - No [gap](VerifyReport::gaps) is pending: the log kept every record until it was read, or an
///   operator discarded the dead letter of the gap.
/// - The log was not [compacted](VerifyReport::compacted).
///
/// Records that are appended after the scan began are not verified. Records that a pipeline is still
/// storing are looked up again, until none of them appears in the store for 10 seconds.
///
/// The [module](self) says what a verification costs, and how often it errs.
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
        /// The approximate maximum number of purchases of the store in memory (default 10,500,000:
        /// up to 210 MB), and of missing ids.
        ///
        /// The purchases of a larger store are verified in several passes over the log and the
        /// store. A purchase that is missing after so many others of one pass is counted with each
        /// of its records.
        pub dedup_window: usize = 10_500_000,
        /// The number of purchases that the store is expected to contain (default none). The
        /// [progress](VerifyProgress::remaining) estimates the remaining time by this number until
        /// the store was scanned.
        pub expected_purchases: Option<u64> = None,
        /// The maximum number of samples of each kind in the report (default 20). The counts are
        /// complete.
        pub max_reported: usize = 20,
        /// The time before which the store deletes purchases (default none), when the verification
        /// begins. Earlier purchases may be stored or not. The time advances with the clock.
        pub retained_from: Option<Timestamp> = None,
        /// Whether records that do not decode are only counted (default false): another
        /// consumer skips them without a dead letter.
        pub skip_undecodable: bool = false,
    }
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
        let mut log_scan = log.scan(&Offsets::new(), ScanEnd::Current).await?;
        let mut verifier = LogVerifier::begin(self, log, &progress).await?;
        while verifier.run_pass(log_scan).await? {
            log_scan = log.scan(&Offsets::new(), ScanEnd::Current).await?;
        }
        verifier.finish().await
    }
}
