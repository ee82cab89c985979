//! The ports of purchases and of typed records. Those of the log are in [`log`](crate::log), those of
//! users, orders and the outbox in their modules.
//!
//! All ports are object-safe, take `&self`, and are used as `Arc<dyn …>`; `Arc` and `Box` of a port implement the port.
//! Dynamic dispatch happens per batch or request, never per record.
//!
//! Writing ports have a `check` method. A reading port that the same type may implement has one of another name,
//! because the results differ: a store whose disk is full can still be read.

mod currency;
mod cursor;
mod ext;
mod idempotent;
mod query;
mod range;
mod refunds;
mod scan;
mod sink;
mod store;
mod store_sink;
mod totals;
mod written;

#[cfg(feature = "mock")]
pub use crate::feed::port::MockPurchaseEvents;
pub use crate::feed::port::PurchaseEvents;
pub use currency::CurrencyStore;
#[cfg(feature = "mock")]
pub use currency::MockCurrencyStore;
#[doc(hidden)]
pub use currency::{other_currency, rejected_currency};
pub use cursor::{Cursor, Keyset};
#[doc(hidden)]
pub use ext::PurchaseQueryExt;
pub use idempotent::REFUND_TIMEOUT;
#[doc(hidden)]
pub use idempotent::{IdSource, IdempotentSink};
#[cfg(feature = "mock")]
pub use query::MockPurchaseQuery;
#[doc(hidden)]
pub use query::added_up;
pub use query::{
    ListOrder, Lookup, Page, PageLimit, PageRequest, PurchaseQuery, Selector, Summary,
};
pub use range::TimeRange;
#[cfg(feature = "mock")]
pub use refunds::MockWaitingRefunds;
#[doc(hidden)]
pub use refunds::{RefundDecision, WaitingColumns, settle_refunds};
pub use refunds::{WaitingRefund, WaitingRefunds, WaitingSummary};
pub(crate) use scan::retried;
pub use scan::{ScanBatch, UnreadableEntry};
#[cfg(feature = "mock")]
pub use sink::MockPurchaseSink;
pub use sink::{Durability, PublishedPurchase, PurchaseSink, Receipt};
pub use store::{InsertOutcome, PurchaseErase, PurchaseStore, RecordStore};
#[cfg(feature = "mock")]
pub use store::{MockPurchaseErase, MockPurchaseStore, MockRecordStore};
pub use store_sink::StoreSink;
pub use totals::{Bucket, Period, TotalsRequest, UtcOffset};
#[doc(hidden)]
pub use {
    range::PageBounds,
    sink::{publish_each, publish_new_each},
    totals::Totals,
};
