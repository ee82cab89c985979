//! The measurements, one module each. Each returns rows, and prints what it skips.

#[cfg(feature = "programs")]
pub mod batch;
#[cfg(feature = "programs")]
mod collection;
#[cfg(feature = "programs")]
pub mod events;
#[cfg(feature = "programs")]
pub mod freshness;
#[cfg(feature = "programs")]
pub mod growth;
pub mod hot_path;
#[cfg(feature = "programs")]
pub mod http_post;
#[cfg(feature = "programs")]
pub mod kafka_to_mongodb;
#[cfg(feature = "programs")]
pub mod kafka_to_postgres;
#[cfg(feature = "programs")]
pub mod listing;
#[cfg(feature = "programs")]
pub mod mock_cluster;
pub mod publish;
#[cfg(feature = "programs")]
pub mod served_buy;
#[cfg(feature = "programs")]
pub mod shop_size;
#[cfg(feature = "programs")]
pub mod topic;

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
