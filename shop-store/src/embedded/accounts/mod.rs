//! Users and orders: one file for each, with an outbox. Feature `accounts`.

mod outbox;
mod store;
mod tables;

pub use outbox::SqliteOutbox;
pub use store::EmbeddedEntities;
#[cfg(test)]
pub(super) use tables::ORDERS;
pub(super) use tables::USERS;
pub use tables::{EmbeddedOrders, EmbeddedUsers};
