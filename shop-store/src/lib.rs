//! Storage backends for purchases, users and orders, and the embedded log.
//!
//! | module | content |
//! |---|---|
//! | [`embedded`] | a log and stores in SQLite files, the default of the binaries (feature `embedded`) |
//! | [`mongo`] | stores in MongoDB (feature `mongodb`) |

#![cfg_attr(docsrs, feature(doc_cfg))]

// The test support in `tests/` is compiled into unit tests too, and refers to this crate by name.
#[cfg(test)]
extern crate self as shop_store;

#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "mongodb")]
pub mod mongo;

/// The connection string in the options of stores in MongoDB.
#[cfg(feature = "mongodb")]
pub use secrecy::SecretString;

/// Compiles the code of the package's README with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
