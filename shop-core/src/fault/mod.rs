//! Ports that break on purpose: any port, wrapped, goes wrong when its script says so.
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

#[cfg(feature = "failpoints")]
mod failpoints;
mod script;
#[cfg(test)]
mod script_test;
mod wrappers;

#[cfg(feature = "failpoints")]
pub use failpoints::{FAILPOINTS, Failpoints, OUTBOX_FAILPOINTS, init_failpoints};
pub use script::{Call, Fault, Faults};
