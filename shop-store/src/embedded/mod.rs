//! A log and a store in two SQLite files of one folder, for one machine without anything else.
//!
//! | file | what it holds |
//! |---|---|
//! | `log.db` | the records, each group's position, the dead letters |
//! | `store.db` | the purchases |
//! | `*.db-wal`, `*.db-shm` | SQLite's own, part of the database |
//! | `log.lock`, `store.lock` | held around each write, so that processes take turns fairly |
//! | `<group>.consumer.lock` | held by the process that reads for the group |
//!
//! Several processes of one machine may use the folder at the same time; one of them at a time reads for a
//! group, the others wait for their turn. What is acknowledged survives a crash of process and machine: every
//! group of writes is one transaction with `synchronous=FULL`. The folder must be on a local disk: SQLite's
//! shared memory does not work on network file systems.

mod database;
mod error;
#[cfg(feature = "conformance")]
mod fixture;
mod lock;
mod log;
mod readers;
mod store;
mod thread;
mod writer;

#[cfg(feature = "conformance")]
pub use fixture::EmbeddedFixture;
pub use log::{EmbeddedDeadLetters, EmbeddedLog, EmbeddedLogOptions, EmbeddedSink, EmbeddedSource};
pub use store::{EmbeddedStore, EmbeddedStoreOptions};
