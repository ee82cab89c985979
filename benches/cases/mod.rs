//! The measurements, one module each. Each returns rows, and prints what it skips.

pub mod batch;
mod collection;
pub mod events;
pub mod freshness;
pub mod growth;
pub mod hot_path;
pub mod http_post;
pub mod kafka_to_mongodb;
pub mod kafka_to_postgres;
pub mod listing;
pub mod mock_cluster;
pub mod publish;
pub mod shop_size;

use tokio::runtime::{Builder, Runtime};

/// A current-thread runtime.
#[must_use]
pub fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A runtime with two threads.
#[must_use]
pub fn two_threads() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}
