//! Users and orders: one file for each, with an outbox.

mod orders;
mod outbox;
mod rows;
mod users;

pub use orders::EmbeddedOrders;
pub(super) use orders::ORDERS;
pub use rows::EmbeddedRows;
pub use users::EmbeddedUsers;
pub(super) use users::USERS;
