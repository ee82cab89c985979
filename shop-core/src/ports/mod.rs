//! The ports of purchases and of typed records. Those of the log are in [`log`](crate::log), those of
//! [`users`](crate::users), [`orders`](crate::orders) and the [`outbox`](crate::outbox) in their modules.
//!
//! All of them are object-safe, take `&self`, and are used as `Arc<dyn …>`. A call through such a pointer is
//! paid per batch or per request, never per record.

mod cursor;
mod ext;
mod forward;
mod query;
mod record_store;
mod sink;
mod store;

pub use cursor::{Cursor, Keyset};
pub use ext::{PurchaseQueryExt, PurchaseStoreExt};
#[cfg(feature = "mock")]
pub use query::MockPurchaseQuery;
pub use query::{
    InvalidPageLimit, ListOrder, Page, PageLimit, PageRequest, PurchaseQuery, Selector, Summary,
};
pub use record_store::RecordStore;
#[cfg(feature = "mock")]
pub use sink::MockPurchaseSink;
pub use sink::{Durability, PurchaseSink, Receipt};
#[cfg(feature = "mock")]
pub use store::MockPurchaseStore;
pub use store::{InsertOutcome, PurchaseStore};
