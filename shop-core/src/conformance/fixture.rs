//! What a test needs of the implementation that it proves.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use crate::log::{DeadLetter, DeadLetters, Log, LogAdminExt, LogRecord, LogSource};
use crate::ports::{PurchaseQuery, PurchaseSink, PurchaseStore};

/// The most records of a batch that the sources of a [`LogFixture`] hand out: small, so that few records make
/// several batches.
pub const BATCH_RECORDS: usize = 10;

/// The bytes at which a batch of these sources ends: so many that short records do not reach them.
pub const BATCH_BYTES: usize = 64 << 10;

/// A log that nobody else uses.
#[async_trait]
pub trait LogFixture: Debug + Send + Sync {
    /// What the log can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// The log, whose sources hand out at most [`BATCH_RECORDS`] records a batch, and end one at [`BATCH_BYTES`].
    fn log(&self) -> Arc<dyn Log>;

    /// A writer of purchases.
    async fn sink(&self) -> Arc<dyn PurchaseSink>;

    /// A new member of `group`.
    async fn source(&self, group: &str) -> Arc<dyn LogSource> {
        self.log().source(group).expect("a source")
    }

    /// Where the log keeps its dead letters.
    async fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        self.log().dead_letters()
    }

    /// All dead letters that are pending.
    async fn pending_dead_letters(&self) -> Vec<DeadLetter> {
        self.log().admin().pending_dead_letters().await.expect("the dead letters")
    }

    /// Appends a record as another producer might have written it; offset and time are the log's. Not called
    /// unless [`Capabilities::foreign_records`] is set.
    async fn append(&self, record: LogRecord) {
        self.log().writer().append(record).await.expect("append");
    }
}

/// A store that nobody else uses, and the way to read it.
#[async_trait]
pub trait StoreFixture: Debug + Send + Sync {
    /// What the store can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// The way in.
    async fn store(&self) -> Arc<dyn PurchaseStore>;

    /// The way out.
    async fn query(&self) -> Arc<dyn PurchaseQuery>;
}

/// What a backend can do beyond what all must. Everything, unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Partitions move between the members of a group while both live. A log that is read by one member at a
    /// time, as long as that member lives, has nothing to revoke.
    pub revokes: bool,
    /// Records can be appended as other producers write them.
    pub foreign_records: bool,
    /// Purchases can have the id of an old document.
    pub object_ids: bool,
    /// Everybody's purchases are listed and summed up. A query that does not do so answers
    /// [`Denied`](crate::ErrorKind::Denied).
    pub lists_everybody: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { revokes: true, foreign_records: true, object_ids: true, lists_everybody: true }
    }
}

impl Capabilities {
    /// The same, but partitions stay with a member until it leaves.
    #[must_use]
    pub const fn without_revocations(mut self) -> Self {
        self.revokes = false;
        self
    }

    /// The same, but nobody else writes into the log.
    #[must_use]
    pub const fn without_foreign_records(mut self) -> Self {
        self.foreign_records = false;
        self
    }

    /// The same, but every id is a UUID.
    #[must_use]
    pub const fn without_object_ids(mut self) -> Self {
        self.object_ids = false;
        self
    }

    /// The same, but everybody's purchases are denied.
    #[must_use]
    pub const fn without_listing_everybody(mut self) -> Self {
        self.lists_everybody = false;
        self
    }
}

/// Says that a promise is not asked for, because the backend has declared that it cannot be kept.
pub(super) fn declared(can: bool, what: &str) -> bool {
    if !can {
        eprintln!("not asked for: this backend has declared that it has no {what}");
    }
    can
}

/// Long enough for any backend on a busy machine; only a broken promise takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The result of `future`, which must come.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(result) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what}: did not happen within {PATIENCE:?}")
    };
    result
}

/// Waits until `source` is so many records behind: some logs learn of it only now and then.
pub(super) async fn lag_of(source: &dyn LogSource, records: u64) {
    while !source.lag().await.is_ok_and(|lag| lag.total() == records) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Polls `future` once and leaves it where it is.
pub(super) async fn poll_once<F: Future + Unpin + Send>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

/// Runs a case, which must come to its end: one that does not would end the whole run without its name.
#[doc(hidden)]
pub async fn limited(name: &str, case: impl Future<Output = ()>) {
    const LIMIT: Duration = Duration::from_secs(300);
    assert!(tokio::time::timeout(LIMIT, case).await.is_ok(), "{name}: not over within {LIMIT:?}");
}

/// Says that a test is skipped, as there is no `server`, and why.
///
/// # Panics
/// When `required`, names with commas between them, has the server's: then a skip is a failure.
pub fn skip(server: &str, required: Option<&str>, why: &str) {
    let is_required = required.is_some_and(|names| names.split(',').any(|name| name.trim() == server));
    assert!(!is_required, "a test needs {server}, but {why}");
    eprintln!("skipped: {why}");
}
