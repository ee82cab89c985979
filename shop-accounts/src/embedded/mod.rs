//! The stores in SQLite files of one folder, and the outbox of a SQLite database of your own.
//!
//! | file | content |
//! |---|---|
//! | `users.db` | users, the numbers of their orders, and the outbox of the events about users |
//! | `orders.db` | orders, the numbers of the known users, and the outbox of the events about orders |
//!
//! The files are written as [`shop_store::embedded`] writes the file of purchases, and can be in the
//! same folder. Then [`backup`](shop_store::embedded::backup()) copies all of them as of one moment.

mod outbox;
mod store;
mod tables;

pub use outbox::SqliteOutbox;
pub use store::EmbeddedEntities;
pub use tables::{EmbeddedOrders, EmbeddedUsers, vacuum_users};
