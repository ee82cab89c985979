//! The ports of purchases and of typed records. Those of the log are in [`log`](crate::log), those of
//! [`users`](crate::users), [`orders`](crate::orders) and the [`outbox`](crate::outbox) in their modules.
//!
//! All of them are object-safe, take `&self`, and are used as `Arc<dyn …>`; `Arc` and `Box` of a port are that port. A
//! call through such a pointer is paid per batch or per request, never per record.
//!
//! What writes has a `check`. A port that one type may have beside a writing one has a check of its own name, as the
//! answers differ: a store whose disk is full can still be read.

mod cursor;
mod ext;
mod query;
mod record_store;
mod sink;
mod store;

pub use cursor::{Cursor, Keyset};
pub use ext::PurchaseQueryExt;
#[cfg(feature = "mock")]
pub use query::MockPurchaseQuery;
pub use query::{
    InvalidPageLimit, ListOrder, Page, PageLimit, PageRequest, PurchaseQuery, Selector, Summary,
};
#[cfg(feature = "mock")]
pub use record_store::MockRecordStore;
pub use record_store::{InsertOutcome, RecordStore};
#[cfg(feature = "mock")]
pub use sink::MockPurchaseSink;
pub use sink::{Durability, PurchaseSink, Receipt};
#[cfg(feature = "mock")]
pub use store::MockPurchaseStore;
pub use store::PurchaseStore;
