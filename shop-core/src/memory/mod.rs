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

/// The guard of a mutex whether or not another holder has panicked: every change to the state behind it is
/// made whole before anything can panic.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
