//! The ports: what the rest of the world must be able to do for this domain. Five are of purchases; those of
//! [`users`](crate::users), [`orders`](crate::orders) and the [`outbox`](crate::outbox) stand there.
//!
//! All of them are object-safe, take `&self`, and are used as `Arc<dyn …>`. A call through such a pointer is
//! paid per batch or per request, never per record.

mod cursor;
mod dead_letters;
mod ext;
mod forward;
mod query;
mod records;
mod sink;
mod source;
mod store;

pub use cursor::{Cursor, Keyset};
#[cfg(feature = "mock")]
pub use dead_letters::MockDeadLetters;
pub use dead_letters::{DeadLetter, DeadLetters};
pub use ext::{PurchaseQueryExt, PurchaseStoreExt};
#[cfg(feature = "mock")]
pub use query::MockPurchaseQuery;
pub use query::{
    InvalidPageLimit, ListOrder, Page, PageLimit, PageRequest, PurchaseQuery, Selector, Summary,
};
pub use records::{RecordSink, RecordStore};
#[cfg(feature = "mock")]
pub use sink::MockPurchaseSink;
pub use sink::{Durability, PurchaseSink, Receipt, RecordPosition};
#[cfg(feature = "mock")]
pub use source::MockPurchaseSource;
pub use source::{
    Batch, CommitOutcome, Interruption, Lag, Partition, Position, PurchaseSource, Revocation,
    RevocationCause, SourceEvent,
};
#[cfg(feature = "mock")]
pub use store::MockPurchaseStore;
pub use store::{InsertOutcome, PurchaseStore, Reason, ReasonKind};
