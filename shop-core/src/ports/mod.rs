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
mod idempotent;
mod outcomes;
mod query;
mod refunds;
mod scan;
pub(crate) mod sink;
mod store;
mod totals;
mod written;

#[cfg(feature = "mock")]
pub use {
    crate::feed::port::MockPurchaseEvents,
    currency::MockCurrencyStore,
    query::MockPurchaseQuery,
    refunds::MockWaitingRefunds,
    sink::MockPurchaseSink,
    store::{MockPurchaseErase, MockPurchaseStore, MockRecordStore},
};
pub use {
    crate::feed::port::PurchaseEvents,
    currency::CurrencyStore,
    cursor::{Cursor, Keyset, TimeRange},
    idempotent::REFUND_TIMEOUT,
    query::{ListOrder, Lookup, Page, PageLimit, PageRequest, PurchaseQuery, Selector, Summary},
    refunds::{WaitingRefund, WaitingRefunds, WaitingSummary},
    scan::{ScanBatch, UnreadableEntry},
    sink::{Durability, PublishedPurchase, PurchaseSink, Receipt},
    store::{InsertOutcome, PurchaseErase, PurchaseStore, RecordStore, StoreSink},
    totals::{Bucket, Period, TotalsRequest, UtcOffset},
};
#[doc(hidden)]
pub use {
    currency::{other_currency, rejected_currency},
    cursor::PageBounds,
    idempotent::{IdSource, IdempotentSink},
    outcomes::RecentOutcomes,
    query::sum_pages,
    refunds::{RefundDecision, WaitingColumns, decide_refunds},
    scan::PurchaseQueryExt,
    sink::{publish_each, publish_new_each},
    totals::Totals,
};
pub(crate) use {idempotent::miscounted, scan::retried};
