//! The calls of a client: [`AccountsClient`] gives a `ShopClient` its users and orders.
//!
//! A call sends its requests by `ShopClient::request`, and so has the token, the retries, the
//! limits and the observer of its client.

mod entities;

pub use entities::{AccountsClient, Entities, Orders, Users};
