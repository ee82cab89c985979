//! Users and orders, and the outbox whose relay publishes their events. Feature `accounts`.

#[cfg(feature = "conformance")]
pub(crate) mod conformance;
pub mod entity;
mod erase;
pub mod orders;
pub mod outbox;
pub mod users;
