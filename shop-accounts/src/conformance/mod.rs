//! The conformance kit for stores of users and orders, and for outboxes.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is test code: a broken promise ends the test"
)]

pub mod entity;
pub mod erase_users;
mod faulty;
mod fixtures;
pub mod orders;
pub mod outbox;
mod prelude;
#[cfg(test)]
#[path = "../../../shop-core/src/conformance/promised_test.rs"]
mod promised_test;
#[cfg(test)]
mod promises_test;
mod suites;
pub mod users;

pub use faulty::faulty_outbox;
pub use fixtures::{
    EntityFixture, EntityPorts, EntityStores, EraseUsersFixture, MemoryEntities, OutboxFixture,
    SampleEntity, StoreOf, UsersFixture,
};

pub use crate::{
    entity_cases, entity_stores_suite, erase_users_suite, orders_suite, outbox_suite, users_suite,
};
