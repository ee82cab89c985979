//! Users and orders, and the outbox whose relay publishes their events. Feature `accounts`.
//!
//! A store of [`users`] and a store of [`orders`] implement the same port,
//! [`EntityStore`](entity::EntityStore). Each writes a row together with its event in an
//! [`outbox`], whose relay publishes the events to a log. The other store consumes them: orders are
//! accepted for known users only, and a user's orders are listed with the user.

#[cfg(feature = "conformance")]
pub(crate) mod conformance;
pub mod entity;
mod erase;
pub mod orders;
pub mod outbox;
pub mod users;
