//! Stores of users and of orders, each with an outbox of events, and an outbox for a database of
//! your own.
//!
//! | table | content |
//! |---|---|
//! | `users`, `orders` | the users and the orders, with the columns of the replaced system |
//! | `cached_orders`, `cached_users` | references to the rows of the other service, from its events |
//! | `users_keys`, `orders_keys` | the idempotency key of each row |
//! | `users_outbox`, `orders_outbox` | events that are not published yet |
//! | `shop_numbers` | the last number that was given to a user, and to an order |
//! | `outbox` | events of your own transactions, see [`PostgresOutbox`] |
//!
//! Missing tables and indexes are created. Existing tables of the replaced system are used as they
//! are, if the option `adopt_tables` is set. The module needs the feature `accounts`.

#[cfg(test)]
#[path = "../../../tests/support/postgres_accounts.rs"]
mod fixture;
mod outbox;
#[cfg(test)]
mod outbox_test;
#[cfg(test)]
mod rights_test;
mod store;
mod tables;
#[cfg(test)]
mod takeover_test;

#[cfg(test)]
use super::fixture as postgres;
pub use outbox::PostgresOutbox;
pub use store::PostgresEntities;
pub use tables::{PostgresOrders, PostgresUsers};
