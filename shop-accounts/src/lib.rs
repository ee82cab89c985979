//! Users and orders beside purchases, for services that replace a system with all three.
//!
//! A user or an order is stored with an event about it in one transaction, in an
//! [`outbox`], whose `Relay` publishes the event. The other role stores a projection of the event:
//! an order is accepted for a user who is registered, and a user has a list of orders.
//!
//! | module | content |
//! |---|---|
//! | [`entity`] | what users and orders have in common: the port of their stores |
//! | [`users`], [`orders`] | the two entities |
//! | [`outbox`] | events that are written with their entities, and the relay that publishes them |
//! | `embedded` | the stores in SQLite files |
//! | `postgres` | the stores in PostgreSQL |
//! | `http` | the routes of the HTTP API |
//! | `client` | the calls of a client |
//! | `memory` | the stores and outboxes of the kit, in memory |
//! | `conformance` | the kit that tests stores and outboxes of your own |
//!
//! | feature | adds |
//! |---|---|
//! | `client` | the module `client` |
//! | `conformance` | the modules `conformance` and `memory` |
//! | `embedded` | the module `embedded` |
//! | `http` | the module `http` |
//! | `mock` | mocks of the ports, such as `MockUserOrders` |
//! | `postgres` | the module `postgres` |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "client")]
pub mod client;

pub use shop_core::{entity, orders, outbox, users};

#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "postgres")]
pub mod postgres;

#[cfg(feature = "http")]
pub mod http;

/// The conformance kit for stores and outboxes of your own.
#[cfg(feature = "conformance")]
pub mod conformance {
    pub use shop_core::conformance::{
        EntityStores, EraseUsersFixture, MemoryEntities, OrdersFixture, OrdersOfUsers,
        OutboxFixture, OutboxOfOrders, OutboxOfUsers, UsersFixture, UsersOfOrders,
        erase_users_suite, orders_suite, outbox_suite, users_suite,
    };
}

/// The stores of the kit, in memory.
#[cfg(feature = "conformance")]
pub mod memory {
    pub use shop_core::memory::{InMemoryEntities, InMemoryOrders, InMemoryOutbox, InMemoryUsers};
}
