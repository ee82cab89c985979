//! Users and orders: each in a file of its own, with an outbox in it.

mod event;
mod orders;
mod outbox;
mod rows;
mod users;

pub use orders::EmbeddedOrders;
pub use rows::EmbeddedRows;
pub use users::EmbeddedUsers;
