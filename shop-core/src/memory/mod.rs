//! An in-memory log and store: complete implementations of every port, for tests and as a reference.
//!
//! They keep the same promises as the adapters that outlive a process, and pass the same conformance kit;
//! only their durability is [`Memory`](crate::ports::Durability::Memory). With their own clock and
//! tokio's paused time they are deterministic: no threads, and nothing that iterates in a random order.

mod admin;
mod group;
mod log;
mod source;
mod store;

pub use admin::InMemoryDeadLetters;
pub use group::Rebalancing;
pub use log::{InMemoryLog, InMemoryLogOptions, InMemorySink};
pub use source::InMemorySource;
pub use store::InMemoryStore;

/// For the kit and for tests.
#[cfg(all(feature = "accounts", feature = "conformance"))]
pub use crate::accounts::conformance::memory::{
    InMemoryEntities, InMemoryOrders, InMemoryOutbox, InMemoryUsers,
};
