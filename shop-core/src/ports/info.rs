//! What a store and a sink say about themselves: their state, and what they can do beyond their
//! ports.
//!
//! A store or a sink that wraps another one returns the info of the inner one. All of it is one
//! required method, so that a wrapper cannot leave a part out by forgetting a method.

use std::fmt::Debug;

use super::{Durability, ImportedFiles, UserNames, WaitingRefunds};
use crate::log::LogFaults;

/// Describes a store.
///
/// A store implements this trait once, for [`RecordStore`](super::RecordStore) and
/// [`PurchaseQuery`](super::PurchaseQuery), which both require it. A store that wraps another one
/// returns the info of the inner one:
///
/// ```
/// use shop_core::ports::{DescribeStore, StoreInfo};
///
/// #[derive(Debug)]
/// struct Logged<S>(S);
///
/// impl<S: DescribeStore> DescribeStore for Logged<S> {
///     fn info(&self) -> StoreInfo<'_> {
///         self.0.info()
///     }
/// }
/// ```
#[auto_impl::auto_impl(Arc, Box)]
pub trait DescribeStore: Debug + Send + Sync + 'static {
    /// Returns the known state of the store, and what it can do beyond its ports.
    ///
    /// A store without any of it returns [`StoreInfo::default`]. This function does not block and
    /// makes no request.
    fn info(&self) -> StoreInfo<'_>;
}

/// The state of a store, and what it can do beyond its ports. [`DescribeStore::info`] returns it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StoreInfo<'a> {
    /// What is wrong with whole files of the store, one sentence for each, although records may be
    /// applied (default: nothing). See [`LogFaults::files`].
    pub file_faults: Vec<String>,
    /// A number that grows whenever another server takes the store over (default 0).
    ///
    /// A promoted standby may lack purchases that the previous server stored. A caller that
    /// compares the store with the log compares this number, and checks again after a change.
    pub takeovers: u64,
    /// The refunds that wait in this store for their purchase (default `None`).
    ///
    /// Only a store of purchases can keep such refunds. A store that does not keep them rejects a
    /// refund whose purchase is not stored as [parked](crate::log::Reason::parked), and an operator
    /// replays the refund later.
    pub waiting_refunds: Option<&'a dyn WaitingRefunds>,
    /// The files that were imported into the store, if the store keeps them (default `None`).
    pub imported_files: Option<&'a dyn ImportedFiles>,
    /// The names of the users, if the store finds them by an index (default `None`).
    pub user_names: Option<&'a dyn UserNames>,
}

impl<'a> StoreInfo<'a> {
    /// Returns this info with these faults of whole files, one sentence for each.
    #[must_use]
    pub fn with_file_faults(mut self, faults: Vec<String>) -> Self {
        self.file_faults = faults;
        self
    }

    /// Returns this info with the number of servers that have taken the store over.
    #[must_use]
    pub const fn with_takeovers(mut self, count: u64) -> Self {
        self.takeovers = count;
        self
    }

    /// Returns this info of a store in which refunds wait for their purchase.
    #[must_use]
    pub const fn with_waiting_refunds(mut self, refunds: &'a dyn WaitingRefunds) -> Self {
        self.waiting_refunds = Some(refunds);
        self
    }

    /// Returns this info of a store that keeps how imported files were read.
    #[must_use]
    pub const fn with_imported_files(mut self, files: &'a dyn ImportedFiles) -> Self {
        self.imported_files = Some(files);
        self
    }

    /// Returns this info of a store that finds the names of its users.
    #[must_use]
    pub const fn with_user_names(mut self, names: &'a dyn UserNames) -> Self {
        self.user_names = Some(names);
        self
    }
}

/// The state of a sink, and what its receipts mean.
/// [`PurchaseSink::info`](super::PurchaseSink::info) returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkInfo {
    /// The minimum durability of a receipt, as far as the sink currently knows.
    pub durability: Durability,
    /// Whether an acknowledged purchase is in the store already (default `false`).
    ///
    /// The result of a publish is then the decision of the store, which tells a new purchase from a
    /// repetition.
    pub is_storing: bool,
    /// The known faults of a log that can be reached, such as partitions without a leader (default:
    /// none).
    pub faults: LogFaults,
}

impl SinkInfo {
    /// Creates the info of a sink to a log without known faults, whose receipts have at least this
    /// durability.
    #[must_use]
    pub fn new(durability: Durability) -> Self {
        Self {
            durability,
            is_storing: false,
            faults: LogFaults::default(),
        }
    }

    /// Returns this info, which says whether an acknowledged purchase is in the store already.
    #[must_use]
    pub const fn with_storing(mut self, is_storing: bool) -> Self {
        self.is_storing = is_storing;
        self
    }

    /// Returns this info with the known faults of the log.
    #[must_use]
    pub fn with_faults(mut self, faults: LogFaults) -> Self {
        self.faults = faults;
        self
    }
}
