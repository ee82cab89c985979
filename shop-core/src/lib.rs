//! Purchase tracking without I/O: the domain, the ports to logs and stores, and the pipeline
//! between them.
//!
//! ```
//! use shop_core::{NewPurchase, Shop};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> shop_core::Result<()> {
//! let shop = Shop::in_memory();
//! let order = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?.with_key("order-7")?;
//! let bought = shop.buy(order).await?;
//!
//! let spent = shop.user("u1").wait_for(&bought.receipt).summary().await?;
//! assert_eq!((spent.count, spent.total_spent.to_string()), (1, "29.99".to_owned()));
//! # Ok(())
//! # }
//! ```
//!
//! # One shop, any backend
//!
//! A [`Shop`] buys and lists. Code that takes one runs on every backend:
//!
//! | backend | shop |
//! |---|---|
//! | memory, for tests | [`Shop::in_memory`] |
//! | SQLite files, without a server | `EmbeddedShop::open` of `shop-store` |
//! | a service, over HTTP | `ShopClient::shop` of `shop-client` |
//! | your own log and store | [`Shop::new`] |
//! | mocks, for errors on demand | [`Shop::new`], with the mocks of the feature `mock` |
//!
//! # The pipeline
//!
//! A purchase is durable when a log contains it, and listed when a store contains it. A
//! [`PurchaseSink`](ports::PurchaseSink) publishes to the log. An [`Ingest`](ingest::Ingest) reads
//! the log as a member of a consumer group, writes to a [`PurchaseStore`](ports::PurchaseStore),
//! and commits its position only after the write: after a crash records are read again, and a store
//! recognizes them by their id. A [`PurchaseQuery`](ports::PurchaseQuery) lists what is stored.
//!
//! ```
//! use shop_core::NewPurchase;
//! use shop_core::ingest::IngestOptions;
//! use shop_core::memory::{InMemoryLog, InMemoryStore};
//! use shop_core::shop::Pipeline;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> shop_core::Result<()> {
//! let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
//! let backend = log.backend("purchase-group").with_sink(log.sink()).with(store.backend());
//! let pipeline = Pipeline::start(backend, IngestOptions::default())?;
//!
//! let shop = pipeline.shop();
//! let bought = shop.buy(NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?).await?;
//! let user = shop.user("u1").wait_for(&bought.receipt);
//! assert_eq!(user.summary().await?.count, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Records that can never be stored become [dead letters](log::DeadLetter), byte for byte; outages
//! are retried.
//!
//! # Your own log or store
//!
//! Implement the ports in [`log`] or [`ports`] with [`async_trait`](macro@async_trait). Each line
//! under `# Behavior` of a port is a promise, and names the function of the conformance kit that
//! checks it. With the feature `conformance` one macro makes a test of each, for example
//! `store_suite!(own_store, async { OwnStore::default() })`. Ports get new methods only with
//! defaults.
//!
//! # Your own records
//!
//! [`Ingest`](ingest::Ingest) applies the records of every type that implements
//! [`Record`](record::Record) to a [`RecordStore`](ports::RecordStore) of this type. With
//! `shop-accounts`, rows that must be published as events are written with their event into an
//! `outbox`, whose `Relay` publishes the event; `users` and `orders` are made of these parts.
//!
//! # Erasure, retention and verification
//!
//! [`erase_user`](erase::erase_user) erases a user from a log, its dead letters and a store,
//! [`run_retention`](retention::run_retention) deletes old purchases in the background, and
//! [`verify`](verify::verify) compares a store with its log. [`Operations`](operations::Operations)
//! has these and the other operations of operators in one place.
//!
//! # Errors
//!
//! All ports share one [`Error`]. It says what failed ([`kind`](Error::kind)), whether a retry may
//! help ([`is_retryable`](Error::is_retryable)), and whether the call may have taken effect
//! ([`outcome`](Error::outcome)). Values that are not valid are an [`Invalid`], which `?` converts
//! into an [`Error`].
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `conformance` | the module `conformance`: the kit that tests your own log or store, with fault injection; `Shop::simulated` |
//! | `mock` | mocks of the ports, such as `MockPurchaseSink` |
//! | `failpoints` | failpoints that abort the process, for the tests of this project; not for release binaries |
//!
//! None is on by default. `docs/stability.md` in the repository says what may change in which
//! version.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
#[cfg(test)]
mod cases_test;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod domain;
pub mod erase;
mod error;
mod failpoint;
pub mod feed;
pub mod import;
pub mod ingest;
pub mod inspect;
pub mod json;
mod lock;
pub mod log;
mod macros;
pub mod memory;
pub mod operations;
pub mod ports;
pub mod quantity;
pub mod record;
pub mod retention;
pub mod shop;
pub mod verify;

/// The macro for implementations of the ports.
pub use async_trait::async_trait;
pub use backend::Backend;
/// The crate of the keys and values of records.
pub use bytes;
pub use bytes::Bytes;
pub use clock::{Clock, SystemClock, SystemClockFrom};
pub use domain::{
    Details, IdempotencyKey, Invalid, InvalidKind, NewPurchase, Price, Purchase, PurchaseId,
    RequestContext, Timestamp, Total, TotalOverflow, UserId, UserName, id_from_key, id_from_values,
};
pub use error::catch_panic;
pub use error::{Blame, Error, ErrorKind, Outcome, Result, Retry};
#[cfg(feature = "failpoints")]
pub use failpoint::init_failpoints;
#[doc(hidden)]
pub use failpoint::with_failpoints;
/// The streams of listings, and the tools to read and create streams.
pub use futures_util::{Stream, StreamExt, TryStreamExt, stream};
/// The crate whose timestamps a [`Timestamp`] converts from and to.
pub use jiff;
pub use lock::lock;
/// The crate of the mocks, with its predicates and sequences.
#[cfg(feature = "mock")]
pub use mockall;
pub use ports::PublishedPurchase;
/// The number in prices and totals.
pub use rust_decimal::Decimal;
pub use shop::{Shop, UserPurchases};
/// The number in ids.
pub use uuid::Uuid;

/// Compiles the code of the package's README with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
