//! Stores of users and of orders, each with an outbox of events, and an outbox for a database of
//! your own.
//!
//! | table | content |
//! |---|---|
//! | `users`, `orders` | the users and the orders |
//! | `cached_orders`, `cached_users` | references to the rows of the other service, from its events |
//! | `users_keys`, `orders_keys` | the idempotency key of each row |
//! | `users_outbox`, `orders_outbox` | events that are not published yet |
//! | `shop_numbers` | the last number that was given to a user, and to an order |
//! | `outbox` | events of your own transactions, see [`PostgresOutbox`] |
//!
//! Missing tables and indexes are created. If the option `adopt_tables` is set, existing `users`,
//! `orders` and `cached_…` of another program are used as they are: tables of any program, if they
//! have the columns of these ones. Such a table needs no decoder, because every statement is the same
//! as on a table of our own. Only its ids and references may be integers of four bytes.
//!
//! See [`shop_store::postgres`] for the URL and the durability.

mod outbox;
mod store;
mod tables;

pub use outbox::PostgresOutbox;
pub use store::PostgresEntities;
pub use tables::{PostgresOrders, PostgresUsers};

/// The statements of the stores and of the outbox, whose plans the tests inspect.
pub mod statements {
    pub use super::outbox::{delete_statement, pending_query};
    pub use super::store::{
        PostgresEntity, Reference, insert_state_query, insert_statement, row_by_id_query,
    };
    pub use super::tables::{USERS, erase_statement, order_numbers_query};
}
