//! Users and orders: one file for each, with an outbox.

mod orders;
mod store;
mod users;

pub use orders::EmbeddedOrders;
pub(super) use orders::ORDERS;
pub use store::EmbeddedEntities;
pub use users::EmbeddedUsers;
pub(super) use users::USERS;
