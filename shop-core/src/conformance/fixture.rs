//! Fixtures: what a test needs from the implementation under test.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::log::{DeadLetter, Log, LogExt, LogSource, RecordPosition};
use crate::ports::{PurchaseQuery, PurchaseSink, PurchaseStore};
use crate::{Error, ErrorKind, Outcome};

/// The maximum number of records in a batch of a [`LogFixture`]'s sources: small, so that few
/// records make several batches.
pub const BATCH_RECORDS: usize = 10;

/// The size in bytes at which a batch of these sources ends: short records do not reach it.
pub const BATCH_BYTES: usize = 64 << 10;

/// A fresh log.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `LogFixture`",
    note = "implement it for a type that returns your log and a sink on it: the methods `log` and `sink`"
)]
#[async_trait]
pub trait LogFixture: Debug + Send + Sync {
    /// The capabilities of the log.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// The log, whose sources limit batches to [`BATCH_RECORDS`] and [`BATCH_BYTES`].
    fn log(&self) -> Arc<dyn Log>;

    /// A publisher of purchases.
    async fn sink(&self) -> Arc<dyn PurchaseSink>;

    /// The name in the log of the test's group `name`.
    fn group(&self, name: &str) -> String {
        name.to_owned()
    }

    /// A new member of the test's group `name`.
    async fn source(&self, name: &str) -> Arc<dyn LogSource> {
        self.log().source(&self.group(name)).expect("a source")
    }

    /// All pending dead letters.
    async fn pending_dead_letters(&self) -> Vec<DeadLetter> {
        self.log()
            .pending_dead_letters()
            .await
            .expect("the dead letters")
    }

    /// Deletes all records of a partition before `position`, as retention does, whether or not a
    /// group has read them. Only called if [`Capabilities::deletes_records`] is set.
    async fn delete_before(&self, position: &RecordPosition) {
        panic!(
            "this fixture does not delete the records before {position}: declare it in its capabilities"
        );
    }
}

/// A fresh store, and the way to read it. A store that is both ports and `Clone` is one; implement
/// it for others, and where capabilities are missing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `StoreFixture`",
    note = "a store is one that implements `RecordStore<Purchase>`, `PurchaseQuery` and `Clone`",
    note = "or implement it for a type that returns the two ports: the methods `store` and `query`"
)]
#[async_trait]
pub trait StoreFixture: Debug + Send + Sync {
    /// The capabilities of the store.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// The writing port.
    async fn store(&self) -> Arc<dyn PurchaseStore>;

    /// The reading port.
    async fn query(&self) -> Arc<dyn PurchaseQuery>;

    /// The same store, as the next process opens it, best after the end of a process that did not
    /// close it. `None`, the default, skips the test of it: nothing can be opened again.
    async fn reopen(&self) -> Option<Box<dyn StoreFixture>> {
        None
    }

    /// Holds back what makes later writes durable, such as their copy on another server, so that
    /// [`fail_over`](Self::fail_over) takes them away. The store may show such a write, or not.
    ///
    /// Returns whether the fixture can do that. `false`, the default, skips the test of it.
    async fn hold_back_writes(&self) -> bool {
        false
    }

    /// Replaces the store by a copy that has what was durable, as the promotion of a standby does.
    /// Only called after [`hold_back_writes`](Self::hold_back_writes) has returned `true`.
    async fn fail_over(&self) {
        panic!("this fixture holds back writes, and has no fail-over");
    }
}

#[async_trait]
impl<S: PurchaseStore + PurchaseQuery + Clone> StoreFixture for S {
    async fn store(&self) -> Arc<dyn PurchaseStore> {
        Arc::new(self.clone())
    }

    async fn query(&self) -> Arc<dyn PurchaseQuery> {
        Arc::new(self.clone())
    }
}

/// The optional capabilities of a backend. All are supported by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Partitions move between live members of a group. A log with one active consumer per group
    /// has nothing to revoke.
    pub revokes: bool,
    /// The broker accepts the commits of a member while another one joins the group.
    pub commits_during_joins: bool,
    /// Records can be deleted before they were read.
    pub deletes_records: bool,
    /// Purchases can have the ObjectId under which another program stored them as their id.
    pub object_ids: bool,
    /// [`Selector::All`](crate::ports::Selector::All) is supported. If not, a query returns
    /// [`Denied`](crate::ErrorKind::Denied).
    pub lists_everybody: bool,
    /// Several writes with events can be open at a time: begun, and not committed. An outbox with
    /// one writer has nothing to reorder.
    pub open_writes: bool,
    /// Users and orders may have texts that are blank or have control characters, and numbers below
    /// their meaning, as other programs have written them. `/v1` refuses them.
    pub unchecked_rows: bool,
    /// A listing has the members of a purchase that no version knows. A listing over HTTP leaves
    /// them out.
    pub unknown_members: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            revokes: true,
            commits_during_joins: true,
            deletes_records: true,
            object_ids: true,
            lists_everybody: true,
            open_writes: true,
            unchecked_rows: true,
            unknown_members: true,
        }
    }
}

impl Capabilities {
    /// The same, but partitions stay with a member until it leaves.
    #[must_use]
    pub const fn without_revocations(mut self) -> Self {
        self.revokes = false;
        self
    }

    /// The same, but commits may fail while another member joins the group.
    #[must_use]
    pub const fn without_commits_during_joins(mut self) -> Self {
        self.commits_during_joins = false;
        self
    }

    /// The same, without deletion of records.
    #[must_use]
    pub const fn without_deletion(mut self) -> Self {
        self.deletes_records = false;
        self
    }

    /// The same, but every id is a UUID.
    #[must_use]
    pub const fn without_object_ids(mut self) -> Self {
        self.object_ids = false;
        self
    }

    /// The same, but [`Selector::All`](crate::ports::Selector::All) is denied.
    #[must_use]
    pub const fn without_listing_everybody(mut self) -> Self {
        self.lists_everybody = false;
        self
    }

    /// The same, with one write of an event at a time.
    #[must_use]
    pub const fn without_open_writes(mut self) -> Self {
        self.open_writes = false;
        self
    }

    /// The same, without rows that `/v1` refuses.
    #[must_use]
    pub const fn without_unchecked_rows(mut self) -> Self {
        self.unchecked_rows = false;
        self
    }

    /// The same, but listings leave unknown members out.
    #[must_use]
    pub const fn without_unknown_members(mut self) -> Self {
        self.unknown_members = false;
        self
    }
}

/// Prints that a test is skipped because the backend does not support it.
#[doc(hidden)]
pub fn declared(can: bool, what: &str) -> bool {
    if !can {
        eprintln!("skipped: this backend declares that it does not support {what}");
    }
    can
}

/// The error has this kind and this outcome.
#[track_caller]
pub fn assert_fails(error: &Error, kind: ErrorKind, outcome: Outcome) {
    assert_eq!(
        (error.kind(), error.outcome()),
        (kind, outcome),
        "{error:?}"
    );
}
