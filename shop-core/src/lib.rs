//! The domain of purchase tracking, the ports through which it meets the world, and the pipeline between
//! them. No I/O, no driver, no HTTP: those are in the crates beside this one.
//!
//! | module | what it holds |
//! |---|---|
//! | [`domain`] | what a purchase is: types that cannot hold nonsense, the rules of identity and content |
//! | [`ports`] | what a store and its edges must be able to do: [`PurchaseSink`](ports::PurchaseSink), [`PurchaseStore`](ports::PurchaseStore), [`PurchaseQuery`](ports::PurchaseQuery), [`RecordStore`](ports::RecordStore) |
//! | [`log`] | what a log must be able to do: [`LogWriter`](log::LogWriter), [`LogSource`](log::LogSource), [`DeadLetters`](log::DeadLetters), and its records |
//! | [`record`] | the types that a topic may hold, and their codecs |
//! | [`ingest`] | from the log into the store: nothing lost, nothing twice |
//! | [`users`], [`orders`], [`entity`] | two more services: what they own, their ports, the events by which they know each other |
//! | [`outbox`] | a row and its event in one write, and the relay that publishes it |
//! | [`verify`] | the whole log against the store: what is missing, what is there twice |
//! | [`memory`] | a log and a store in memory, for tests and to learn from |
//! | [`json`] | JSON as it is read from any sender |
//! | `api` | the bodies, problem types and header names of our own HTTP API (feature `api`) |
//! | `fault` | wrappers that break a port on purpose (feature `fault`) |
//! | `conformance` | the kit that proves a log or a store of your own (feature `conformance`) |

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
mod forward;
pub mod ingest;
pub mod json;
pub mod log;
pub mod memory;
pub mod orders;
pub mod outbox;
pub mod ports;
pub mod record;
pub mod users;
pub mod verify;

pub use bytes::Bytes;
pub use clock::{Clock, SystemClock};
pub use domain::{
    IdempotencyKey, InvalidKey, InvalidPrice, InvalidPurchaseId, InvalidText, InvalidTimestamp, NewPurchase,
    Price, Purchase, PurchaseId, RequestContext, RoundedTotal, Timestamp, Total, TotalOverflow, UserId,
    UserName, id_from_key,
};
pub use error::{Error, ErrorKind, Outcome, Result, Retry};
pub use rust_decimal::Decimal;
pub use uuid::Uuid;
