//! A log and stores in SQLite files of one folder, for one machine without external services.
//!
//! | file | content |
//! |---|---|
//! | `shop.db` | the log and the store of purchases: records, positions of groups, dead letters, purchases, sums |
//! | `log-<topic>.db` | a topic of events, with the tables of a log |
//! | `*.db-wal`, `*.db-shm` | SQLite's write-ahead log and shared memory, part of the database |
//! | `*.lock` | held during each write, for fairness between processes; says what the file was like after the last checkpoint |
//! | `*.checkpoint.lock` | held during a checkpoint beside the writers of other processes |
//! | `embedded-shop.lock` | held by an [`EmbeddedShop`] |
//! | `<group>.consumer.lock` | held by the active consumer of the group |
//!
//! Several processes of one machine may use the folder concurrently. One consumer of each group is
//! active; the others wait for the group's lock. Acknowledged writes survive a crash of the process
//! or the machine: each group commit is a transaction with `synchronous=FULL`. A source looks for
//! the commits of other processes every 250 ms. The folder must be on a local disk, because SQLite's
//! shared memory does not work on network file systems.
//!
//! The mode of files is 600, and folders are created with 700: all processes run as one user.

mod backup;
#[cfg(test)]
mod byte_faults_test;
mod clock;
#[cfg(test)]
mod damage_test;
mod engine;
pub mod file;
#[cfg(test)]
mod fixture;
mod integrity;
mod log;
#[cfg(test)]
mod migration_test;
#[cfg(test)]
mod overwrite_test;
mod schema;
mod shop;
#[cfg(test)]
mod shop_test;
mod store;

pub use backup::{CopiedFile, backup, restore, vacuum};
pub use integrity::check_integrity;
pub use log::{EmbeddedLog, EmbeddedLogOptions, EmbeddedSink, EmbeddedSource};
/// The SQLite crate that the files are written with, for databases of your own beside them.
pub use rusqlite;
pub use schema::FILE;
pub use shop::{EmbeddedShop, EmbeddedShopOptions};
pub use store::{EmbeddedStore, EmbeddedStoreOptions};
