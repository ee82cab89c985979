//! Fault injection: wraps any port so that it fails according to a script.
//!
//! ```
//! use std::sync::Arc;
//!
//! use shop_core::fault::{Call, Fault, Faults};
//! use shop_core::memory::InMemoryLog;
//! use shop_core::ports::PurchaseSink;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let faults = Faults::new();
//! let sink = faults.sink(Arc::new(InMemoryLog::default().sink()));
//! faults.once(Call::Check, Fault::unavailable());
//! assert!(sink.check().await.is_err());
//! assert!(sink.check().await.is_ok());
//! # }
//! ```

mod call;
#[cfg(feature = "failpoints")]
mod failpoints;
mod hooked;
mod script;
#[cfg(test)]
mod script_test;
mod source;
mod wrap;

pub use call::{Call, Fault};
#[cfg(feature = "failpoints")]
pub use failpoints::{FAILPOINTS, OUTBOX_FAILPOINTS, init_failpoints, with_failpoints};
pub use hooked::Hooked;
pub use script::Faults;
