//! Fault injection: wraps ports so that they fail according to a script.
//!
//! ```
//! use std::sync::Arc;
//!
//! use shop_core::conformance::fault::{Call, Fault, Faults};
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
mod faulty;
mod script;
mod simulated;
mod source;

pub use call::{Call, Fault};
pub use faulty::Faulty;
pub use script::Faults;
