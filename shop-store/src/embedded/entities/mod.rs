//! Users and orders: one file for each, with an outbox.

mod store;
mod tables;

pub use store::EmbeddedEntities;
pub use tables::{EmbeddedOrders, EmbeddedUsers};
pub(super) use tables::{ORDERS, USERS};
