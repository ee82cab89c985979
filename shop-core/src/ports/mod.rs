//! The ports of purchases and of typed records. Those of the log are in [`log`](crate::log), those of
//! [`users`](crate::users), [`orders`](crate::orders) and the [`outbox`](crate::outbox) in their modules.
//!
//! All ports are object-safe, take `&self`, and are used as `Arc<dyn …>`; `Arc` and `Box` of a port implement the port.
//! Dynamic dispatch happens per batch or request, never per record.
//!
//! Writing ports have a `check` method. A reading port that the same type may implement has one of another name,
//! because the results differ: a store whose disk is full can still be read.

mod cursor;
mod erase;
mod ext;
mod idempotent;
mod publish_many;
mod query;
mod range;
mod record_store;
mod scan;
mod sink;
mod store;
mod store_sink;
mod totals;

pub use cursor::{Cursor, Keyset};
#[cfg(feature = "mock")]
pub use erase::MockPurchaseErase;
pub use erase::PurchaseErase;
pub use ext::PurchaseQueryExt;
pub use idempotent::{IdSource, IdempotentSink};
pub use publish_many::{publish_each, publish_new_each};
#[cfg(feature = "mock")]
pub use query::MockPurchaseQuery;
pub use query::{
    InvalidPageLimit, ListOrder, Lookup, Page, PageLimit, PageRequest, PurchaseQuery, Selector, Summary,
};
pub use range::{PageBounds, TimeRange};
#[cfg(feature = "mock")]
pub use record_store::MockRecordStore;
pub use record_store::{InsertOutcome, RecordStore};
pub(crate) use scan::retried;
pub use scan::{ScanBatch, ScanPosition, UnreadableEntry};
#[cfg(feature = "mock")]
pub use sink::MockPurchaseSink;
pub use sink::{Durability, PublishedPurchase, PurchaseSink, Receipt};
#[cfg(feature = "mock")]
pub use store::MockPurchaseStore;
pub use store::PurchaseStore;
pub use store_sink::StoreSink;
pub use totals::{Bucket, InvalidUtcOffset, Period, Totals, TotalsRequest, UtcOffset};
