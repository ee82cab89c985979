//! Users and orders beside purchases, for services with all three.
//!
//! A user or an order is stored with an event about it in one transaction, in an
//! [`outbox`], whose `Relay` publishes the event. A service can have the role users, the role
//! orders, or both. Each role stores references from the events of the other role: an order is
//! accepted for a user who is registered, and a user has a list of orders.
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
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod entity;
pub mod erase;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "conformance")]
#[path = "conformance/memory/mod.rs"]
pub mod memory;
pub mod orders;
pub mod outbox;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod users;

#[cfg(feature = "conformance")]
#[doc(hidden)]
pub use shop_core::{conformance_cases, record_store_suite};
