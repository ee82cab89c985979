//! Stores purchases in SQLite files, MongoDB or PostgreSQL.
//!
//! A purchase is first appended to a log, and an ingest then writes it to a store, which answers
//! queries.
//!
//! | backend | log | stores | feature |
//! |---|---|---|---|
//! | [`embedded`] | [`EmbeddedLog`](embedded::EmbeddedLog) | [`EmbeddedStore`](embedded::EmbeddedStore) | `embedded` (default) |
//! | [`mongo`] | none; use `shop-kafka` or the embedded one | [`MongoStore`](mongo::MongoStore) | `mongodb` |
//! | [`postgres`] | none; use `shop-kafka` or the embedded one | [`PostgresStore`](postgres::PostgresStore) | `postgres` |
//! | flags and variables of a program | `EmbeddedArgs` | `EmbeddedArgs`, `MongoArgs`, `PostgresArgs` | `clap` |
//!
//! All backends implement the ports of [`shop_core`] and pass its conformance kit, so that you can
//! exchange them.
//!
//! # Files
//!
//! An [`EmbeddedShop`](embedded::EmbeddedShop) is the log and the store of one folder, with the
//! ingest between them. Acknowledged writes survive a crash of the process and of the machine.
//!
//! ```
//! # #[cfg(feature = "embedded")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use shop_core::NewPurchase;
//! use shop_store::embedded::EmbeddedShop;
//!
//! # let temporary = tempfile::tempdir()?;
//! let folder = "shop-data";
//! # let folder = temporary.path().join(folder);
//! let files = EmbeddedShop::open(folder).await?;
//! let shop = files.shop();
//! let bought = shop.buy(NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?).await?;
//! let spent = shop.user("u1").wait_for(&bought.receipt).summary().await?;
//! assert_eq!(spent.count, 1);
//!
//! drop(shop);
//! files.close(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "embedded"))]
//! # fn main() {}
//! ```
//!
//! For several processes of one machine on one folder, or with a log or a store of another kind,
//! put the parts together yourself: an [`Ingest`](shop_core::ingest::Ingest) from an
//! [`EmbeddedLog`](embedded::EmbeddedLog) into an [`EmbeddedStore`](embedded::EmbeddedStore), and
//! [`Shop::new`](shop_core::Shop::new) its two ends.
//!
//! # MongoDB
//!
//! A purchase is one document. An insert is acknowledged once the majority of the servers has
//! written it to the journal. A store can be opened while the server is unavailable, and creates
//! its indexes in the background. With a [`DocumentDecoder`](mongo::DocumentDecoder), the store also
//! reads the documents of another program, and [`migrate`](mongo::MongoStore::migrate) converts them.
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
//! # PostgreSQL
//!
//! A purchase is one row, and a batch of purchases is inserted by one statement. A store can be
//! opened while the server is unavailable, and creates its tables in the background. See
//! [`postgres`] for the URL and the durability.

#![cfg_attr(docsrs, feature(doc_cfg))]
// The guide links to all backends.
#![cfg_attr(
    not(all(feature = "embedded", feature = "mongodb", feature = "postgres")),
    allow(rustdoc::broken_intra_doc_links)
)]

// The test support in `tests/` is compiled into unit tests too, and refers to this crate by name.
#[cfg(test)]
extern crate self as shop_store;

#[cfg(test)]
#[path = "../tests/support/container.rs"]
mod container;

#[cfg(feature = "clap")]
mod args;
#[cfg(feature = "embedded")]
pub mod embedded;
mod inspection;
#[cfg(any(feature = "embedded", feature = "mongodb", feature = "postgres"))]
pub mod limits;
#[cfg(feature = "mongodb")]
pub mod mongo;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "mongodb", feature = "postgres"))]
mod refunds;
#[cfg(any(feature = "mongodb", feature = "postgres"))]
pub mod retries;
#[cfg(all(test, any(feature = "mongodb", feature = "postgres")))]
mod server_fixture;
#[cfg(any(feature = "mongodb", feature = "postgres"))]
pub mod unreadable;
#[cfg(any(feature = "mongodb", feature = "postgres"))]
mod waiting;

#[cfg(feature = "clap")]
pub use args::{EmbeddedArgs, MongoArgs, PostgresArgs};
pub use inspection::StoreInspection;
/// The connection string in the options of stores on servers.
#[cfg(any(feature = "clap", feature = "mongodb", feature = "postgres"))]
pub use secrecy::SecretString;

/// Compiles the code of the package's README with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
