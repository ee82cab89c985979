//! Stores of users and orders in memory, with their outbox.

mod entities;
mod outbox;

pub use entities::{InMemoryEntities, InMemoryOrders, InMemoryUsers};
pub use outbox::InMemoryOutbox;
