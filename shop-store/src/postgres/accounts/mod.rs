//! Users and orders, each in the tables of the replaced system: `users` and `cached_orders`, `orders` and `cached_users`.
//!
//! Beside them are `users_keys` and `orders_keys` (idempotency keys), `users_outbox` and `orders_outbox` (events that are
//! not published yet), and `shop_numbers`. Missing tables and indexes are created, and existing ones are used as they are. Feature `accounts`.

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
