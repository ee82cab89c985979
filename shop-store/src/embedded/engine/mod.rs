//! The engine of the log and of the store: a SQLite file that several processes write to, in which
//! each acknowledged write is on the disk.
//!
//! ```text
//! log, store ──WriteJob──▶ writer: one thread ── lock, gather, BEGIN … COMMIT ──▶ *.db-wal ── checkpoint ──▶ *.db
//!     │                                                                              │                       │
//!     └──────query──────▶ readers: threads, each with a connection ◀─────────────────┴───────────────────────┘
//! ```
//!
//! | module | task |
//! |---|---|
//! | `database`, `permissions` | name a file and its schema, create it, and open its connections |
//! | `writer`, `writer_thread`, `job`, `gather`, `commit_sizer` | commit queued writes in groups, in a thread |
//! | `readers`, `thread` | run queries in threads |
//! | `lock` | locks between processes, with a timeout |
//! | `write_lock`, `opened_record`, `file_record`, `file_check` | take turns with other processes, and notice that another program has replaced or overwritten the file |
//! | `checkpoint`, `wal` | copy the write-ahead log into the file, repair it after a failed sync, and check it before SQLite opens it |
//! | `integrity` | check all pages and rows of a file |
//! | `checksum`, `bulk`, `error` | what the tables of the layers above have in common: checksums of rows, inserts of several rows, errors |
//!
//! A job brings its own statements, and a [schema](database::FileSchema) its tables and the check of
//! their rows, so the engine knows neither records nor purchases. Why each of these parts exists is in
//! `docs/decisions/0004-sqlite-as-log-and-store.md`.

pub(super) mod bulk;
pub(super) mod checkpoint;
pub(super) mod checksum;
mod commit_sizer;
pub(super) mod database;
pub(super) mod error;
pub(super) mod file_check;
pub(super) mod file_record;
mod gather;
pub(super) mod integrity;
pub(super) mod job;
pub(super) mod lock;
mod opened_record;
pub(super) mod permissions;
pub(super) mod readers;
pub(super) mod thread;
pub(super) mod wal;
pub(super) mod write_lock;
pub(super) mod writer;
mod writer_thread;
