//! The conformance kit for stores of users and orders, and for outboxes.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is test code: a broken promise ends the test"
)]

mod entities;
pub mod erase_users;
mod faulty;
pub mod orders;
pub mod outbox;
#[cfg(test)]
#[path = "../../../shop-core/src/conformance/promised_test.rs"]
mod promised_test;
#[cfg(test)]
mod promises_test;
mod suites;
pub mod users;

pub use entities::{
    EntityStores, MemoryEntities, OrdersFixture, OrdersOfUsers, OutboxFixture, OutboxOfOrders,
    OutboxOfUsers, UsersFixture, UsersOfOrders,
};
pub use erase_users::EraseUsersFixture;
pub use faulty::faulty_outbox;

pub use crate::{erase_users_suite, orders_suite, outbox_suite, users_suite};
