//! The ports of purchases and of typed records.
//!
//! A port is a trait through which this crate uses a log or a store, and which an adapter
//! implements. The ports of the log are in [`log`](crate::log). The ports of users, orders and the
//! outbox are in `shop-accounts`.
//!
//! | Port | Responsibility |
//! |---|---|
//! | [`PurchaseSink`] | Publishes purchases to a log |
//! | [`PurchasePublisher`] | Assigns the ids of new purchases, and publishes each once |
//! | [`RecordStore`], [`PurchaseStore`] | Apply the records of a log to a store |
//! | [`PurchaseQuery`] | Lists, sums up and finds stored purchases |
//! | [`PurchaseErase`] | Erases the purchases of a user, and deletes old ones |
//! | [`WaitingRefunds`] | Keeps the refunds that arrive before their purchase |
//! | [`CurrencyStore`] | Keeps the currency of a store |
//! | [`ImportedFiles`] | Keeps how imported files were read |
//! | [`UserNames`] | Finds the names of the users of a store |
//! | [`DescribeStore`] | Says what a store can do beyond its ports |
//! | [`PurchaseEvents`] | Yields purchases as they become visible |
//!
//! [`ShopCurrency`] is no port: it is what a process knows about the currency of its store, which all
//! writes go through.
//!
//! All ports are object-safe, take `&self`, and are used as `Arc<dyn …>`. `Arc` and `Box` of a port
//! implement the port. Dynamic dispatch happens per batch or request, never per record.
//!
//! The check of a writing port is its method `check`. A reading port, which the same type may
//! implement, names its check differently, because the results differ: a store whose disk is full
//! can still be read.

mod currency;
mod cursor;
mod idempotent;
mod imported_files;
mod info;
mod left;
mod outcomes;
mod polls;
mod publisher;
mod query;
mod receipt;
mod refunds;
mod scan;
mod shop_currency;
#[cfg(test)]
mod shop_currency_test;
pub(crate) mod sink;
mod store;
mod totals;
mod user_names;
mod written;

#[cfg(feature = "mock")]
pub use {
    crate::feed::port::MockPurchaseEvents,
    currency::MockCurrencyStore,
    publisher::MockPurchasePublisher,
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
    imported_files::ImportedFiles,
    info::{DescribeStore, SinkInfo, StoreInfo},
    left::{LeftEntries, Removed},
    polls::Polls,
    publisher::{PublishedPurchase, PurchasePublisher},
    query::{ListOrder, Lookup, Page, PageLimit, PageRequest, PurchaseQuery, Selector, Summary},
    receipt::{Durability, Receipt},
    refunds::{WaitingRefund, WaitingRefunds, WaitingSummary},
    scan::{PurchaseQueryExt, ScanBatch, UnreadableEntry},
    shop_currency::{CurrencyState, ShopCurrency},
    sink::PurchaseSink,
    store::{Deletion, InsertOutcome, PurchaseErase, PurchaseStore, RecordStore, StoreSink},
    totals::{Bucket, Period, TotalsRequest, UtcOffset},
    user_names::UserNames,
};
pub use {
    currency::rejected_currency,
    cursor::PageBounds,
    idempotent::{IdempotentSink, RefundState},
    outcomes::RecentOutcomes,
    publisher::publish_new_each,
    query::sum_pages,
    refunds::{RefundDecision, WaitingColumns, decide_refunds},
    shop_currency::other_currency,
    sink::{group_by_key, publish_each},
    totals::Totals,
};
pub(crate) use {
    idempotent::miscounted_error, publisher::may_be_unstored, scan::read_with_retries,
};
