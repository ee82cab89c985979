//! The domain of purchase tracking, the ports to logs and stores, and the pipeline between them. No I/O, no drivers, no
//! HTTP: those are in the adapter crates.
//!
//! | module | content |
//! |---|---|
//! | [`shop`] | [`Shop`]: buys and lists purchases on any backend; begin here |
//! | [`domain`] | purchases: validated types, identity and equality of content |
//! | [`ports`] | ports of a store and its edges: [`PurchaseSink`](ports::PurchaseSink), [`PurchaseStore`](ports::PurchaseStore), [`PurchaseQuery`](ports::PurchaseQuery), [`RecordStore`](ports::RecordStore) |
//! | [`log`] | ports of a log: [`LogWriter`](log::LogWriter), [`LogSource`](log::LogSource), [`DeadLetters`](log::DeadLetters), and its records |
//! | [`record`] | the record types of topics, and their codecs |
//! | [`ingest`] | the pipeline from the log into the store: no record lost, none stored twice |
//! | [`users`], [`orders`], [`entity`] | two further services: their entities, ports and events |
//! | [`outbox`] | the transactional outbox, and the relay that publishes its events |
//! | [`verify`] | verification of a store against the whole log |
//! | [`memory`] | in-memory implementations of all ports |
//! | [`json`] | lenient JSON of other senders, and exact numbers |
//! | `api` | bodies, problem types and header names of the HTTP API (feature `api`) |
//! | `fault` | fault injection for any port (feature `fault`) |
//! | `conformance` | the conformance kit for your own log or store (feature `conformance`) |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "api")]
pub mod api;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod domain;
pub mod entity;
mod error;
#[cfg(feature = "fault")]
pub mod fault;
mod format;
mod forward;
pub mod ingest;
pub mod json;
pub mod log;
pub mod memory;
pub mod orders;
pub mod outbox;
pub mod ports;
pub mod record;
pub mod shop;
pub mod users;
pub mod verify;

/// The macro for implementations of the ports.
pub use async_trait::async_trait;
/// The crate of the keys and values of records.
pub use bytes;
pub use bytes::Bytes;
pub use clock::{Clock, SystemClock};
pub use domain::{
    IdempotencyKey, Invalid, InvalidKey, InvalidPrice, InvalidPurchaseId, InvalidText, InvalidTimestamp,
    NewPurchase, Price, Purchase, PurchaseId, RequestContext, RoundedTotal, Timestamp, Total, TotalOverflow,
    UserId, UserName, id_from_key,
};
pub use error::{Error, ErrorKind, Outcome, Result, Retry};
/// The crate whose timestamps a [`Timestamp`] converts from and to.
pub use jiff;
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
