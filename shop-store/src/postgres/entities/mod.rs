//! Users and orders, each in the tables of the replaced system: `users` and `cached_orders`, `orders` and `cached_users`.
//!
//! Beside them are `users_keys` and `orders_keys` (idempotency keys), `users_outbox` and `orders_outbox` (events that are
//! not published yet), and `shop_numbers`. Missing tables and indexes are created, and existing ones are used as they are.

mod listener;
#[cfg(test)]
mod listener_test;
mod orders;
mod outbox;
mod store;
#[cfg(test)]
mod takeover_test;
mod users;

pub use orders::PostgresOrders;
pub use store::PostgresEntities;
pub use users::PostgresUsers;
