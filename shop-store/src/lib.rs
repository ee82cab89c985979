//! Stores of purchase tracking.
//!
//! | module | what it holds |
//! |---|---|
//! | [`embedded`] | a log and a store in SQLite files: the default of every binary (feature `embedded`) |
//! | [`mongo`] | purchases in a collection of MongoDB, users and orders in databases of it (feature `mongodb`) |

// Test support names this crate by its name, in unit tests too.
#[cfg(test)]
extern crate self as shop_store;

#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "mongodb")]
pub mod mongo;
