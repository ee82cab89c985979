//! The conformance kit for logs and stores: every line of `# Behavior` in [`ports`](crate::ports)
//! and [`log`](crate::log) is a function here, and every implementation in this workspace passes
//! the same tests.
//!
//! To test your own implementation, write a [`LogFixture`] or a [`StoreFixture`] that creates a
//! fresh instance per test, and call the macro in a test file. Your crate needs `shop-core` with
//! feature `conformance` and `tokio` with `macros` and `rt-multi-thread` as dev-dependencies.
//!
//! ```
//! use shop_core::conformance::{MemoryFixture, store_suite};
//!
//! // One `#[tokio::test]` per case, in the module `my_store`.
//! store_suite!(my_store, async { MemoryFixture::default() });
//! ```
//!
//! Unsupported capabilities are declared in [`Capabilities`] and printed by the tests; no test is
//! removed by hand. A test that hangs fails after two minutes at the latest, with its name and the
//! line of the kit where it waits. The kit is not covered by semantic versioning: a minor release
//! may add tests.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "this is test code: a broken promise ends the test"
)]

pub mod currency;
pub mod decorator;
pub mod durability;
pub mod erase;
pub mod events;
pub mod fault;
pub mod feed;
pub(crate) mod fixture;
pub mod log;
pub mod log_admin;
mod log_calls;
mod log_gaps;
mod log_source;
mod log_tail;
mod memory;
pub mod operations;
pub mod pipeline;
mod pipeline_calls;
mod prelude;
#[cfg(test)]
mod promised_test;
#[cfg(test)]
mod promises_test;
pub mod query;
pub mod record_store;
pub mod refund;
mod refund_model;
mod sample;
pub mod shop;
mod skip;
pub mod store;
mod store_calls;
mod suites;
mod watchdog;

pub use erase::EraseFixture;
pub use fixture::{
    BATCH_BYTES, BATCH_RECORDS, Capabilities, LogFixture, StoreFixture, assert_fails, declared,
};
pub use memory::MemoryFixture;
pub use record_store::{PurchaseRecords, RecordStoreFixture};
pub use shop::{ShopFixture, ShopOnLog, ShopOnStore};
pub use skip::skip;
pub use watchdog::{fail, limited, soon, succeed};

pub use crate::{
    currency_suite, decorator_suite, erase_suite, feed_suite, log_admin_suite, log_suite,
    operations_suite, pipeline_suite, record_store_suite, refund_suite, shop_suite, store_suite,
};
