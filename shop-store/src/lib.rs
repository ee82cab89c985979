//! Storage for purchases, users and orders: SQLite files and MongoDB.
//!
//! | backend | log | stores | feature |
//! |---|---|---|---|
//! | [`embedded`] | [`EmbeddedLog`](embedded::EmbeddedLog) | [`EmbeddedStore`](embedded::EmbeddedStore), [`EmbeddedUsers`](embedded::EmbeddedUsers), [`EmbeddedOrders`](embedded::EmbeddedOrders) | `embedded` (default) |
//! | [`mongo`] | none; use `shop-kafka` or the embedded one | [`MongoStore`](mongo::MongoStore), [`MongoUsers`](mongo::MongoUsers), [`MongoOrders`](mongo::MongoOrders) | `mongodb` |
//!
//! All of them implement the ports of [`shop_core`] and pass its conformance kit, so that you can exchange them.
//!
//! # Files
//!
//! The log and the store of one folder, with an ingest between them. Acknowledged writes survive a crash of the process
//! and of the machine. Several processes of one machine may use the folder.
//!
//! ```
//! # #[cfg(feature = "embedded")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use shop_core::ingest::{Ingest, IngestOptions};
//! use shop_core::ports::{Durability, PurchaseQuery, PurchaseSink, Selector};
//! use shop_core::{Clock, NewPurchase, SystemClock};
//! use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions, EmbeddedStore, EmbeddedStoreOptions};
//!
//! # let folder = tempfile::tempdir()?;
//! let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default()).await?;
//! let store = EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default()).await?;
//! let (source, dead_letters) = (Arc::new(log.source("purchase-group")?), Arc::new(log.dead_letters()));
//! let ingest = Ingest::new(source, Arc::new(store.clone()), dead_letters, IngestOptions::default());
//! let monitor = ingest.monitor();
//!
//! let new = NewPurchase::of("u1").named("ada").priced("29.99")?;
//! let purchase = new.into_purchase(SystemClock.now(), || SystemClock.fresh_id());
//! let receipt = log.sink().publish(&purchase).await?;
//! assert_eq!(receipt.durability, Durability::LocalDisk);
//!
//! // Runs until the purchase is stored. A service passes its shutdown signal.
//! ingest.run(async move { drop(monitor.wait_for(|status| status.counters.inserted == 1).await) }).await?;
//! assert_eq!(store.summary(&Selector::User("u1".parse()?)).await?.count, 1);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "embedded"))]
//! # fn main() {}
//! ```
//!
//! # MongoDB
//!
//! A purchase is one document; inserts are acknowledged by the majority with journal. A store can be opened while the
//! server is unavailable, and creates its indexes in the background. It reads the documents of the replaced systems, and
//! [`migrate`](mongo::MongoStore::migrate) converts them.
//!
//! ```no_run
//! # #[cfg(feature = "mongodb")]
//! # async fn example() -> shop_core::Result<()> {
//! use shop_core::ports::{PurchaseQuery, Selector};
//! use shop_store::mongo::{MongoStore, MongoStoreOptions};
//!
//! let store = MongoStore::open(MongoStoreOptions::new("mongodb://localhost:27017/shop")).await?;
//! let summary = store.summary(&Selector::All).await?;
//! println!("{} purchases for {}", summary.count, summary.total_spent);
//! # Ok(())
//! # }
//! ```
//!
//! # Users and orders
//!
//! The stores of both entities number their rows from 1 and write each row with its event in one transaction. They are
//! an [`Outbox`](shop_core::outbox::Outbox): a [`Relay`](shop_core::outbox::Relay) publishes the events.

#![cfg_attr(docsrs, feature(doc_cfg))]
// The guide links to both backends.
#![cfg_attr(not(all(feature = "embedded", feature = "mongodb")), allow(rustdoc::broken_intra_doc_links))]

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
