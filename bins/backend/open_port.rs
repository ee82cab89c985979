//! What a process opens: an [`OpenPort`] is a log or a store with the name of its backend for output.
//!
//! The ports of purchases are a [`Backend`](shop_core::Backend). For users and for orders, one trait
//! unites all ports of the store, so that one `Arc` serves as each of them.

use shop_accounts::entity::EntityStore;
use shop_accounts::orders::Order;
use shop_accounts::outbox::Outbox;
use shop_accounts::users::{User, UserErase, UserStore};
use shop_core::ports::RecordStore;
use shop_store::StoreInspection;

/// The beginning of the errors of Kafka.
pub(super) const ABOUT_KAFKA: &str = "Kafka cannot be used with these settings";
/// The beginning of the errors of embedded files.
pub(super) const ABOUT_FILES: &str = "the data folder (SHOP_DATA_DIR) cannot be used";

/// A port that was opened.
pub(crate) struct OpenPort<T> {
    pub(crate) port: T,
    /// The name of its backend, for output.
    pub(crate) name: String,
    /// Whether the topic or the store does not exist yet, and a service creates it.
    pub(crate) is_missing: bool,
    /// What an inspection of a store on a server found, such as warnings.
    pub(crate) inspection: StoreInspection,
}

impl<T> OpenPort<T> {
    /// Returns this opened port, with its `port` converted by `convert`.
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> OpenPort<U> {
        OpenPort {
            port: convert(self.port),
            name: self.name,
            is_missing: self.is_missing,
            inspection: self.inspection,
        }
    }

    /// Creates the opened port of a store on a server, whose `inspection` was accepted. Adds to
    /// `name` how many rows of another program the store takes over.
    #[cfg(any(feature = "mongodb", feature = "postgres"))]
    pub(super) fn inspected(port: T, mut name: String, inspection: StoreInspection) -> Self {
        if let Some(rows) = inspection.taken_over {
            name += &format!(", takes over {rows} rows");
        }
        Self {
            port,
            name,
            is_missing: !inspection.exists,
            inspection,
        }
    }
}

/// A store of users with all its ports. The store applies the events of orders.
pub(crate) trait UserBackend: UserStore + UserErase + Outbox + RecordStore<Order> {}

impl<S: UserStore + UserErase + Outbox + RecordStore<Order>> UserBackend for S {}

/// A store of orders with all its ports. The store applies the events of users.
pub(crate) trait OrderBackend: EntityStore<Order> + Outbox + RecordStore<User> {}

impl<S: EntityStore<Order> + Outbox + RecordStore<User>> OrderBackend for S {}
