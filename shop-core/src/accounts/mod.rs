//! Users and orders, and the outbox whose relay publishes their events. Feature `accounts`.

#[cfg(feature = "api")]
mod bodies;
#[cfg(feature = "conformance")]
pub(crate) mod conformance;
pub mod entity;
mod erase;
mod number;
pub mod orders;
pub mod outbox;
pub mod users;

#[cfg(feature = "api")]
pub use bodies::UserOrdersBody;
