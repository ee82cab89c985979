//! Logs and stores in SQLite files of one folder, for one machine without anything else.
//!
//! | file | what it holds |
//! |---|---|
//! | `log.db` | the records, each group's position, the dead letters |
//! | `store.db` | the purchases |
//! | `users.db`, `orders.db` | users and orders, what each service knows of the other's, and their outboxes |
//! | `log-<topic>.db` | a topic of events, as `log.db` is the purchases' |
//! | `*.db-wal`, `*.db-shm` | SQLite's own, part of the database |
//! | `*.lock` | held around each write, so that processes take turns fairly |
//! | `<group>.consumer.lock` | held by the process that reads for the group |
//!
//! Several processes of one machine may use the folder at the same time; one of them at a time reads for a
//! group, the others wait for their turn. What is acknowledged survives a crash of process and machine: every
//! group of writes is one transaction with `synchronous=FULL`. The folder must be on a local disk: SQLite's
//! shared memory does not work on network file systems.

#[cfg(test)]
mod damage_test;
mod database;
mod entities;
mod error;
mod file;
mod lock;
mod log;
mod options;
mod readers;
mod store;
mod thread;
mod writer;

pub use entities::{EmbeddedOrders, EmbeddedRows, EmbeddedUsers};
pub use log::{EmbeddedDeadLetters, EmbeddedLog, EmbeddedLogOptions, EmbeddedSink, EmbeddedSource};
pub use options::EmbeddedStoreOptions;
pub use store::EmbeddedStore;
